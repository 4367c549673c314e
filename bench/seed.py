"""Start, idle memory, how soon a listening app is noticed, and what a call through OneGAI costs."""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "benchmark password"
AUTH = {"Authorization": "Basic " + base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()}
# Listens at once, says when it did, answers everything.
LISTENER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", time.time(), flush=True)
while True:
    connection, _ = server.accept()
    if connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    connection.close()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A OneGAI on a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "onegai", "serve", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "ONEGAI_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        said = home / "data" / "server.json"
        while True:
            try:
                url = json.loads(said.read_text())["url"]
                break
            except (OSError, ValueError):
                time.sleep(0.001)
        self.port = int(url.rsplit(":", 1)[1])
        ask(self.port, "GET", "/health")
        self.start_seconds = time.perf_counter() - begun

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def ask(port: int, method: str, path: str, body: object = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    return ask_on(connection, method, path, body, close=True)


def ask_on(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    *,
    close: bool = False,
) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    connection.request(method, path, data, {**AUTH, "Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 400:
        sys.exit(f"{method} {path}: {answer.status} {content[:500]!r}")
    if close:
        connection.close()
    return content


@contextmanager
def home(services: dict[str, object]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps({"password": PASSWORD}))
        (folder / "services.json").write_text(json.dumps(services))
        shutil.copytree(ROOT / "func", folder / "func")
        yield folder


def show(what: str, values: list[float], unit: str, scale: float = 1.0) -> None:
    low, middle, high = (scale * f(values) for f in (min, statistics.median, max))
    print(f"{what:52} {middle:8.2f} {unit:3} (min {low:.2f}, max {high:.2f}, n {len(values)})")


def start_and_idle(rounds: int) -> None:
    starts, memory = [], []
    for _ in range(rounds):
        with home({}) as folder:
            server = Server(folder)
            starts.append(server.start_seconds)
            ask(server.port, "GET", "/service/status")
            memory.append(psutil.Process(server.process.pid).memory_info().rss / (1 << 20))
            server.stop()
    show("server start → /health", starts, "s")
    show("idle RSS", memory, "MiB")


def noticed(rounds: int) -> None:
    with home({}) as folder:
        script = folder / "listener.py"
        script.write_text(LISTENER)
        port = free_port()
        command = shlex.join([sys.executable, str(script), str(port)])
        entry = {"type": "webapi", "port": port, "exec": command}
        (folder / "services.json").write_text(json.dumps({"listener": entry}))
        server = Server(folder)
        delays: list[float] = []
        answered: list[float] = []
        for _ in range(rounds):
            started = ask(server.port, "POST", "/service/start", {"app": "listener"})
            answered.append(time.time())
            ready = json.loads(started)["result"]["since"]
            log = (folder / "data" / "logs" / "listener.log").read_text()
            listening = float(log.split()[-1])
            delays.append(ready - listening)
            answered[-1] -= listening
            ask(server.port, "POST", "/service/stop", {"app": "listener"})
        server.stop()
    show("first listen → state ready", delays, "ms", 1000)
    show("first listen → POST /service/start answered", answered, "ms", 1000)


def overhead(rounds: int, text: str) -> None:
    """One call through OneGAI and one to hibari's own port, in turn, on kept connections."""
    entries = json.loads((ROOT / "services.json").read_text())
    hibari = entries["hibari"] | {"port": free_port()}
    with home({}) as folder:
        (folder / "apps").symlink_to(ROOT / "apps")
        (folder / "run").symlink_to(ROOT / "run")
        (folder / "onegai").symlink_to(ROOT / "onegai")
        (folder / "services.json").write_text(json.dumps({"hibari": hibari}))
        server = Server(folder)
        ask(server.port, "POST", "/service/start", {"app": "hibari"})
        through = http.client.HTTPConnection("127.0.0.1", server.port)
        direct = http.client.HTTPConnection("127.0.0.1", hibari["port"])
        ways = {"through OneGAI": (through, "/api/hibari/raw"), "direct": (direct, "/raw")}
        times: dict[str, list[float]] = {way: [] for way in ways}
        body = {"text": text, "speed": 1.0, "seed": 1}
        for turn in range(rounds + 3):
            for way, (connection, path) in ways.items():
                begun = time.perf_counter()
                ask_on(connection, "POST", path, body)
                if turn >= 3:
                    times[way].append(time.perf_counter() - begun)
        through.close()
        direct.close()
        server.stop()
    for way, values in times.items():
        show(f"hibari, {len(text)} letters, {way}", values, "ms", 1000)
    pairs = [a - b for a, b in zip(times["through OneGAI"], times["direct"], strict=True)]
    show("  difference, pair by pair", pairs, "ms", 1000)
    ratio = [a / b for a, b in zip(times["through OneGAI"], times["direct"], strict=True)]
    show("  ratio, pair by pair", ratio, "x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    start_and_idle(max(5, rounds // 2))
    noticed(rounds)
    if (ROOT / "apps" / "hibari" / ".onegai-installed").exists():
        overhead(rounds * 2, "Hi.")
        overhead(rounds * 2, "Good evening, and welcome to the show. What shall we talk about?")
    else:
        print("hibari is not installed: bash run.sh demo")


if __name__ == "__main__":
    main()
