#!/usr/bin/env bash
# ollama answers in Japanese, at once and word by word. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
# It is too large to be installed for tests: where it is not, or has no model, this says so, and is no failure.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import os
import re
import sys

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    if not client.apps()["ollama"].installed:
        print("ollama is not installed: skipped")
        sys.exit()
    if not any(one["there"] and one["chosen"] for one in client.call("ollama", "models")):
        print("ollama has not pulled its model: skipped")
        sys.exit()
    question = {"text": "日本の首都はどこですか。一文で答えてください。", "temperature": 0, "max_tokens": 100}
    answer = client.call("ollama", **question)
    events = list(client.stream("ollama", "stream", question))
assert "東京" in answer, answer
words = [event.data["result"] for event in events if event.event == "output"]
assert len(words) > 1, words
assert re.search("[ぁ-ん]", "".join(words)), words
PY
