#!/usr/bin/env bash
# A Gradio page around hibari, an English neural voice with its model in the wheel. Apache-2.0
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin hibari_page
app_venv
app_pip hibari_page.lock
app_check '
import gradio
from hibari import Hibari
assert len(Hibari()("Please.")) > 0, "no sound"
'
install_end
