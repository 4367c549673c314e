# shellcheck shell=bash
# Helpers of the install scripts; see smollm.sh for a whole one. A script runs in apps/, by the engine or by hand:
#
#     cd apps && bash ../install/smollm.sh
#
#   install_begin APP [GB]     first of all: may it be installed, is there room; clears what a broken try left behind
#   app_venv [PYTHON]          makes apps/APP/venv and activates it: OneGAI's own Python, or the one named (3.10, say)
#   app_pip [--copy] [--build] LOCK   installs install/LOCK into it: exactly what is listed, by hash
#                              --copy: own copies, for apps that edit packages in place · --build: allow source packages
#   app_check CODE             runs Python code in the venv, offline: is what was installed really there?
#   install_end                last of all
#
# After install_begin: $APP, $APP_DIR (absolute), $ONEGAI_ROOT, $UV after app_venv; never sudo, no questions (no stdin).
#
# What others may rely on, with L = apps/.APP.lock and M = apps/APP/.onegai-installed:
#   M is there                           installed (JSON: app, time)
#   else somebody holds flock(L)         being installed
#   else L is not empty, or apps/APP is  broken: a failed or killed try; running the script again starts clean
# L's first word is "installing" or "broken", padded to one length; it is emptied at success and never deleted.
# Exit status 75: another install of APP is under way. ONEGAI_REINSTALL=1 installs over an installed APP (an update).
# Folders named by the app's "data" key of services.json survive all of this.
set -euo pipefail

ONEGAI_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
INSTALL_ARGUMENTS=("$@") # of the script that sources this file
# shellcheck source=setup/uv.sh
source "$ONEGAI_ROOT/setup/uv.sh"

install_begin() {
    APP=$1
    APP_DIR=$PWD/$APP
    LOG=$ONEGAI_ROOT/data/logs/install-$APP.log
    if [[ /proc/self/fd/1 -ef $LOG ]]; then LOG=/dev/null; fi # the engine has us write to it already
    [[ $APP =~ ^[a-z][a-z0-9_]{0,63}$ ]] || die "'$APP' is not an app name" "lower-case letters, digits and _"
    if [[ ${ONEGAI_INSTALL_PARENT:-} == "$APP:$PPID" ]]; then
        unset ONEGAI_INSTALL_PARENT VIRTUAL_ENV PYTHONHOME PYTHONPATH
        export PIP_REQUIRE_VIRTUALENV=1 PIP_NO_INPUT=1 UV_PROJECT_ENVIRONMENT=venv GIT_TERMINAL_PROMPT=0
        mkdir -p -- "$APP_DIR"
        return # on with the script
    fi
    _prepare "${2:-}"
    _supervise
}

# The checks, and the lock that is held from here on. Leaves things as they are unless the install may go on.
_prepare() {
    local facts need state=''
    local -a keep
    [[ $PWD -ef $ONEGAI_ROOT/apps ]] ||
        die "an install script runs in apps/" "mkdir -p '$ONEGAI_ROOT/apps' && cd '$ONEGAI_ROOT/apps' && bash ../install/$APP.sh"
    if ! [[ -w . ]] || [[ -e .$APP.lock && ! -w .$APP.lock ]]; then
        die "cannot write to $PWD" "make it yours: sudo chown -R \"\$(id -un)\" '$ONEGAI_ROOT'"
    fi
    exec {INSTALL_LOCK}>>".$APP.lock"
    # an engine that looks whether the lock is held has it for a moment
    flock -w 0.5 "$INSTALL_LOCK" || {
        complain "$APP is being installed by another process" "wait for it"
        exit 75
    }
    if [[ -L $APP ]]; then
        die "apps/$APP is a symbolic link; an install never writes through one" "remove the link"
    fi
    if [[ -e $APP/.onegai-installed && ${ONEGAI_REINSTALL:-} != 1 ]]; then
        say "$APP is already installed"
        exit 0
    fi
    facts=$(_app_files facts) || exit 1
    mapfile -t keep <<<"$facts"
    need=${keep[0]} keep=("${keep[@]:1}")
    read -r state _ <".$APP.lock" || true
    if [[ -z $state && ! -e $APP/.onegai-installed ]] && ! _app_files ours "${keep[@]+"${keep[@]}"}"; then
        die "apps/$APP exists but was not made by this script" \
            "move it away, or if it is complete: touch 'apps/$APP/.onegai-installed'"
    fi
    _need_space "${1:-$need}"
    _write_state installing || die "cannot write to $PWD ($(free_space .))" "free some space, or check whose folder it is"
    rm -f -- "$APP/.onegai-installed"
    if [[ -d $APP ]]; then _app_files clear "${keep[@]+"${keep[@]}"}" || _failed 1; fi
}

