#!/usr/bin/env bash
# The unit and contract tests with the newest Python that the lock files serve; test.sh runs all tests with the machine's own.
# It is one that uv finds or brings, or (as root, with debootstrap) that of Debian's sid in a chroot. Where it cannot be had, this says
# so, and that is no failure.
set -euo pipefail
ONEGAI_ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
cd -- "$ONEGAI_ROOT"
# shellcheck disable=SC2034  # for uv.sh
LOG=$ONEGAI_ROOT/data/logs/newest.log
# shellcheck source=setup/uv.sh
source setup/uv.sh

newest=3.$PYTHON_MAX_MINOR
tests='-m pytest tests/unit tests/contract -q -n 2 -p no:cacheprovider'
is_newest="-c 'import sys; sys.exit(sys.version_info[1] != $PYTHON_MAX_MINOR)'"
PATH=$PATH:/usr/sbin:/sbin # debootstrap's

made_by_uv() {
    find_uv
    "$UV" python find --no-project "$newest" >/dev/null 2>&1 || quietly timeout 120 "$UV" python install "$newest" || return
    "$UV" venv --quiet --no-project --clear --python "$newest" data/newest &&
        "$UV" pip install --quiet --python data/newest/bin/python --require-hashes --no-deps \
            -r requirements/onegai.lock -r requirements/dev.lock
}

# chroot.sh clones anew each time, into the same chroot
in_sid() { bash tests/fresh/chroot.sh --dir "$sid" --suite sid --worktree "$1"; }

made_by_debian() {
    ((EUID == 0)) && command -v debootstrap >/dev/null || return
    sid=$(mktemp -d)
    trap 'rm -rf --one-file-system -- "$sid"' EXIT
    chmod 755 -- "$sid"
    quietly in_sid "python3 $is_newest"
}

if eval "venv/bin/python $is_newest"; then
    say "venv has Python $newest already"
elif made_by_uv; then
    eval "data/newest/bin/python $tests"
elif made_by_debian; then
    in_sid "bash setup/onegai.sh --dev && venv/bin/python $tests"
else
    say "not tried: neither uv nor Debian has Python $newest here"
fi
