#!/usr/bin/env bash
# aivisspeech speaks, in two styles of its first speaker if there are two. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
# It is too large to be installed for tests: where it is not, this says so, and is no failure.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import io
import os
import sys
import wave

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    if not client.apps()["aivisspeech"].installed:
        print("aivisspeech is not installed: skipped")
        sys.exit()
    first = client.call("aivisspeech", "speakers")[0]
    contents = [
        client.raw("aivisspeech", text="こんばんは、配信へようこそ。", speaker=first["name"], style=style["name"])
        for style in first["styles"][:2]
    ]
for content in contents:
    with wave.open(io.BytesIO(content)) as sound:
        assert 1 < sound.getnframes() / sound.getframerate() < 6
        assert max(sound.readframes(sound.getnframes())) > 0
PY
