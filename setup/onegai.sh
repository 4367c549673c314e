#!/usr/bin/env bash
# Makes venv/, OneGAI's own Python environment, or brings it up to date. Does nothing, fast, when nothing changed.
# usage: setup/onegai.sh [--dev]     --dev: also what the tests need
#        setup/onegai.sh --local FILE [GONE...]     FILE becomes requirements/local.txt, the packages that func files need,
#                                                   once they are installed; those that are GONE are not any more
set -euo pipefail

ONEGAI_ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
readonly ONEGAI_ROOT
readonly LOG=$ONEGAI_ROOT/data/logs/setup.log VENV=$ONEGAI_ROOT/venv STAMP=$ONEGAI_ROOT/venv/.onegai-stamp
readonly LOCAL=$ONEGAI_ROOT/requirements/local.txt

# The stamp says, one a line: where the venv was made, and the hash of each lock file that is installed in it. While
# packages are being changed its first line is "changing".
wanted_stamp() {
    local set_name hash
    printf '%s\n' "$ONEGAI_ROOT"
    for set_name in "$@"; do
        read -r hash _ < <(sha256sum <"$ONEGAI_ROOT/requirements/$set_name.lock")
        printf '%s %s\n' "$set_name" "$hash"
    done
    local_stamp
}

# local_stamp: the line of requirements/local.txt, if there is anything in it.
local_stamp() {
    local hash
    if [[ -s $LOCAL ]]; then
        read -r hash _ < <(sha256sum <"$LOCAL")
        printf 'local %s\n' "$hash"
    fi
}

# up_to_date STAMP: every wanted line is there, the root first, and the interpreter still exists.
up_to_date() {
    local line have
    [[ -x $VENV/bin/python && -r $STAMP ]] || return 1
    have=$'\n'$(<"$STAMP")$'\n'
    while IFS= read -r line; do
        [[ $have == *$'\n'"$line"$'\n'* ]] || return 1
    done <<<"$1"
}

refuse_windows_disk() {
    if [[ $ONEGAI_ROOT =~ ^/mnt/[a-z](/|$) ]] && grep -qi microsoft /proc/version && [[ ${ONEGAI_ALLOW_MNT:-} != 1 ]]; then
        die "$ONEGAI_ROOT is on a Windows disk, where models load many times slower and file locks fail" \
            "move or clone it to your Linux home: git clone <repo> ~/OneGAI   (ONEGAI_ALLOW_MNT=1 goes on anyway)"
    fi
}

one_setup_at_a_time() {
    exec 9>"$ONEGAI_ROOT/data/.setup.lock"
    if ! flock -n 9; then
        say "another setup is running here: waiting for it"
        flock 9
    fi
}

make_venv() {
    # without a stamp it is half made; with one, inline apps keep their libraries in it
    if [[ -e $VENV && ! -f $STAMP ]]; then find -H "$VENV" -mindepth 1 -delete; fi
    if ! system_python; then
        say "no Python 3.$PYTHON_MIN_MINOR to 3.$PYTHON_MAX_MINOR on this machine ($(python3 --version 2>&1)): uv brings $PYTHON_MANAGED (about 35 MB)"
        PYTHON=$PYTHON_MANAGED
    fi
    say "making venv"
    attempt "$UV" venv --no-project --quiet --allow-existing --prompt onegai --python "$PYTHON" "$VENV" || fail "making venv"
}

# install SET...: never sync, for the same reason.
install() {
    local set_name
    local -a locks=() options=()
    for set_name in "$@"; do locks+=(-r "$ONEGAI_ROOT/requirements/$set_name.lock"); done
    if [[ $* != *dev* ]]; then options+=(--only-binary :all:); fi # a development tool may have no wheel for aarch64
    # an interrupted change may have left a package half written
    if [[ -f $STAMP && $(head -n 1 -- "$STAMP") != "$ONEGAI_ROOT" ]]; then options+=(--reinstall); fi
    if [[ -f $STAMP ]]; then printf 'changing\n' >"$STAMP"; fi
    say "installing packages"
    attempt "$UV" pip install --python "$VENV/bin/python" --require-hashes --no-deps "${options[@]}" "${locks[@]}" ||
        fail "installing packages"
}

# install_local FILE: what it names, as long as OneGAI's own packages can stay as they are.
install_local() {
    if [[ ! -s $1 ]]; then return; fi
    say "installing packages for func files"
    attempt "$UV" pip install --python "$VENV/bin/python" --constraints "$ONEGAI_ROOT/requirements/onegai.lock" -r "$1"
}

# adopt_local FILE [GONE...]
adopt_local() {
    local file=$1
    shift
    [[ -x $VENV/bin/python && -f $STAMP ]] || die "there is no venv yet" "bash run.sh makes it"
    if (($#)); then attempt "$UV" pip uninstall --python "$VENV/bin/python" "$@" || fail "removing packages"; fi
    install_local "$file" || fail "installing packages for func files"
    if [[ -s $file ]]; then mv -f -- "$file" "$LOCAL"; else rm -f -- "$file" "$LOCAL"; fi
    {
        grep -v '^local ' -- "$STAMP"
        local_stamp
    } >"$STAMP.new"
    mv -f -- "$STAMP.new" "$STAMP"
}

fail() {
    explain "$1"
    exit 1
}

main() {
    local -a sets=(onegai)
    local stamp='' file=''
    case "$#:${1:-}" in
        0:) ;;
        1:--dev) sets+=(dev) ;;
        [2-9]:--local | [1-9][0-9]*:--local) file=$2 ;;
        *)
            printf 'usage: setup/onegai.sh [--dev]\n' >&2
            exit 2
            ;;
    esac
    if [[ -z $file ]]; then
        stamp=$(wanted_stamp "${sets[@]}")
        if up_to_date "$stamp"; then return; fi
    fi

    # shellcheck source=setup/uv.sh
    source "$ONEGAI_ROOT/setup/uv.sh"
    refuse_windows_disk
    need_python
    make_data
    one_setup_at_a_time
    if [[ -z $file ]] && up_to_date "$stamp"; then return; fi
    trap 'printf "\nsetup interrupted: run it again, it goes on from here\n" >&2; exit 130' INT TERM
    : >"$LOG"
    find_uv
    if [[ -n $file ]]; then
        adopt_local "${@:2}"
        return
    fi
    mkdir -p -- "$ONEGAI_ROOT/apps"
    if [[ ! -x $VENV/bin/python || ! -f $STAMP ]] || ! python_fits "$VENV/bin/python"; then make_venv; fi
    install "${sets[@]}"
    if ! install_local "$LOCAL"; then
        explain "installing what requirements/local.txt names"
        say "OneGAI goes on without these packages; the next run tries again"
        stamp=$(grep -v '^local ' <<<"$stamp")
    fi
    printf '%s\n' "$stamp" >"$STAMP.new"
    mv -f -- "$STAMP.new" "$STAMP"
    say "OneGAI is set up"
}

main "$@"
