# shellcheck shell=bash
# Runs the install scripts, and helps them; see smollm.sh for a whole one. In apps/, by the engine or by hand:
#
#     cd apps && bash ../install/lib.sh smollm
#
# runs install/smollm.sh with `bash -e`; when that has ended with 0 and made apps/smollm, smollm is installed. A script needs
# none of the helpers below. With install_begin, running it by itself (bash ../install/smollm.sh) comes to the same.
#
#   install_begin APP [GB]     first of all: is there room; gives the data folders back that were there before
#   app_venv [PYTHON]          makes apps/APP/venv and activates it: OneGAI's own Python, or the one named (3.10, say)
#   app_pip [--copy] [--build] LOCK   installs install/LOCK into it: exactly what is listed, by hash
#                              --copy: own copies, for apps that edit packages in place · --build: allow source packages
#   app_packages WORD...       installs what pip would, by the same words: names, -r FILE, paths from apps/APP. Not locked:
#                              --exclude-newer 2024-10-01 takes what was new on that day, for apps that are no longer tended
#   app_git URL [REF]          puts a Git repository into apps/APP, at a branch, a tag or a commit; without its history
#   app_download URL FILE [SHA256]   fetches a large file to apps/APP/FILE; goes on where it, or an earlier run, broke off
#   app_unpack ARCHIVE [FOLDER]   unpacks apps/APP/ARCHIVE, a .7z or the first of its parts (.7z.001), into apps/APP/FOLDER, and
#                              removes it; after app_venv. For programs too large for PyPI; needs no 7z on the machine
#   app_setting NAME [DEFAULT]   prints what config.json says under apps.APP.NAME: a version, a variant
#   app_check CODE             runs Python code in the venv, offline: is what was installed really there?
#   install_end                last of all; a script that has begun and ends without it has failed
#
# After install_begin: $APP, $APP_DIR (absolute), $ONEGAI_ROOT, $UV after app_venv; never sudo, no questions (no stdin).
#
# To update an installed APP, and to remove it:
#
#     cd apps && ONEGAI_UPDATE=1 bash ../install/lib.sh smollm
#     python3 install/app_folder.py . smollm uninstall [--purge]
#
# What was there waits in apps/.APP.old until the new APP is complete, and comes back if that fails or is interrupted;
# after kill -9 or a power cut at the next run of the script or start of the server. So an update needs room for both.
# An APP that was made by hand is treated as an update treats one, but is kept in the end, as apps/APP.by-hand.
# Folders named by the app's "data" key of services.json survive all of this: the new APP has them from install_begin
# on, or, without that, from the end of the script, where files of the old ones win.
#
# What others may rely on, with L = apps/.APP.lock and M = apps/APP/.onegai-installed:
#   M is there                                  installed (JSON: app, time, script)
#   else somebody holds flock(L)                being installed, updated or removed
#   else L is not empty, or apps/.APP.old is    broken: a failed or killed try; running the script again starts clean
#   else apps/APP holds more than data folders  made by hand
# L's first word is "installing", "updating", "removing" or "broken", padded to one length; it is emptied at success and
# never deleted. Exit status 75: another install of APP is under way.
set -euo pipefail

ONEGAI_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
INSTALL_HOME=${ONEGAI_HOME:-$ONEGAI_ROOT}
INSTALL_ARGUMENTS=("$@") # of the script that sources this file
# shellcheck source=setup/uv.sh
source "$ONEGAI_ROOT/setup/uv.sh"

install_begin() {
    _name_app "$1"
    if [[ ${ONEGAI_INSTALL_PARENT:-} == *":$PPID" ]]; then
        if [[ $ONEGAI_INSTALL_PARENT != "$APP:$PPID" ]]; then
            die "install/${ONEGAI_INSTALL_PARENT%:*}.sh says install_begin $APP" "a script installs the app that it is named after"
        fi
        unset ONEGAI_INSTALL_PARENT
        _app_files bring || exit 1
        mkdir -p -- "$APP_DIR"
        if [[ -n ${2:-} ]]; then _need_space "$2" "$(_kilobytes "$APP")"; fi
        : >"$APP_DIR/.onegai-begun"
        return # on with the script
    fi
    _install "$0" "${2:-}"
}

