#!/usr/bin/env bash
# Ollama, and a model that speaks Japanese: https://github.com/ollama/ollama
# MIT; the models by name: Apache-2.0
#
# config.json may say which: {"apps": {"ollama": {"version": "v0.32.15", "target": "amd64"}}}
#   from   address of a folder that has the archive, instead of GitHub
#
# It comes without models: bash run.sh call ollama pull, once it is installed.
#
# What ran: all of this script, against a web server of the same machine, with an archive of the shape of the release's
# (bin/ and lib/, tar, zstd) and a small program in it. What could not be run where it was written: the download from
# GitHub, Ollama itself, a GPU. So the archive's name is that of Ollama's build scripts of August 2026, and the sizes
# (disk, vram, ram in services.json) are guesses.
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin ollama
version=$(app_setting version v0.32.15)
target=amd64
if [[ $(uname -m) == aarch64 ]]; then target=arm64; fi
target=$(app_setting target "$target")
from=$(app_setting from "https://github.com/ollama/ollama/releases/download/$version")
archive=ollama-linux-$target.tar.zst

app_venv
app_pip ollama.lock
app_download "$from/$archive" "$archive"
say "unpacking $archive"
unzstd='
import sys, zstandard
with open(sys.argv[1], "rb") as packed:
    zstandard.ZstdDecompressor().copy_stream(packed, sys.stdout.buffer)
'
unpacked() { "$APP_DIR/venv/bin/python" -I -c "$unzstd" "$APP_DIR/$archive" | tar -x -C "$APP_DIR"; }
attempt unpacked || {
    explain "unpacking $archive"
    exit 1
}
rm -f -- "$APP_DIR/$archive"

say "checking ollama"
if ! [[ -x $APP_DIR/bin/ollama ]]; then die "$archive has no bin/ollama" "another version may: apps.ollama.version"; fi
if ! OLLAMA_HOST=127.0.0.1:1 "$APP_DIR/bin/ollama" --version; then
    die "the ollama of $target does not run here" "see the lines above; another build: apps.ollama.target"
fi
install_end
