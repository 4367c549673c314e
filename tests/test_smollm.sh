#!/usr/bin/env bash
# smollm answers, and the same seed answers the same. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import os

from onegai import Client

with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    answers = [client.call("smollm", text="What is the capital of France?", seed=1) for _ in "12"]
assert "Paris" in answers[0], answers
assert answers[0] == answers[1], answers
PY
