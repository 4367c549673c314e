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

# Also what is not yet committed; without git (a tarball, another user's clone) whatever lies here.
shell_files() {
    git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run 2>/dev/null ||
        find . \( -path ./venv -o -path ./apps -o -path ./data \) -prune -o \( -name '*.sh' -o -path ./.ci/run \) -print0
}

# The tests of / and /docs want a browser. Without root they are skipped where there is none.
have_chromium() {
    command -v chromium >/dev/null && return
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then return; fi
    echo "Installing chromium for the tests in a browser"
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium ||
        echo "No chromium: the tests in a browser are skipped."
} >&2

check_shell() {
    local -a files
    mapfile -d '' -t files < <(shell_files)
    shellcheck -x -- "${files[@]}"
}

have_chromium
step "ruff format" ruff format --check .
step "ruff check" ruff check .
step "mypy" mypy
step "import layers" lint-imports
step "shellcheck" check_shell
step "pytest" python -m pytest "$@"

printf '\n==> %d steps passed, %d failed%s\n' "$passed" "${#failed[@]}" "${failed[*]:+: }$(
    IFS=,
    printf '%s' "${failed[*]}"
)"
((${#failed[@]} == 0))
