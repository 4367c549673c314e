#!/usr/bin/env bash
# comfyui makes a picture without a model. Needs ONEGAI_URL, ONEGAI_USERNAME, ONEGAI_PASSWORD.
# It is too large to be installed for tests: where it is not, this says so, and is no failure.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"${ONEGAI_PYTHON:-venv/bin/python}" - <<'PY'
import os
import struct
import sys

from onegai import Client

canvas = {"width": 64, "height": 32, "batch_size": 1, "color": 255}
workflow = {
    "1": {"class_type": "EmptyImage", "inputs": canvas, "_meta": {"title": "Canvas"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "test"}},
}
with Client(*(os.environ[f"ONEGAI_{key}"] for key in ("URL", "USERNAME", "PASSWORD"))) as client:
    if not client.apps()["comfyui"].installed:
        print("comfyui is not installed: skipped")
        sys.exit()
    picture = client.raw("comfyui", workflow=workflow, inputs={"Canvas.width": 96})
assert struct.unpack(">II", picture[16:24]) == (96, 32), picture[:40]
PY
