"""Commands and requests that change the same files at once: nothing of anybody is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from harness import ROOT, Server

from onegai import OneGAIError
from onegai.config.home import Home
from onegai.schema import Applied, Document

Make = Callable[..., Server]
Read = Callable[[], Document]
Replace = Callable[[Mapping[str, Any], str], Applied]
TIMES = 12
"""Changes by each of the commands."""

COMMANDS = """
import sys
from onegai.cli import main as cli

for number in range(int(sys.argv[1])):
    words = [word.replace("#", str(number)) for word in sys.argv[2:]]
    cli.commands.main(words, standalone_mode=False)
"""


def command(server: Server, *words: str) -> subprocess.Popen[bytes]:
    """A process that runs a command TIMES times; # in its words is the number."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMANDS, str(TIMES), *words],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(server.home)},
        stdout=subprocess.DEVNULL,
    )


class Requests:
    """Changes over HTTP, one after the other, until the processes have ended."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self.done = 0
        self.refused = 0
        """How often somebody else was in between."""

    def run(self, read: Read, replace: Replace, edit: Callable[[int], dict[str, Any]]) -> None:
        while any(process.poll() is None for process in self._processes):
            document = read()
            try:
                replace({**document.content, **edit(self.done)}, document.etag)
            except OneGAIError as error:
                if error.code != "lost_update":
                    raise
                self.refused += 1
            else:
                self.done += 1


@pytest.mark.timeout(300)
def test_no_change_is_lost(make_server: Make) -> None:
    server = make_server({f"old{number}": {"type": "inline"} for number in range(TIMES)}).start()
    with server.client() as client, ThreadPoolExecutor(2) as threads:
        processes = [
            *(command(server, "new", f"{w}#", "--type", "library", "--package", "x") for w in "ab"),
            *(command(server, "config", f"{w}#_key", "x") for w in "cd"),
        ]
        entries, settings = Requests(processes), Requests(processes)
        running = [
            threads.submit(
                entries.run,
                client.services_document,
                client.replace_services,
                lambda n: {f"old{n % TIMES}": {"type": "inline", "title": str(n)}},
            ),
            threads.submit(
                settings.run,
                client.config_document,
                client.replace_config,
                lambda n: {f"http{n}_key": "x"},
            ),
        ]
        assert [process.wait(200) for process in processes] == [0, 0, 0, 0]
        for one in running:
            one.result()
    assert min(entries.done, settings.done) > 0
    assert entries.refused + settings.refused > 0, "nobody was ever in between"
    numbers = range(TIMES)
    local = json.loads((server.home / "services.local.json").read_text())
    titles = {f"old{n % TIMES}": {"title": str(n)} for n in range(entries.done)}
    assert {app: local.pop(app) for app in titles} == titles
    assert set(local) == {f"{w}{number}" for w in "ab" for number in numbers}
    ports = {entry["port"] for entry in local.values()}
    assert len(ports) == len(local)
    config = json.loads((server.home / "config.json").read_text())
    made = {f"{w}{number}_key" for w in "cd" for number in numbers}
    made |= {f"http{number}_key" for number in range(settings.done)}
    assert set(config) == {"username", "password", *made}
    assert server.get("/service/status").result["problems"] == []


def test_a_change_that_waits_keeps_nobody_else_waiting(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}}).start()
    with server.client() as client, ThreadPoolExecutor(1) as thread:
        with Home(server.home).editing():
            changing = thread.submit(client.replace_config, {"password": "*" * 8}, "*")
            for _ in range(20):
                began = time.monotonic()
                assert server.get("/health").status == 200
                assert server.get("/config/get_json").status == 200
                assert time.monotonic() - began < 5
                assert not changing.done()
        changing.result(60)
    assert "username" not in json.loads((server.home / "config.json").read_text())


def test_what_was_acknowledged_is_there_after_kill_9_of_the_server(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}})
    now = 0
    for _ in range(2):
        server.start()
        assert server.get("/config/get_json").result.get("vram_headroom", 0) == now / 16
        acknowledged, asked = now, now
        assert server.process is not None
        # Between the third and the ninth write, at any point of it.
        killer = threading.Timer(random.uniform(0.02, 0.2), server.process.kill)
        with server.client() as client, suppress(OneGAIError):
            for number in range(now + 1, 10_000):
                document, asked = client.config_document(), number
                wanted = {**document.content, "vram_headroom": number / 16}
                client.replace_config(wanted, document.etag)
                acknowledged = number
                if number == now + 3:
                    killer.start()
        killer.join()
        server.process.wait()
        now = round(json.loads((server.home / "config.json").read_text())["vram_headroom"] * 16)
        assert now in (acknowledged, asked)
        assert acknowledged >= 3
