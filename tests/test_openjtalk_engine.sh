#!/usr/bin/env bash
# openjtalk_engine speaks, and knows who does. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import io
import os
import wave

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    [speaker] = client.call("openjtalk_engine", "speakers")
    content = client.raw("openjtalk_engine", text="こんばんは、配信へようこそ。", speaker=speaker["name"])
assert speaker["name"] == "Mei", speaker
with wave.open(io.BytesIO(content)) as sound:
    assert sound.getframerate() == 48000
    assert 1.2 < sound.getnframes() / 48000 < 5
    assert max(sound.readframes(sound.getnframes())) > 0
PY
