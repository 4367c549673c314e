#!/usr/bin/env bash
# ComfyUI: pictures, videos and music by workflows: https://github.com/Comfy-Org/ComfyUI
# GPL-3.0. It comes without models: put them into apps/comfyui/models, or name folders in extra_model_paths.yaml.
#
# config.json may say which: {"apps": {"comfyui": {"version": "v0.3.64", "torch_index": "https://download.pytorch.org/whl/cu126"}}}
#   torch_index   where PyTorch comes from. Without it: cu128 (RTX 20 to 50) where there is an NVIDIA GPU, else cpu
#   python        which Python it gets; 3.12
#   from          the repository, instead of GitHub's
#
# What ran: all of this script, with the files of October 2025 (v0.3.64) in a repository made for the test, PyTorch
# 2.8.0 from PyPI, Python 3.11; ComfyUI itself, on the CPU: workflows, previews, uploads, errors, the queue. What could not
# be run where it was written: the downloads from GitHub and PyTorch's own index, models, a GPU. So vram is a guess.
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin comfyui
version=$(app_setting version v0.3.64)
index=https://download.pytorch.org/whl/cpu
if nvidia-smi -L &>/dev/null; then index=https://download.pytorch.org/whl/cu128; fi
index=$(app_setting torch_index "$index")

app_git "$(app_setting from https://github.com/Comfy-Org/ComfyUI.git)" "$version"
app_venv "$(app_setting python 3.12)"
app_packages --index-url "$index" torch==2.8.0 torchvision==0.23.0 torchaudio==2.8.0
app_pip comfyui.lock
mkdir -p -- "$APP_DIR/workflows"
app_check '
import aiohttp, torch, torchaudio, torchvision, transformers, yaml
print("torch", torch.__version__, "with a GPU" if torch.cuda.is_available() else "without a GPU")
'
install_end
