#!/usr/bin/env bash
# Open JTalk (Japanese classic voice, Mei) behind the routes of a VOICEVOX engine, from wheels alone. MIT; the voice CC BY 3.0
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin openjtalk_engine
app_venv
app_pip openjtalk_engine.lock # those of openjtalk, what its routes are served with, and soxr for other sampling rates
app_check '
import fastapi, uvicorn
import numpy as np
import pyopenjtalk, soxr
samples, rate = pyopenjtalk.tts("こんにちは")
assert len(soxr.resample(samples, rate, 24000)) > 24000 * 0.3, "no sound"
'
install_end