# _name_app APP: sets APP, APP_DIR and LOG.
_name_app() {
    APP=$1
    APP_DIR=$PWD/$APP
    LOG=$INSTALL_HOME/data/logs/install-$APP.log
    if [[ /proc/self/fd/1 -ef $LOG ]]; then LOG=/dev/null; fi # the engine has us write to it already
    [[ $APP =~ ^[a-z][a-z0-9_]{0,63}$ ]] || die "'$APP' is not an app name" "lower-case letters, digits and _"
}

# _install SCRIPT [GB]: does all of it, and exits.
_install() {
    INSTALL_SCRIPT=$1 INSTALL_SIGNAL=0
    trap '_stop 129' HUP
    trap '_stop 130' INT
    trap '_stop 143' TERM
    _prepare "${2:-}"
    _supervise
}

# The checks, and the lock that is held from here on. Leaves things as they are unless the install may go on.
_prepare() {
    local facts need state='' freed
    local -a keep
    [[ $PWD -ef $INSTALL_HOME/apps ]] ||
        die "an install script runs in apps/" "mkdir -p '$INSTALL_HOME/apps' && cd '$INSTALL_HOME/apps' && bash ../install/$APP.sh"
    _check_script
    if ! [[ -w . ]] || [[ -e .$APP.lock && ! -w .$APP.lock ]]; then
        die "cannot write to $PWD" "make it yours: sudo chown -R \"\$(id -un)\" '$INSTALL_HOME'"
    fi
    exec {INSTALL_LOCK}>>".$APP.lock"
    # an engine that looks whether the lock is held has it for a moment
    flock -w 0.5 "$INSTALL_LOCK" || {
        complain "$APP is being installed or removed by another process" "wait for it"
        exit 75
    }
    if [[ -L $APP ]]; then
        die "apps/$APP is a symbolic link; an install never writes through one" "remove the link"
    fi
    facts=$(_app_files recover) || exit 1
    if [[ $facts == restored ]]; then say "the last try to install or update $APP was cut off; what was there before is back"; fi
    if [[ -e $APP/.onegai-installed && ${ONEGAI_UPDATE:-} != 1 ]]; then
        say "$APP is already installed"
        exit 0
    fi
    facts=$(_app_files facts) || exit 1
    mapfile -t keep <<<"$facts"
    need=${keep[0]} INSTALL_DIGEST=${keep[1]} keep=("${keep[@]:2}")
    read -r state _ <".$APP.lock" || true
    INSTALL_KIND=install
    if [[ -e $APP/.onegai-installed ]]; then
        INSTALL_KIND=update
    elif [[ -z $state ]] && ! _app_files ours; then
        INSTALL_KIND=takeover
    fi
    need=${1:-$need}
    if [[ $need != 0 ]]; then _need_space "$need" "$(_kilobytes_that_stay "${keep[@]+"${keep[@]}"}")"; fi
    if ((INSTALL_SIGNAL)); then exit "$INSTALL_SIGNAL"; fi
    if [[ $INSTALL_KIND == install ]]; then
        freed=$(_app_files clear) || _failed 1
        if [[ -n $freed ]]; then say "$freed"; fi
    elif [[ $INSTALL_KIND == takeover ]]; then
        say "apps/$APP was made by hand: it waits in apps/.$APP.old until the new one is complete"
    fi
    # In this order: with the word, but not aside, what was made by hand would look like a broken try.
    if [[ -e $APP ]]; then _app_files aside || _failed 1; fi
    if [[ $INSTALL_KIND == install ]]; then state=installing; else state=updating; fi
    _write_state "$state" || {
        complain "cannot write to $PWD ($(free_space .))" "free some space, or check whose folder it is"
        _failed 1
    }
}

# What an editor on Windows makes of a script would fail in the middle, with a riddle.
_check_script() {
    local line=''
    if ! [[ -f $INSTALL_SCRIPT ]]; then die "there is no install/$APP.sh" "write it: docs/plugins.md"; fi
    IFS= read -r line <"$INSTALL_SCRIPT" || true
    if [[ $line == *$'\r' || $line == $'\xef\xbb\xbf'* ]]; then
        die "install/$APP.sh was saved as Windows does it, and bash cannot read that" \
            "sed -i '1s/^\xef\xbb\xbf//; s/\r\$//' $(printf %q "$INSTALL_HOME/install/$APP.sh")"
    fi
}

