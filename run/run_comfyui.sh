#!/usr/bin/env bash
# Starts ComfyUI: run_comfyui.sh PORT, in apps/comfyui. Without an NVIDIA GPU: on the CPU, unless COMFYUI_OPTIONS, in env of
# the entry, says another thing: words for its command line, such as "--lowvram" or "--reserve-vram 2".
set -euo pipefail

read -r -a options <<<"${COMFYUI_OPTIONS:-}"
if ((${#options[@]} == 0)) && ! nvidia-smi -L &>/dev/null; then options=(--cpu); fi
exec venv/bin/python main.py --listen 127.0.0.1 --port "$1" --disable-auto-launch "${options[@]+"${options[@]}"}"
