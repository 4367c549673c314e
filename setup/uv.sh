# shellcheck shell=bash
# Sourced by setup/onegai.sh and install/lib.sh, never run: messages, finding uv and a Python, and commands whose
# failure is explained in one line. The caller sets ONEGAI_ROOT (absolute, the repository) and LOG (a file in data/logs).

# The Pythons that the lock files have wheels for: 3.MIN .. 3.MAX.
readonly PYTHON_MIN_MINOR=11 PYTHON_MAX_MINOR=14
# What uv brings where the machine has none of these.
# shellcheck disable=SC2034
readonly PYTHON_MANAGED=3.12

say() { printf '==> %s\n' "$*"; }

# complain MESSAGE [HINT]: what is wrong, and what to do about it.
complain() {
    printf 'error: %s\n' "$1" >&2
    if [[ -n ${2:-} ]]; then printf '  fix: %s\n' "$2" >&2; fi
}

die() {
    complain "$@"
    exit 1
}

# attempt COMMAND...: runs it, shows its output and appends it to LOG, keeps its last lines in ATTEMPT_TAIL.
# Returns its exit status.
attempt() {
    local code=0 line
    ATTEMPT_TAIL=() ATTEMPT_SHOWN=1
    (umask 077 && mkdir -p -- "${LOG%/*}" && : >>"$LOG") 2>/dev/null || true
    note_in_log "\$ $*"
    shopt -s lastpipe # the loop fills ATTEMPT_TAIL of this shell; the command stays in the foreground, so Ctrl-C reaches it
    "$@" 2>&1 | while IFS= read -r line || [[ -n $line ]]; do
        printf '%s\n' "$line"
        note_in_log "$line"
        ATTEMPT_TAIL+=("$line")
        if ((${#ATTEMPT_TAIL[@]} > 60)); then ATTEMPT_TAIL=("${ATTEMPT_TAIL[@]:1}"); fi
    done || code=${PIPESTATUS[0]}
    return "$code"
}

# A log that cannot be written (full disk, another user's file) must not hide the real failure.
note_in_log() { { printf '%s\n' "$1" >>"$LOG"; } 2>/dev/null || true; }

# quietly COMMAND...: like attempt, without showing the output. For ways that may fail because another follows.
quietly() {
    local code=0
    attempt "$@" >/dev/null || code=$?
    ATTEMPT_SHOWN=0
    return "$code"
}

attempt_text() { printf '%s\n' "${ATTEMPT_TAIL[@]+"${ATTEMPT_TAIL[@]}"}"; }

# explain WHAT: after a failed attempt, the cause and a fix; before them its last lines, if nobody has seen them go by.
explain() {
    local what=$1 text
    text=$(attempt_text)
    if ((!ATTEMPT_SHOWN)); then tail -n 4 <<<"$text" >&2; fi
    if full_disk "$text"; then
        complain "$what: the disk is full ($(free_space "$ONEGAI_ROOT"); $(free_space "${TMPDIR:-/tmp}"))" \
            "free some space and run it again"
    elif grep -qiE 'certificate|UnknownIssuer|SSLError|CERTIFICATE_VERIFY' <<<"$text"; then
        complain "$what: the server's certificate is not trusted by this machine" \
            "apt install ca-certificates; behind a company proxy also: export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt; and check the clock (date)"
    elif grep -qiE 'hash mismatch|do not match the hashes' <<<"$text"; then
        complain "$what: a downloaded file is not the one that was locked" \
            "run it again; if it stays, a proxy or package mirror alters or lacks the file"
    elif grep -qiE 'dns error|name resolution|resolve host|name or service not known|network is unreachable|connection refused|connection reset|no route to host|timed out|failed to fetch|error sending request|urlopen error|newconnectionerror|could not connect' <<<"$text"; then
        complain "$what: no network, or the package index cannot be reached" \
            "check the connection, and HTTPS_PROXY if you are behind a proxy; what was downloaded is kept, run it again"
    elif grep -qiE 'permission denied|read-only file system' <<<"$text"; then
        complain "$what: no permission to write" \
            "was it once run as another user (root)? then: sudo chown -R \"\$(id -un)\" '$ONEGAI_ROOT'"
    elif grep -qiE 'no space for|no usable wheels|no wheels with a matching' <<<"$text"; then
        complain "$what: a package has no build for this processor, system or Python" \
            "see the lines above; Linux on x86_64 or aarch64 with glibc is supported"
    else
        complain "$what failed" "see the lines above"
    fi
    if [[ -s $LOG ]]; then printf '  log: %s\n' "$LOG" >&2; fi
}

full_disk() {
    grep -qiE 'no space left|os error 28|errno 28|disk quota exceeded|os error 122' <<<"$1"
}

free_space() {
    local target=$1
    df -Pk -- "$target" 2>/dev/null | while read -r _ _ _ free _ mount; do
        if [[ $free =~ ^[0-9]+$ ]]; then printf '%s MB free on %s' "$((free / 1024))" "$mount"; fi
    done
}

# need_python: one line if there is no Python at all to begin with.
need_python() {
    if ! command -v python3 >/dev/null; then
        die "python3 is not installed" "sudo apt install python3 python3-venv"
    fi
}

# python_fits PYTHON: is it one that the lock files serve?
python_fits() {
    "$1" -c "import sys; sys.exit(not (3, $PYTHON_MIN_MINOR) <= sys.version_info[:2] <= (3, $PYTHON_MAX_MINOR))" \
        2>/dev/null
}

# system_python: sets PYTHON to a fitting interpreter of the machine; status 1 if it has none.
system_python() {
    local minor candidate
    local -a names=(python3)
    for ((minor = PYTHON_MAX_MINOR; minor >= PYTHON_MIN_MINOR; minor--)); do names+=("python3.$minor"); done
    for candidate in "${names[@]}"; do
        if PYTHON=$(command -v "$candidate") && python_fits "$PYTHON"; then return 0; fi
    done
    PYTHON=
    return 1
}

# find_uv: sets UV to a uv that works: yours, else one made in data/tools.
find_uv() {
    local tools=$ONEGAI_ROOT/data/tools
    if [[ -n ${ONEGAI_UV:-} ]]; then
        uv_works "$ONEGAI_UV" || die "ONEGAI_UV=$ONEGAI_UV is not a uv that runs" "unset ONEGAI_UV, or name the uv program"
        UV=$ONEGAI_UV
    elif UV=$(command -v uv) && uv_works "$UV"; then
        :
    else
        UV=$tools/bin/uv
        uv_works "$UV" || make_uv "$tools"
    fi
    uv_settings
}

# uv_works UV: it runs, and is not too old for the options used here.
uv_works() {
    local version
    [[ -n $1 ]] && version=$("$1" --version 2>/dev/null) || return 1
    [[ $version =~ ^uv\ ([0-9]+)\.([0-9]+)\. ]] || return 1
    ((BASH_REMATCH[1] > 0 || BASH_REMATCH[2] >= 5))
}

# make_uv DIR: brings uv to DIR/bin/uv by the first way that works here.
make_uv() {
    local tools=$1 lock=$ONEGAI_ROOT/requirements/uv.lock fd
    local -a pip_options=(--require-hashes --only-binary=:all: --disable-pip-version-check --no-input -r "$lock")
    need_python
    make_data
    exec {fd}>"$ONEGAI_ROOT/data/.uv.lock"
    flock "$fd"
    if ! uv_works "$UV"; then
        say "getting uv, the package installer (once, about 25 MB)"
        uv_by_pip || uv_by_installer || no_uv
    fi
    exec {fd}>&-
}

# make_data: data/logs, where everything that is written here goes.
make_data() {
    if ! (umask 077 && mkdir -p -- "$ONEGAI_ROOT/data/logs") 2>/dev/null || [[ ! -w $ONEGAI_ROOT/data/logs || ! -w $ONEGAI_ROOT/data ]]; then
        die "cannot write to $ONEGAI_ROOT/data ($(free_space "$ONEGAI_ROOT"))" \
            "free some space if the disk is full; else make the folder yours: sudo chown -R \"\$(id -un)\" '$ONEGAI_ROOT'"
    fi
}

# pip in a venv, else the machine's pip. Where the first has come as far as the download, the second is no use.
uv_by_pip() {
    if quietly python3 -m venv --clear -- "$tools"; then
        quietly env PIP_USER=0 "$tools/bin/python" -m pip install "${pip_options[@]}" && uv_works "$UV" && return
    else
        rm -rf -- "$tools"
        quietly python3 -m pip --version || return
        quietly env PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 python3 -m pip install --target "$tools" "${pip_options[@]}" &&
            uv_works "$UV" && return
    fi
    rm -rf -- "$tools"
    UV_PIP_FAILED=("${ATTEMPT_TAIL[@]+"${ATTEMPT_TAIL[@]}"}")
    return 1
}

# uv's own installer, of the locked version; it verifies what it downloads. It wants curl or wget: where there is
# neither, a stand-in for wget in a few lines of Python serves.
uv_by_installer() {
    local version code=0 scratch=$ONEGAI_ROOT/data/uv-installer
    version=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' -- "$lock")
    rm -rf -- "$scratch"
    mkdir -- "$scratch" "$scratch/bin"
    cat >"$scratch/bin/wget" <<'SHIM'
#!/usr/bin/env python3
"""wget URL -O FILE"""
import shutil
import sys
import urllib.request

arguments = sys.argv[1:]
url = next(word for word in arguments if "://" in word)
target = arguments[arguments.index("-O") + 1]
try:
    with urllib.request.urlopen(url, timeout=60) as answer, open(target, "wb") as out:
        shutil.copyfileobj(answer, out)
except OSError as error:
    sys.exit(f"cannot fetch {url}: {error}")
SHIM
    chmod +x -- "$scratch/bin/wget"
    quietly python3 "$scratch/bin/wget" "${ONEGAI_UV_INSTALLER:-https://astral.sh/uv/$version/install.sh}" \
        -O "$scratch/install.sh" &&
        quietly env PATH="$PATH:$scratch/bin" UV_UNMANAGED_INSTALL="$tools/bin" sh "$scratch/install.sh" ||
        code=$?
    rm -rf -- "$scratch"
    ((code == 0)) && uv_works "$UV"
}

no_uv() {
    if [[ -n ${UV_PIP_FAILED+set} ]]; then ATTEMPT_TAIL=("${UV_PIP_FAILED[@]}"); fi # pip is there: it is the download
    if [[ -n ${UV_PIP_FAILED+set} ]] || full_disk "$(attempt_text)"; then
        explain "getting uv"
        exit 1
    fi
    die "cannot get uv: this Python has neither venv nor pip, and uv's own installer did not work" \
        "sudo apt install python3-venv   (log: $LOG)"
}

# uv_settings: the user's own cache if hard links from it can reach the repository, else data/uv; and the certificates
# of this machine, as git uses them, rather than those inside uv.
uv_settings() {
    local home=${HOME:-/nonexistent} cache existing
    if [[ -z ${UV_CACHE_DIR:-} ]]; then
        cache=${XDG_CACHE_HOME:-$home/.cache}/uv
        existing=$cache
        until [[ -e $existing || $existing == / || $existing == . ]]; do existing=$(dirname -- "$existing"); done
        if [[ ! -w $existing || $(stat -c %d -- "$existing") != "$(stat -c %d -- "$ONEGAI_ROOT")" ]]; then
            cache=$ONEGAI_ROOT/data/uv
        fi
        export UV_CACHE_DIR=$cache
    fi
    if [[ ! -w $home ]]; then export UV_PYTHON_INSTALL_DIR=${UV_PYTHON_INSTALL_DIR:-$ONEGAI_ROOT/data/python}; fi
    if [[ -s /etc/ssl/certs/ca-certificates.crt ]]; then export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}; fi
}
