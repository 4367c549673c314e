#!/usr/bin/env bash
# hibari speaks. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import io
import os
import wave

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    content = client.raw("hibari", text="Good evening, and welcome to the show.", seed=1)
with wave.open(io.BytesIO(content)) as sound:
    assert sound.getframerate() == 24000
    assert 1.5 < sound.getnframes() / 24000 < 5
    assert max(sound.readframes(sound.getnframes())) > 0
PY
