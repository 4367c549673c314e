#!/usr/bin/env bash
# llama.cpp's server, and a model that speaks Japanese: https://github.com/ggml-org/llama.cpp
# MIT; the models of install/llamacpp_models.py: Apache-2.0
#
# config.json may say which: {"apps": {"llamacpp": {"version": "b11549", "target": "cpu", "model": "e4b"}}}
#   target   cuda: built here, from source, since there is no such release for Linux; vulkan, cpu: from the release.
#            Without it: cuda where there are an NVIDIA GPU, nvcc and cmake; else vulkan where there is a GPU; else cpu
#   model    which model is fetched, and used: docs/llms.md; none: none is fetched
#   from     address of a folder that has the archives, instead of GitHub
#
# What ran: all of this script but the build, against web servers of the same machine: an archive of the shape of the
# release's, in it a llama-server that is the same llama.cpp (b11549) out of the package xllamacpp; a model from a server
# that speaks as Hugging Face does, cut off and resumed. What could not be run where it was written: the downloads from
# GitHub and Hugging Face, the build, a GPU. So the names of the archives are those of llama.cpp's build scripts, and
# the sizes (disk, vram, ram in services.json) are guesses.
set -euo pipefail
# shellcheck source=install/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_begin llamacpp
version=$(app_setting version b11549)
model=$(app_setting model 12b)
machine=x64
if [[ $(uname -m) == aarch64 ]]; then machine=arm64; fi
target=cpu
if nvidia-smi -L &>/dev/null && command -v nvcc >/dev/null && command -v cmake >/dev/null; then
    target=cuda
elif nvidia-smi -L &>/dev/null || compgen -G '/dev/dri/renderD*' >/dev/null; then
    target=vulkan
fi
target=$(app_setting target "$target")
case $target in
    cuda) archive=$version.tar.gz from=https://github.com/ggml-org/llama.cpp/archive/refs/tags ;;
    vulkan) archive=llama-$version-bin-ubuntu-vulkan-$machine.tar.gz ;;
    cpu) archive=llama-$version-bin-ubuntu-$machine.tar.gz ;;
    *) die "apps.llamacpp.target is $target" "it is cuda, vulkan or cpu" ;;
esac
from=$(app_setting from "${from:-https://github.com/ggml-org/llama.cpp/releases/download/$version}")

app_download "$from/$archive" "$archive"
mkdir -p -- "$APP_DIR/unpacked"
say "unpacking $archive"
attempt tar -xzf "$APP_DIR/$archive" -C "$APP_DIR/unpacked" --no-same-owner || {
    explain "unpacking $archive"
    exit 1
}
if [[ $target == cuda ]]; then
    sources=("$APP_DIR"/unpacked/*/)
    say "building llama.cpp, which takes a while"
    if ! attempt cmake -S "${sources[0]}" -B "$APP_DIR/unpacked/build" -DCMAKE_BUILD_TYPE=Release -DGGML_CUDA=ON \
        -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF ||
        ! attempt cmake --build "$APP_DIR/unpacked/build" --config Release -t llama-server -j "$(nproc)"; then
        explain "building llama.cpp"
        exit 1
    fi
fi
program=$(find "$APP_DIR/unpacked" -name llama-server -type f -print -quit)
if [[ -z $program ]]; then die "$archive has no llama-server" "another version may: apps.llamacpp.version"; fi
mv -- "$(dirname -- "$program")" "$APP_DIR/bin"
rm -rf -- "$APP_DIR/unpacked" "${APP_DIR:?}/$archive"
printf '%s\n' "$target" >"$APP_DIR/target"

say "checking llamacpp"
if ! LD_LIBRARY_PATH=$APP_DIR/bin "$APP_DIR/bin/llama-server" --version; then
    die "the llama-server of $target does not run here" "see the lines above; another build: apps.llamacpp.target"
fi
if [[ $model != none ]]; then
    say "fetching the model $model"
    python=$(command -v python3) || python=$ONEGAI_ROOT/venv/bin/python
    attempt "$python" "$ONEGAI_ROOT/install/llamacpp_models.py" pull "$model" "$APP_DIR/models" "$INSTALL_HOME/config.json" || {
        explain "fetching the model $model"
        exit 1
    }
fi
install_end