# Runs the script in a session of its own, so that whatever it started can be stopped with it.
_supervise() {
    local child code=0 kept
    (umask 077 && mkdir -p -- "${LOG%/*}" && : >"$LOG") 2>/dev/null || true
    if ((INSTALL_SIGNAL)); then _failed "$INSTALL_SIGNAL"; fi
    setsid env -u ONEGAI_UPDATE -u VIRTUAL_ENV -u PYTHONHOME -u PYTHONPATH ONEGAI_INSTALL_PARENT="$APP:$$" \
        PIP_REQUIRE_VIRTUALENV=1 PIP_NO_INPUT=1 UV_PROJECT_ENVIRONMENT=venv GIT_TERMINAL_PROMPT=0 \
        bash -e -- "$INSTALL_SCRIPT" "${INSTALL_ARGUMENTS[@]+"${INSTALL_ARGUMENTS[@]}"}" </dev/null &
    child=$!
    INSTALL_CHILD=$child
    if ((INSTALL_SIGNAL)); then _stop "$INSTALL_SIGNAL"; fi # it came before there was a child
    while :; do
        code=0
        wait "$child" || code=$?
        kill -0 "$child" 2>/dev/null || break # else a signal cut the waiting short
    done
    kill -TERM -- "-$child" 2>/dev/null || true # what the script left running
    if ((INSTALL_SIGNAL)); then _failed "$INSTALL_SIGNAL"; fi
    if ((code)); then _failed "$code"; fi
    _check_made
    _app_files bring || _failed 1
    printf '{"app": "%s", "time": "%s", "script": "%s"}\n' "$APP" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$INSTALL_DIGEST" \
        >"$APP/.onegai-installed.new" || _failed 1
    sync -f -- "$APP" 2>/dev/null || true # a power cut must not leave a marker without the files
    mv -f -- "$APP/.onegai-installed.new" "$APP/.onegai-installed" || _failed 1
    : >".$APP.lock" # from here on it is installed, whatever comes
    trap '' HUP INT TERM
    kept=$(_app_files recover) || true
    rm -rf -- ".$APP.downloads"
    if [[ $INSTALL_KIND == update ]]; then say "$APP is updated"; else say "$APP is installed"; fi
    if [[ $kept == *.by-hand* ]]; then say "what was made by hand is in apps/$kept now: remove it when you need nothing of it"; fi
    exit 0
}

