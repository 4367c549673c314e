#!/usr/bin/env bash
# hibari_page speaks. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import io
import os
import wave

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    content = client.raw("hibari_page", "speak", text="Good evening, and welcome.")
with wave.open(io.BytesIO(content)) as sound:
    assert 0.8 < sound.getnframes() / sound.getframerate() < 5
PY
