"""What a call of a Gradio app costs through OneGAI: over the same request by hand, for scale over
gradio_client.

"By hand" is what a program sends itself over a kept connection: ``run``, where the endpoint has no
queue, else ``queue/join`` and the events of ``queue/data``. gradio_client, as today's Gradio brings
it, is once made anew for each call and once kept; it does not speak to Gradio 3.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from seed import AUTH, ROOT, Server, ask, free_port, home

try:
    import requests
except ModuleNotFoundError:
    sys.exit("error: the packages of the tests are missing\n  fix: bash setup/onegai.sh --dev")

APP = ROOT / "tests" / "gradio" / "app.py"
CLIENT = """
import json, sys, time
from gradio_client import Client

kept = Client(sys.argv[1], verbose=False)
print("ready", flush=True)
for line in sys.stdin:
    way, *data = json.loads(line)
    begun = time.perf_counter()
    client = kept if way == "kept" else Client(sys.argv[1], verbose=False)
    client.predict(*data, api_name="/" + sys.argv[2])
    print(time.perf_counter() - begun, flush=True)
"""
GREET, TWICE = ("you", 1, False), ("you",)
QUEUED = "_hidden-name.2"


@dataclass(frozen=True)
class App:
    """One that runs under OneGAI, and how it is asked without it."""

    version: str
    python: Path
    port: int

    @property
    def name(self) -> str:
        return "g" + self.version.replace(".", "_")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def entry(self) -> dict[str, Any]:
        command = shlex.join([str(self.python), "-W", "ignore", str(APP)])
        offline = {"HF_HUB_OFFLINE": "1"}
        return {"type": "gradio", "port": self.port, "exec": command, "env": offline}


def by_hand(app: App, session: requests.Session, sockets: Sockets) -> dict[str, Callable[[], None]]:
    config = session.get(f"{app.url}/config", timeout=60).json()
    base = app.url + (config.get("api_prefix") or "")
    ids = {one.get("api_name"): one.get("id") for one in config["dependencies"]}

    def run() -> None:
        answer = session.post(f"{base}/run/greet", json={"data": list(GREET)}, timeout=60)
        assert answer.json()["data"] == ["hello you"], answer.text

    def queue() -> None:
        of = {"session_hash": secrets.token_hex(8)}
        body = {"data": list(TWICE), "fn_index": ids[QUEUED], **of}
        session.post(f"{base}/queue/join", json=body, timeout=60).raise_for_status()
        with session.get(f"{base}/queue/data", params=of, stream=True, timeout=60) as events:
            for line in events.iter_lines(chunk_size=1):
                if line.startswith(b"data:"):
                    message = json.loads(line[5:])
                    if message["msg"] == "process_completed":
                        assert message["output"]["data"] == ["youyou"], message
                        return

    return {"run": run, "queue": queue if config["version"] >= "4" else sockets.call}


class Sockets:
    """The queue of Gradio 3."""

    def __init__(self, app: App) -> None:
        self._url = f"{app.url}/queue/join"
        config = requests.get(f"{app.url}/config", timeout=60).json()
        self._index = [one.get("api_name") for one in config["dependencies"]].index(QUEUED)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Sockets:
        self._session = self._runner.run(self._opened())
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._session.close())
        self._runner.close()

    async def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    def call(self) -> None:
        self._runner.run(self._call())

    async def _call(self) -> None:
        of = {"session_hash": secrets.token_hex(8), "fn_index": self._index}
        async with self._session.ws_connect(self._url) as socket:
            async for message in socket:
                told = message.json()
                if told["msg"] == "send_hash":
                    await socket.send_json(of)
                elif told["msg"] == "send_data":
                    await socket.send_json({"data": list(TWICE), **of})
                elif told["msg"] == "process_completed":
                    assert told["output"]["data"] == ["youyou"], told
                    return


def through_onegai(
    app: App, server: Server, session: requests.Session
) -> dict[str, Callable[[], None]]:
    def call(function: str, data: tuple[Any, ...], expected: str) -> None:
        url = f"http://127.0.0.1:{server.port}/api/{app.name}/{function}"
        answer = session.post(url, json={"data": list(data)}, headers=AUTH, timeout=60)
        assert answer.json()["result"] == expected, answer.text

    return {
        "run": lambda: call("greet", GREET, "hello you"),
        "queue": lambda: call("_hidden_name_2", TWICE, "youyou"),
    }


class Client:
    """gradio_client in a process of its own, as it wants another Python's packages."""

    def __init__(self, python: Path, app: App, api_name: str) -> None:
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-c", CLIENT, app.url, api_name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        assert self._out.readline() == "ready\n"

    def seconds(self, way: str, data: tuple[Any, ...]) -> float:
        print(json.dumps([way, *data]), file=self._in, flush=True)
        return float(self._out.readline())

    def close(self) -> None:
        self._in.close()
        self._process.wait(60)
        self._out.close()


def measured(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(app: App, server: Server, newest: Path, rounds: int, calls: int) -> None:
    with requests.Session() as session, Sockets(app) as sockets:
        hand, onegai = by_hand(app, session, sockets), through_onegai(app, server, session)
        for way, (api_name, data) in {"run": ("greet", GREET), "queue": (QUEUED, TWICE)}.items():
            client = Client(newest, app, api_name) if app.version >= "4" else None
            times: dict[str, list[float]] = {}
            for _ in range(rounds):
                for _ in range(calls):
                    times.setdefault("by hand", []).append(measured(hand[way]))
                    times.setdefault("onegai", []).append(measured(onegai[way]))
                if client is not None:
                    for _ in range(max(calls // 10, 1)):
                        times.setdefault("client kept", []).append(client.seconds("kept", data))
                    times.setdefault("client anew", []).append(client.seconds("anew", data))
            if client is not None:
                client.close()
            medians = {name: statistics.median(some) * 1000 for name, some in times.items()}
            told = " · ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items())
            pairs = zip(times["onegai"], times["by hand"], strict=True)
            added = statistics.median(one - other for one, other in pairs) * 1000
            print(f"Gradio {app.version}, {way}: {told} → added {added:+.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20, help="of each way in a round")
    options = parser.parse_args()
    made = sorted((ROOT / "data" / "gradio").glob("*/complete"))
    pythons = {one.parent.name.partition("-")[0]: one.parent / "bin" / "python" for one in made}
    if not pythons:
        sys.exit("error: no Gradio\n  fix: venv/bin/python -m pytest tests/e2e/test_gradio.py")
    apps = [App(version, python, free_port()) for version, python in pythons.items()]
    with home({app.name: app.entry() for app in apps}) as folder:
        server = Server(folder)
        try:
            for app in apps:
                ask(server.port, "POST", "/service/start", {"app": app.name})
                measure(app, server, apps[-1].python, options.rounds, options.calls)
                ask(server.port, "POST", "/service/stop", {"app": app.name})
        finally:
            server.stop()


if __name__ == "__main__":
    main()
