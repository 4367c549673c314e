#!/usr/bin/env bash
# hibari speaks, sentence by sentence, too. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import base64
import io
import os
import wave

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    greeting = {"text": "Good evening, and welcome to the show. It is a good one.", "seed": 1}
    content = client.raw("hibari", **greeting)
    events = list(client.stream("hibari", "stream", greeting, files="base64"))
with wave.open(io.BytesIO(content)) as sound:
    assert sound.getframerate() == 24000
    assert 3 < sound.getnframes() / 24000 < 7
    samples = sound.readframes(sound.getnframes())
    assert max(samples) > 0
assert events[-1].event == "done", events
pieces = [event.data["result"] for event in events if event.event == "output"]
assert pieces[0]["media_type"] == "audio/wav", pieces
assert len(pieces) > 1, pieces
streamed = b"".join(base64.b64decode(piece["base64"]) for piece in pieces)
assert streamed[44:] == samples
PY
