#!/usr/bin/env bash
# Starts OneGAI, setting it up first where needed.
#   bash run.sh                  serve on http://127.0.0.1:58080 (Ctrl-C stops it)
#   bash run.sh --host 0.0.0.0   serve, with options
#   bash run.sh demo             any other command; bash run.sh --help lists them
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

bash setup/onegai.sh
case ${1:-} in
    -h | --help | --version) ;;
    '' | -*) set -- serve "$@" ;;
esac
exec venv/bin/python -m onegai "$@"
