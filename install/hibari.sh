#!/usr/bin/env bash
# Hibari: an English neural voice, with its model in the wheel. Apache-2.0
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin hibari
app_venv
app_pip hibari.lock
app_check '
from hibari import Hibari
assert len(Hibari()("Please.")) > 0, "no sound"
'
install_end