# Has the script done what it is for?
_check_made() {
    local -a made
    if [[ -e $APP/.onegai-begun ]]; then
        complain "install/$APP.sh ended without install_end"
        _failed 1
    elif [[ -d $APP && ! -L $APP ]]; then
        return
    elif [[ -L $APP || -e $APP ]]; then
        rm -f -- "$APP"
        complain "install/$APP.sh made apps/$APP, but not as a folder" "have it make a folder; or put a link there yourself, and remove the script"
        _failed 1
    fi
    mapfile -t made < <(find . -mindepth 1 -maxdepth 1 ! -name '.*' -cnewer ".$APP.lock" -printf '%f\n')
    if ((${#made[@]})); then
        complain "install/$APP.sh has made no apps/$APP" \
            "it made apps/${made[0]}: remove that, and have it be named $APP (git clone URL $APP)"
    else
        complain "install/$APP.sh has made no apps/$APP" "it runs in apps/, and that folder is all that counts: git clone URL $APP"
    fi
    _failed 1
}

# _stop CODE: TERM, and after 5 s KILL, to all that the script has started.
_stop() {
    local tries
    INSTALL_SIGNAL=$1
    if [[ -z ${INSTALL_CHILD:-} ]]; then return; fi
    kill -TERM -- "-$INSTALL_CHILD" 2>/dev/null || kill -TERM "$INSTALL_CHILD" 2>/dev/null || return 0
    for ((tries = 0; tries < 50; tries++)); do
        kill -0 -- "-$INSTALL_CHILD" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$INSTALL_CHILD" 2>/dev/null || true
}

_failed() {
    local code=$1
    if ((code == 75)); then code=1; fi # that says something else
    trap '' HUP INT TERM # the rest is quick, and better done than left
    _app_files recover >/dev/null || true
    if [[ $INSTALL_KIND != install && -e $APP && ! -e .$APP.old ]]; then
        : >".$APP.lock"
        printf 'update of %s failed (exit %s): it is as it was before\n' "$APP" "$code" >&2
        exit "$code"
    fi
    _write_state broken || true
    printf 'install of %s failed (exit %s): fix the cause and run it again, it starts clean\n' "$APP" "$code" >&2
    exit "$code"
}

# Overwritten in place, so that it can still be said when the disk is full.
_write_state() { printf '%-10s\n' "$1" 2>/dev/null 1<>".$APP.lock"; }

# _need_space GB KB: of which so many kilobytes are there already.
_need_space() {
    local need free
    need=$(LC_ALL=C awk -v gb="$1" 'BEGIN { if (gb !~ /^[0-9]+(\.[0-9]+)?$/) exit 1; printf "%.0f", gb * 1024 }') ||
        die "'$1' is not a number of GB"
    { read -r _ && read -r _ _ _ free _; } < <(df -Pk -- .)
    free=$(((free + $2) / 1024))
    if ((free < need)); then
        die "not enough disk space for $APP: it needs $need MB, $free MB are free on the disk of $PWD" "free some space"
    fi
}

# What a broken try has left is cleared next; an update needs room for both, but for the data folders.
_kilobytes_that_stay() {
    local folder sum=0
    if [[ $INSTALL_KIND == install ]]; then
        _kilobytes "$APP"
        return
    fi
    for folder in "$@"; do
        if ! [[ -L $APP/$folder ]]; then sum=$((sum + $(_kilobytes "$APP/$folder"))); fi
    done
    echo "$sum"
}

# _kilobytes FOLDER: what is in it on this disk; 0 if there is none.
_kilobytes() {
    local size=0
    if [[ -d $1 ]]; then read -r size _ < <(du -skx -- "$1"); fi
    echo "$size"
}

app_venv() {
    local python=${1:-} own=$ONEGAI_ROOT/venv/bin/python
    local -a options=()
    find_uv
    if [[ -z $python ]]; then
        options=(--no-python-downloads)
        if python_fits "$own"; then
            python=$own
        elif system_python; then
            python=$PYTHON
        else
            die "no Python 3.$PYTHON_MIN_MINOR to 3.$PYTHON_MAX_MINOR on this machine" "run setup/onegai.sh once, it brings one"
        fi
    fi
    say "making venv of $APP"
    attempt "$UV" venv --no-project --quiet --prompt "$APP" "${options[@]+"${options[@]}"}" --python "$python" \
        "$APP_DIR/venv" || _explain_and_exit "making the venv of $APP"
    export VIRTUAL_ENV=$APP_DIR/venv PATH=$APP_DIR/venv/bin:$PATH
}

app_pip() {
    local lock
    local -a options=(--only-binary :all:)
    while (($#)); do
        case $1 in
            --copy) export UV_LINK_MODE=copy ;;
            --build) options=() ;;
            *) lock=$1 ;;
        esac
        shift
    done
    say "installing packages of $APP"
    attempt "$UV" pip install --python "$APP_DIR/venv/bin/python" --require-hashes --no-deps \
        "${options[@]+"${options[@]}"}" -r "$ONEGAI_ROOT/install/$lock" || _explain_and_exit "installing packages of $APP"
}

app_packages() {
    say "installing packages of $APP"
    attempt env -C "$APP_DIR" "$UV" pip install --python "$APP_DIR/venv/bin/python" "$@" ||
        _explain_and_exit "installing packages of $APP"
}

app_git() {
    local url=$1 ref=${2:-HEAD} target=FETCH_HEAD
    local -a git=(git -C "$APP_DIR" -c advice.detachedHead=false)
    if ! command -v git >/dev/null; then die "git is not installed" "sudo apt install git"; fi
    say "fetching $url ($ref)"
    attempt git init --quiet -- "$APP_DIR" || _explain_and_exit "making a Git repository"
    "${git[@]}" config remote.origin.url "$url"
    "${git[@]}" config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
    if ! attempt "${git[@]}" fetch --no-tags --depth 1 origin -- "$ref"; then
        # a short commit id, or a server that gives no commits by their id
        [[ $ref =~ ^[0-9a-f]{7,40}$ ]] || _explain_and_exit "fetching $url ($ref)"
        say "the server does not give that commit alone: fetching all"
        attempt "${git[@]}" fetch --tags origin || _explain_and_exit "fetching $url ($ref)"
        target=$ref
    fi
    # what the repository has in a folder that was kept gives way
    GIT_LFS_SKIP_SMUDGE=1 attempt "${git[@]}" checkout --quiet --force --detach "$target" ||
        _explain_and_exit "checking out $ref of $url"
    if [[ -e $APP_DIR/.gitmodules ]]; then
        attempt "${git[@]}" submodule update --init --recursive --depth 1 || _explain_and_exit "fetching submodules of $url"
    fi
    if "${git[@]}" grep --quiet --no-index -e 'filter=lfs' -- .gitattributes ':(glob)**/.gitattributes' 2>/dev/null; then
        if git lfs version &>/dev/null; then
            attempt "${git[@]}" lfs install --local || _explain_and_exit "setting up git-lfs"
            attempt "${git[@]}" lfs pull || _explain_and_exit "fetching large files of $url"
        else
            complain "large files of $url are only pointers: git-lfs is not installed" \
                "sudo apt install git-lfs, then install again; or fetch them with app_download"
        fi
    fi
}

app_download() {
    local url=$1 file=$2 python
    python=$(command -v python3) || python=$ONEGAI_ROOT/venv/bin/python
    case /$file/ in
        */../* | //*) die "app_download: $file is not inside apps/$APP" ;;
    esac
    say "downloading $file"
    attempt "$python" -I "$ONEGAI_ROOT/install/download.py" "$url" "$APP_DIR/$file" "${APP_DIR%/*}/.$APP.downloads" \
        "${3:-}" || _explain_and_exit "downloading $file"
}

app_unpack() {
    local archive=$APP_DIR/$1
    app_pip py7zr.lock
    say "unpacking $1"
    attempt "$APP_DIR/venv/bin/python" -I "$ONEGAI_ROOT/install/unpack.py" "$archive" "$APP_DIR/${2:-}" ||
        _explain_and_exit "unpacking $1"
    case $archive in
        *.001) rm -f -- "${archive%1}"[0-9] "${archive%01}"[0-9][0-9] "${archive%001}"[0-9][0-9][0-9] ;;
        *) rm -f -- "$archive" ;;
    esac
}

app_setting() {
    local python
    python=$(command -v python3) || python=$ONEGAI_ROOT/venv/bin/python
    "$python" -I -c '
import json, sys
try:
    with open(sys.argv[1], encoding="utf-8-sig") as file:
        value = json.load(file)["apps"][sys.argv[2]][sys.argv[3]]
except (OSError, ValueError, LookupError, TypeError):
    value = sys.argv[4]
print(value)' "$INSTALL_HOME/config.json" "$APP" "$1" "${2:-}"
}

app_check() {
    say "checking $APP"
    if ! (cd -- "$APP_DIR" && HF_HUB_OFFLINE=1 ORT_DISABLE_TELEMETRY=1 venv/bin/python -I -c "$1"); then
        die "$APP was installed, but does not work here" "see the lines above"
    fi
}

install_end() { rm -f -- "$APP_DIR/.onegai-begun"; }

_explain_and_exit() {
    explain "$1"
    exit 1
}

# _app_files ACTION: app_folder.py, which knows how an app's folder is kept, cleared, and moved aside and back.
_app_files() {
    local python
    python=$(command -v python3) || python=$ONEGAI_ROOT/venv/bin/python
    "$python" -I "$ONEGAI_ROOT/install/app_folder.py" "$INSTALL_HOME" "$APP" "$@"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    if (($# == 0)); then die "which app?" "cd apps && bash ../install/lib.sh APP"; fi
    INSTALL_ARGUMENTS=("${@:2}")
    _name_app "$1"
    _install "$INSTALL_HOME/install/$APP.sh"
fi
