#!/usr/bin/env bash
# Sets everything up and runs every check. Arguments go to pytest: bash test.sh -k gateway -x
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

bash setup/onegai.sh --dev
export PATH=$PWD/venv/bin:$PATH
export HF_HUB_OFFLINE=1 # a package that would fetch weights at first use fails at once
unset PYTHONDONTWRITEBYTECODE # the tests start many servers; compiling all imports each time takes longer than they run

passed=0
failed=()
outputs=$(mktemp -d)
declare -A aside=() # process groups, by the step's name

# step NAME COMMAND...: runs it, and counts it.
step() {
    local name=$1
    shift
    printf '\n==> %s\n' "$name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed+=("$name")
    fi
}

# begin NAME COMMAND...: a step beside what follows; its output, and what came of it, is shown by: step NAME end NAME
begin() {
    local name=$1
    shift
    set -m # a process group of its own, which Ctrl-C does not reach, but tidy does
    "$@" >"$outputs/$name" 2>&1 </dev/null &
    set +m
    aside[$name]=$!
}

end() {
    local name=$1 code=0
    wait "${aside[$name]}" || code=$?
    unset "aside[$name]"
    cat -- "$outputs/$name"
    return "$code"
}

tidy() {
    local group
    for group in "${aside[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
    wait
    rm -rf -- "$outputs"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Also what is not yet committed; without git (a tarball, another user's clone) whatever lies here.
shell_files() {
    git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run 2>/dev/null ||
        find . \( -path ./venv -o -path ./apps -o -path ./data \) -prune -o \( -name '*.sh' -o -path ./.ci/run \) -print0
}

# What only tests want: a browser, and (for tests/newest.sh) a way to make a chroot. Where they are missing and this is not root, what
# needs them is skipped.
have() {
    local program=$1 path=$PATH:/usr/sbin:/sbin
    if PATH=$path command -v "$program" >/dev/null || ((EUID != 0)) || ! command -v apt-get >/dev/null; then return; fi
    echo "Installing $program for the tests"
    PATH=$path apt-get -qq update &&
        PATH=$path DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$program" >/dev/null ||
        echo "No $program: what needs it is skipped."
} >&2

check_shell() {
    local -a files
    mapfile -d '' -t files < <(shell_files)
    shellcheck -x -- "${files[@]}"
}

have chromium
have debootstrap
begin "ruff format" ruff format --check .
begin "ruff check" ruff check .
begin "mypy" mypy
begin "import layers" lint-imports
begin "shellcheck" check_shell
for name in "ruff format" "ruff check" "mypy" "import layers" "shellcheck"; do step "$name" end "$name"; done
if (($#)); then
    step "pytest" python -m pytest "$@"
else
    begin "newest Python" bash tests/newest.sh # much of it is waiting for packages
    step "pytest" python -m pytest -n 6 -m "not alone"
    step "newest Python" end "newest Python"
    step "pytest, one by one" python -m pytest -m alone
fi

printf '\n==> %d steps passed, %d failed%s\n' "$passed" "${#failed[@]}" "${failed[*]:+: }$(
    IFS=,
    printf '%s' "${failed[*]}"
)"
((${#failed[@]} == 0))
