"""What sharing a GPU costs: a swap of two apps over their own stop and start, status, idle CPU.

The GPU is a fake of 12 GB and the apps are tiny, so that what is left is OneGAI's own time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from seed import LISTENER, Server, ask, ask_on, free_port, home, show

FUNC = """
from onegai.sdk import service

app = service("{app}")


def main(args: dict) -> str:
    return app.get("/").text
"""


def by_hand(script: Path, rounds: int) -> list[float]:
    """Seconds to end one process and to have another answer, without OneGAI."""
    took = []
    ports = [free_port(), free_port()]
    running = _up(script, ports[0])
    for turn in range(rounds):
        begun = time.perf_counter()
        _down(running)
        running = _up(script, ports[(turn + 1) % 2])
        took.append(time.perf_counter() - begun)
    _down(running)
    return took


def _up(script: Path, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, str(script), str(port)], stdout=subprocess.DEVNULL)
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/")
            connection.getresponse().read()
            connection.close()
            return process
        except OSError:
            time.sleep(0.0005)


def _down(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


def swaps(rounds: int) -> None:
    os.environ["ONEGAI_FAKE_GPU"] = "12"
    apps: dict[str, object] = {}
    with home({}) as folder:
        script = folder / "listener.py"
        script.write_text(LISTENER)
        for app in "ab":
            command = f"{sys.executable} {script} {{port}}"
            port = free_port()
            apps[app] = {"type": "webapi", "port": port, "exec": command, "vram": 8}
            (folder / "func" / f"{app}.py").write_text(FUNC.format(app=app))
        (folder / "services.json").write_text(json.dumps(apps))
        server = Server(folder)
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        ask_on(connection, "POST", "/api/a/main", {})
        ours, theirs, first_byte = [], [], []
        for turn in range(rounds):
            app = "ba"[turn % 2]
            begun = time.perf_counter()
            ask_on(connection, "POST", f"/api/{app}/main", {})
            ours.append(time.perf_counter() - begun)
            ended = time.time()
            said = (folder / "data" / "logs" / f"{app}.log").read_text().split()
            first_byte.append(ended - float(said[-1]))
            theirs += by_hand(script, 1)
        server.stop()
    show("a swap by a call", ours, "ms", 1000)
    show("the same stop, start and first answer by hand", theirs, "ms", 1000)
    over = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    show("OneGAI's own part", over, "ms", 1000)
    show("the app listens → the waiting call is answered", first_byte, "ms", 1000)


def many_apps(rounds: int, *, installed: bool = False, running: int = 0) -> None:
    """Status; ``installed``: each app has a func file, an install script, and its folder."""
    entry = {"type": "webapi", "exec": "sleep 1"}
    apps = {f"app{n}": {**entry, "port": 30000 + n} for n in range(200)}
    with home({**apps}) as folder:
        script = folder / "listener.py"
        script.write_text(LISTENER)
        for n in range(running):
            command = f"{sys.executable} {script} {{port}}"
            apps[f"app{n}"] = {"type": "webapi", "port": free_port(), "exec": command}
        (folder / "services.json").write_text(json.dumps(apps))
        for app in apps if installed else ():
            (folder / "func" / f"{app}.py").write_text(FUNC.format(app=app))
            for name in (f"install/{app}.sh", f"apps/{app}/.onegai-installed"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).touch()
        server = Server(folder)
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for n in range(running):
            ask_on(connection, "POST", "/service/start", {"app": f"app{n}"})
        times = []
        for _ in range(rounds):
            begun = time.perf_counter()
            ask_on(connection, "GET", "/service/status")
            times.append(time.perf_counter() - begun)
        server.stop()
    what = "200 installed apps" if installed else "200 apps"
    if running:
        what += f", {running} of them running"
    show(f"GET /service/status with {what}", times, "ms", 1000)


def idle(seconds: float) -> None:
    with home({}) as folder:
        script = folder / "listener.py"
        script.write_text(LISTENER)
        entry = {
            "type": "webapi",
            "port": free_port(),
            "exec": f"{sys.executable} {script} {{port}}",
            "idle_timeout": 3600,
        }
        (folder / "services.json").write_text(json.dumps({"a": entry}))
        server = Server(folder)
        ask(server.port, "POST", "/service/start", {"app": "a"})
        process = psutil.Process(server.process.pid)
        before = process.cpu_times()
        time.sleep(seconds)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        server.stop()
    print(f"{'idle CPU with a service that runs':52} {100 * used / seconds:8.2f} % of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--idle", type=float, default=60, help="seconds to watch the idle server")
    options = parser.parse_args()
    swaps(options.rounds)
    many_apps(options.rounds)
    many_apps(options.rounds, installed=True)
    many_apps(options.rounds, running=5)
    idle(options.idle)


if __name__ == "__main__":
    main()