# Runs the script again in a session of its own, so that whatever it started can be stopped with it.
_supervise() {
    local child code=0
    INSTALL_SIGNAL=0
    if mkdir -p -- "${LOG%/*}" 2>/dev/null; then { : >"$LOG"; } 2>/dev/null || true; fi
    trap '_stop 129' HUP
    trap '_stop 130' INT
    trap '_stop 143' TERM
    ONEGAI_INSTALL_PARENT=$APP:$$ setsid bash -- "$0" "${INSTALL_ARGUMENTS[@]+"${INSTALL_ARGUMENTS[@]}"}" </dev/null &
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
    if [[ ! -e $APP/.onegai-installed.new ]]; then
        complain "install/$APP.sh ended without install_end"
        _failed 1
    fi
    sync -f -- "$APP" 2>/dev/null || true # a power cut must not leave a marker without the files
    mv -f -- "$APP/.onegai-installed.new" "$APP/.onegai-installed" || _failed 1
    : >".$APP.lock"
    say "$APP is installed"
    exit 0
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
    _write_state broken || true
    printf 'install of %s failed (exit %s): fix the cause and run it again, it starts clean\n' "$APP" "$1" >&2
    exit "$1"
}

# Overwritten in place, so that it can still be said when the disk is full.
_write_state() { printf '%-10s\n' "$1" 2>/dev/null 1<>".$APP.lock"; }

# _need_space GB: what a broken try has left counts as free, it is cleared next.
_need_space() {
    local need free old=0
    need=$(LC_ALL=C awk -v gb="$1" 'BEGIN { if (gb !~ /^[0-9]+(\.[0-9]+)?$/) exit 1; printf "%.0f", gb * 1024 }') ||
        die "'$1' is not a number of GB"
    if ((need == 0)); then return; fi
    { read -r _ && read -r _ _ _ free _; } < <(df -Pk -- .)
    if [[ -d $APP ]]; then read -r old _ < <(du -skx -- "$APP"); fi
    free=$(((free + old) / 1024))
    if ((free < need)); then
        die "not enough disk space for $APP: it needs $need MB, $free MB are free on the disk of $PWD" "free some space"
    fi
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

app_check() {
    say "checking $APP"
    if ! (cd -- "$APP_DIR" && HF_HUB_OFFLINE=1 ORT_DISABLE_TELEMETRY=1 venv/bin/python -I -c "$1"); then
        die "$APP was installed, but does not work here" "see the lines above"
    fi
}

install_end() {
    printf '{"app": "%s", "time": "%s"}\n' "$APP" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$APP_DIR/.onegai-installed.new"
}

_explain_and_exit() {
    explain "$1"
    exit 1
}

# _app_files facts              prints the GB that APP needs, then the folders to keep, one a line
# _app_files ours KEEP...       status 1 if apps/APP holds anything but folders to keep
# _app_files clear KEEP...      deletes all but these; never through a link
_app_files() {
    local python
    python=$(command -v python3) || python=$ONEGAI_ROOT/venv/bin/python
    "$python" -I - "$ONEGAI_ROOT" "$APP" "$@" <<'PYTHON'
import json
import os
import shutil
import sys

root, app, action, *keep = sys.argv[1:]


def entry_of(name, *path):
    """The app's entry in a JSON file of the user's, {} where there is none."""
    try:
        with open(os.path.join(root, name), encoding="utf-8-sig") as file:
            entry = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        sys.exit(f"error: {name} is not valid JSON: {error}\n  fix: correct it; it says what an install must keep")
    for key in (*path, app):
        entry = entry.get(key) if isinstance(entry, dict) else None
    return entry if isinstance(entry, dict) else {}


def facts():
    entry = {**entry_of("services.json"), **entry_of("services.local.json"), **entry_of("config.json", "apps")}
    print(entry.get("disk", 0))
    for folder in entry.get("data", []):
        parts = os.path.normpath(str(folder)).split(os.sep)
        if os.path.isabs(str(folder)) or parts[0] in (".", ".."):
            sys.exit(f"error: the data folder {folder!r} of {app} is not inside apps/{app}")
        print(os.sep.join(parts))


def others(folder, prefix=""):
    """Every topmost path under folder that is not to be kept."""
    for item in os.scandir(folder):
        name = prefix + item.name
        if name in keep:
            continue
        if any(kept.startswith(name + os.sep) for kept in keep):
            if item.is_dir(follow_symlinks=False):
                yield from others(item.path, name + os.sep)
        else:
            yield item


if action == "facts":
    facts()
elif action == "ours":
    sys.exit(os.path.lexists(app) and (not os.path.isdir(app) or any(True for _ in others(app))))
else:
    for item in list(others(app)):
        if item.is_dir(follow_symlinks=False):
            shutil.rmtree(item.path)
        else:
            os.unlink(item.path)
PYTHON
}
