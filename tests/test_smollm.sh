#!/usr/bin/env bash
# smollm answers, word by word, too, and the same seed answers the same. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import os

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    question = {"text": "What is the capital of France?", "seed": 1}
    answers = [client.call("smollm", **question) for _ in "12"]
    events = list(client.stream("smollm", "stream", question))
assert "Paris" in answers[0], answers
assert answers[0] == answers[1], answers
words = [event.data["result"] for event in events if event.event == "output"]
assert events[-1].event == "done", events
assert "".join(words).strip() == answers[0], words
assert len(words) >= len(answers[0].split()), words
PY
