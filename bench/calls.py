"""What a call costs: a trivial function over HTTP, and one that asks its service, there and here.

"Threaded wrapper" is the usual way to do it by hand, for scale: a thread per connection, and a
requests.post to the app per call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import socketserver
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
from seed import AUTH, ROOT, Server, ask, free_port, home

try:
    import requests
except ModuleNotFoundError:
    sys.exit("error: the packages of the tests are missing\n  fix: bash setup/onegai.sh --dev")

FUNC = """
from onegai.sdk import async_service, service

app, app_async = service("echo"), async_service("echo")


def trivial(args: dict) -> str:
    return "ok"


async def trivial_async(args: dict) -> str:
    return "ok"


def asks(args: dict) -> str:
    return app.post("/echo", json=args).text


async def asks_async(args: dict) -> str:
    return (await app_async.post("/echo", json=args)).text
"""
DIRECT = """
import sys, time
from func import echo as app
app.asks(text="x")
for _ in range(int(sys.argv[1])):
    rounds = 200
    begun = time.perf_counter()
    for _ in range(rounds):
        app.asks(text="x")
    print((time.perf_counter() - begun) / rounds)
"""


async def load(port: int, path: str, connections: int, seconds: float) -> float:
    """Calls per second over that many kept-alive connections."""
    body = b'{"text":"x"}'
    head = "".join(f"{key}: {value}\r\n" for key, value in AUTH.items())
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    count, end = 0, time.perf_counter() + seconds

    async def one() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            content = await reader.readexactly(length)
            assert answer.startswith(b"HTTP/1.1 200"), content
            count += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return count / seconds


class Wrapper(BaseHTTPRequestHandler):
    """The threaded wrapper."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    app_port = 0

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = requests.post(f"http://127.0.0.1:{self.app_port}/echo", json=given, timeout=60)
        result = json.dumps({"result": answer.text}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(result)))
        self.end_headers()
        self.wfile.write(result)

    def log_message(self, *_: object) -> None:
        pass


def serve_wrapper(app_port: int) -> None:
    """In a process of its own: prints its port and serves until it is killed."""
    Wrapper.app_port = app_port
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Wrapper)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve-wrapper", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_wrapper:
        serve_wrapper(options.serve_wrapper)
        return
    port = free_port()
    echo = ROOT / "bench" / "echo.py"
    command = shlex.join([sys.executable, str(echo), str(port)])
    described = {"path": "/echo", "args": {"text": {"type": "string"}}}
    entry = {
        "type": "webapi",
        "port": port,
        "exec": command,
        "ready": {"tcp": True},
        "functions": {"described": described},
    }
    with home({"echo": entry}) as folder:
        (folder / "func" / "echo.py").write_text(FUNC)
        measure(folder, port, options.rounds, options.seconds)


@dataclass
class Listener:
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        used = self.process.cpu_times()
        return used.user + used.system


Rates = dict[str, list[float]]


def in_turn(ours: Listener, theirs: Listener, rounds: int, seconds: float) -> tuple[Rates, Rates]:
    """Of every way, one after the other in each round: calls per second, and ms of CPU per call.

    The latter are those of the process that is called: with few cores, rates depend on who else
    needs them, the load itself among them.
    """
    ways = [
        (f"{name}, {connections} connections", ours, f"/api/echo/{name}", connections)
        for name in ("trivial", "trivial_async", "asks", "asks_async", "described")
        for connections in (1, 16)
    ] + [(f"threaded wrapper, {n} connections", theirs, "/", n) for n in (1, 16)]
    rates: Rates = {way[0]: [] for way in ways}
    costs: Rates = {way[0]: [] for way in ways}
    for _ in range(rounds):
        for name, at, path, connections in ways:
            before = at.cpu_seconds()
            rate = asyncio.run(load(at.port, path, connections, seconds))
            rates[name].append(rate)
            costs[name].append(1000 * (at.cpu_seconds() - before) / (rate * seconds))
    return rates, costs


def measure(folder: Path, port: int, rounds: int, seconds: float) -> None:
    server = Server(folder)
    wrapper = subprocess.Popen(
        [sys.executable, __file__, "--serve-wrapper", str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        ask(server.port, "POST", "/service/start", {"app": "echo"})
        assert wrapper.stdout is not None
        theirs = Listener(int(wrapper.stdout.readline()), psutil.Process(wrapper.pid))
        ours = Listener(server.port, psutil.Process(server.process.pid))
        rates, costs = in_turn(ours, theirs, rounds, seconds)
    finally:
        wrapper.kill()
        wrapper.wait()
        server.stop()
    for name, values in rates.items():
        cost = statistics.median(costs[name])
        print(f"{name:36} {statistics.median(values):8.0f} calls/s {cost:8.3f} ms CPU (n {rounds})")
    for name in ("asks", "asks_async"):
        quicker, cheaper = (
            statistics.median(
                a / b
                for a, b in zip(
                    of[f"{name}, 16 connections"],
                    of["threaded wrapper, 16 connections"],
                    strict=True,
                )
            )
            for of in (rates, costs)
        )
        what = f"{name} over the threaded wrapper, 16"
        print(f"{what:40} {quicker:6.2f} x the calls/s, {1 / cheaper:.2f} x the calls per CPU")
    for connections in (1, 16):
        slower = statistics.median(
            a / b
            for a, b in zip(
                costs[f"described, {connections} connections"],
                costs[f"asks_async, {connections} connections"],
                strict=True,
            )
        )
        what = f"described over asks_async, {connections}"
        print(f"{what:40} {slower:6.2f} x the CPU per call")
    direct = subprocess.run(
        [sys.executable, "-c", DIRECT, str(rounds)],
        cwd=folder,
        env={**os.environ, "ONEGAI_HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    each = statistics.median(float(line) for line in direct.stdout.split())
    over_http = 1 / statistics.median(rates["asks, 1 connections"])
    print(f"asks, direct from Python             {each * 1000:8.3f} ms")
    print(f"asks, over HTTP                      {over_http * 1000:8.3f} ms")


if __name__ == "__main__":
    main()
