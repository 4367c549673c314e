"""Listens at once, but answers 503 until it has printed "Model loaded", after --delay seconds."""

import threading
import time

import httpd
import ready

loaded = threading.Event()


def load(delay: float) -> None:
    time.sleep(delay)
    loaded.set()
    print("Model loaded", flush=True)


def answer(request: httpd.Request) -> httpd.Answer:
    return ready.answer(request) if loaded.is_set() else httpd.as_json({"error": "loading"}, 503)


parser = httpd.options(__doc__)
parser.add_argument("--delay", type=float, default=0.5)
options = parser.parse_args()
threading.Thread(target=load, args=(options.delay,), daemon=True).start()
httpd.serve(options.host, options.port, answer)
