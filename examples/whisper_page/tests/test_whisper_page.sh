#!/usr/bin/env bash
# whisper_page hears no words in silence. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import base64
import io
import os
import wave

from onegai import Client

silence = io.BytesIO()
with wave.open(silence, "wb") as out:
    out.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
    out.writeframes(bytes(2 * 2 * 16000))
audio = {"base64": base64.b64encode(silence.getvalue()).decode(), "name": "silence.wav"}
with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    heard = client.call("whisper_page", "listen", audio=audio, language="en")
assert isinstance(heard, str), heard
PY
