#!/usr/bin/env bash
# Starts the engine that install/voicevox.sh or install/aivisspeech.sh has put into apps/{app}/engine: run_voicevox.sh PORT,
# in apps/{app}. On the GPU, if its build can and there is one; not so with VV_USE_GPU=0 in the env of the entry.
# What it keeps (dictionary, presets, AivisSpeech's models) goes into data/, which updates leave as it is.
set -euo pipefail

options=()
target=$(<target)
case $target in
    *nvidia | Linux-*)
        if [[ ${VV_USE_GPU:-1} != 0 ]] && nvidia-smi -L &>/dev/null; then options+=(--use_gpu); fi
        ;;
esac
case $target in
    Linux-*) options+=(--disable_sentry) ;; # else AivisSpeech reports errors, and traces of requests, whose addresses have the texts
esac
export XDG_DATA_HOME=$PWD/data
exec engine/run --host 127.0.0.1 --port "$1" "${options[@]}"
