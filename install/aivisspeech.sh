#!/usr/bin/env bash
# AivisSpeech's engine, from the archives of its releases: https://github.com/Aivis-Project/AivisSpeech-Engine
# LGPL-3; each voice has a licence of its own. At its first start it downloads its first voice (250 MB) and a language
# model (650 MB) into apps/aivisspeech/data, which survives updates; own voices (.aivmx) go into
# apps/aivisspeech/data/AivisSpeech-Engine/Models. A GPU wants CUDA 12 and cuDNN 9 on the machine.
#
# config.json may say which: {"apps": {"aivisspeech": {"version": "1.2.0", "target": "Linux-x64"}}}; there is Linux-arm64, too.
#
# It is started without its reports of errors (Sentry), which would have the texts in them. That it has started, on what
# machine, it tells AivisHub all the same; there is no switch for that.
#
# What ran: all of this script, against a web server of the same machine, with a small archive in parts that py7zr made;
# voicevox.sh, which does the same, with one by 7-Zip, too. What could not be run where it was written: the download from
# GitHub, the engine itself, what it downloads at its first start, a GPU. So the names of the archives are those of the
# engine's build scripts of July 2026, and the sizes (disk, vram, ram in services.json) are guesses.
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin aivisspeech
version=$(app_setting version 1.2.0)
target=Linux-x64
if [[ $(uname -m) == aarch64 ]]; then target=Linux-arm64; fi
target=$(app_setting target "$target")
from=$(app_setting from "https://github.com/Aivis-Project/AivisSpeech-Engine/releases/download/$version")
package=AivisSpeech-Engine-$target-$version

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

say "checking aivisspeech"
if ! "$APP_DIR/engine/run" --help >/dev/null; then
    die "the engine of aivisspeech does not run here" "see the lines above; was $target the right one? apps.aivisspeech.target"
fi
install_end
