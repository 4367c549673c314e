"""Streams for --seconds, a piece every --interval: /sse events, any other path bytes of --size.

The query may give seconds, interval and size too, or pieces instead of seconds. GET /streams
counts them: open, done, and left (the client hung up before the end).
"""

import time
from collections.abc import Iterator

import httpd

counts = {"open": 0, "done": 0, "left": 0}


def pieces(sse: bool, count: int, interval: float, size: int) -> Iterator[bytes]:
    counts["open"] += 1
    end = "left"
    try:
        for number in range(count):
            yield b"data: %d\n\n" % number if sse else bytes([number % 256]) * size
            time.sleep(interval)
        end = "done"
    finally:
        counts["open"] -= 1
        counts[end] += 1


def answer(request: httpd.Request) -> httpd.Answer:
    if request.path == "/streams":
        return httpd.as_json(counts)
    sse = request.path == "/sse"
    asked = vars(options) | request.query
    interval = float(asked["interval"])
    count = int(asked.get("pieces") or round(float(asked["seconds"]) / interval))
    body = pieces(sse, count, interval, int(asked["size"]))
    return httpd.Answer(body, "text/event-stream" if sse else "application/octet-stream")


parser = httpd.options(__doc__)
parser.add_argument("--seconds", type=float, default=1.0)
parser.add_argument("--interval", type=float, default=0.1)
parser.add_argument("--size", type=int, default=1024)
options = parser.parse_args()
httpd.serve(options.host, options.port, answer)
