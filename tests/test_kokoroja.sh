#!/usr/bin/env bash
# kokoroja speaks, with more than one voice. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import io
import os
import wave

from onegai import Client

text = "こんばんは、配信へようこそ。"
with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    voices = client.call("kokoroja", "voices")
    contents = [client.raw("kokoroja", text=text, voice=voice) for voice in (voices[0], voices[-1])]
assert len(voices) == len(set(voices)) == 5
assert contents[0] != contents[1]
for content in contents:
    with wave.open(io.BytesIO(content)) as sound:
        assert sound.getframerate() == 24000
        assert 1.5 < sound.getnframes() / 24000 < 5
        assert max(sound.readframes(sound.getnframes())) > 0
PY
