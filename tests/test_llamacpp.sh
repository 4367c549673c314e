#!/usr/bin/env bash
# llamacpp answers in Japanese, at once and word by word. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
# It is too large to be installed for tests: where it is not, this says so, and is no failure.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import os
import re
import sys

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    if not client.apps()["llamacpp"].installed:
        print("llamacpp is not installed: skipped")
        sys.exit()
    question = {"text": "日本の首都はどこですか。一文で答えてください。", "temperature": 0, "max_tokens": 100}
    answer = client.call("llamacpp", **question)
    events = list(client.stream("llamacpp", "stream", question))
assert "東京" in answer, answer
words = [event.data["result"] for event in events if event.event == "output"]
assert len(words) > 1, words
assert re.search("[ぁ-ん]", "".join(words)), words
PY
