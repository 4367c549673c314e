"""llama-server's command line over the same llama.cpp, out of the package xllamacpp.

Runs in the venv of the app smollm. It knows the options that run/run_llamacpp.py gives, and refuses
others, as llama-server does.
"""

import argparse
import signal
import threading


def main() -> None:
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--alias")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-c", "--ctx-size", type=int, default=0)
    parser.add_argument("--reasoning", choices=("on", "off", "auto"), default="auto")
    parser.add_argument("--cors-origins", default="*")
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--pooling", choices=("mean", "cls", "last"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_ctx = options.ctx_size
    params.n_gpu_layers = 0
    params.cors_origins = options.cors_origins
    params.embedding = options.embeddings
    if options.pooling:
        params.pooling_type = getattr(
            xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{options.pooling.upper()}"
        )
    server = xllamacpp.Server(params)
    print(f"serving {options.model} on {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
