#!/usr/bin/env bash
# VOICEVOX's engine, with its voices, from the archives of its releases: https://github.com/VOICEVOX/voicevox_engine
# LGPL-3 or by agreement; each voice has terms of its own, which ask for a credit: https://voicevox.hiroshiba.jp
#
# config.json may say which: {"apps": {"voicevox": {"version": "0.25.2", "target": "linux-cpu-x64"}}}; targets are
# linux-nvidia, linux-cpu-x64 and linux-cpu-arm64. Without a target: linux-nvidia where there is such a GPU.
#
# What ran: all of this script, against a web server of the same machine, with a small archive in parts that py7zr made and
# with one that 7-Zip 26 made by the command with which VOICEVOX makes its own (BCJ and LZMA2, programs). What could
# not be run where it was written: the download from GitHub, the engine itself, a GPU. So the names of the archives are
# those of VOICEVOX's build scripts of August 2026, and the sizes (disk, vram, ram in services.json) are guesses.
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin voicevox
version=$(app_setting version 0.25.2)
target=linux-cpu-x64
if [[ $(uname -m) == aarch64 ]]; then
    target=linux-cpu-arm64
elif nvidia-smi -L &>/dev/null; then
    target=linux-nvidia
fi
target=$(app_setting target "$target")
from=$(app_setting from "https://github.com/VOICEVOX/voicevox_engine/releases/download/$version")
package=voicevox_engine-$target-$version

app_venv
app_download "$from/$package.7z.txt" release.txt
parts=()
while read -r part || [[ -n $part ]]; do
    part=${part%$'\r'}
    [[ $part =~ ^"$package".7z.[0-9]{3}$ ]] || die "$package.7z.txt is no list of its parts: $part"
    parts+=("$part")
done <"$APP_DIR/release.txt"
for part in "${parts[@]}"; do
    app_download "$from/$part" "parts/$part"
done
app_unpack "parts/${parts[0]}" unpacked
mv -- "$APP_DIR/unpacked/$target" "$APP_DIR/engine"
rmdir -- "$APP_DIR/unpacked" "$APP_DIR/parts"
printf '%s\n' "$target" >"$APP_DIR/target"

say "checking voicevox"
if ! "$APP_DIR/engine/run" --help >/dev/null; then
    die "the engine of voicevox does not run here" "see the lines above; was $target the right one? apps.voicevox.target"
fi
install_end
