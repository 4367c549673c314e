#!/usr/bin/env bash
# whisper writes down what hibari says, and hears no words in silence. Needs ONEGAI_URL, ONEGAI_USERNAME,
# ONEGAI_PASSWORD, and hibari installed.
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

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    speech = client.raw("hibari", text="The train to London leaves at noon.", seed=1)
    heard, nothing = (
        client.call("whisper", audio=base64.b64encode(content).decode(), language="en")
        for content in (speech, silence.getvalue())
    )
assert "train to london leaves at noon" in heard.lower(), heard
assert nothing == "", nothing
PY
