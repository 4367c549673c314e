#!/usr/bin/env bash
# Open JTalk: a classic Japanese voice, with dictionary and voice in the wheel. MIT; the voice "Mei" is CC BY 3.0
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin openjtalk
app_venv
app_pip openjtalk.lock # the lock leaves out what pyopenjtalk-plus needs for training only
app_check '
import pyopenjtalk
wave, rate = pyopenjtalk.tts("おねがい")
assert rate == 48000 and len(wave) > rate // 4, "no sound"
'
install_end
