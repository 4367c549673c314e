"""Logs of apps: kept small, read by whoever wants, and no app's text holds up the server."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from harness import Server, fake, until

from onegai.errors import OneGAIError
from onegai.process.logfile import ROTATE_AT

Make = Callable[..., Server]


def test_a_log_that_cannot_be_rotated_stops_nothing(make_server: Make) -> None:
    server = make_server({"a": fake("ready")}).start()
    log = server.write("data/logs/a.log", "")
    os.truncate(log, ROTATE_AT + 1)
    server.write("data/logs/a.log.1/in_the_way", "")
    server.post("/service/start", {"app": "a"})
    until(lambda: "a.log cannot be rotated" in server.log())
    assert log.stat().st_size < ROTATE_AT
    assert server.service("a")["state"] == "ready"


def slowest_health(server: Server, while_it: Callable[[], bool]) -> float:
    slowest = 0.0
    while while_it():
        begun = time.monotonic()
        assert server.get("/health").status == 200
        slowest = max(slowest, time.monotonic() - begun)
    return slowest


def test_an_app_that_floods_its_log_holds_up_nobody(make_server: Make) -> None:
    """With a reader of it; the log stays small whatever ends its lines, if anything does."""
    server = make_server({"a": fake("flood")}).start()
    url = server.post("/service/start", {"app": "a"}).result["url"]
    logs = server.home / "data" / "logs"
    largest = read = 0

    def flooding() -> bool:
        nonlocal largest
        largest = max(largest, sum(path.stat().st_size for path in logs.glob("a.log")))
        return not done.done()

    def follow() -> None:
        nonlocal read
        with suppress(OneGAIError), server.client() as client:
            for line in client.log_follow("a"):
                read += len(line)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(follow)
        for sign in ("%0A", "%0D", "x"):
            before = read
            request = urllib.request.Request(f"{url}/flood?mb=200&sign={sign}", method="POST")
            done = pool.submit(lambda request=request: urllib.request.urlopen(request).status)
            assert slowest_health(server, flooding) < 5
            assert done.result() == 200
            until(lambda before=before: read > before)
        assert server.stop() == 0
    assert largest < 150 << 20


def test_a_ready_log_that_takes_for_ever_fails_its_start_and_nothing_else(
    make_server: Make,
) -> None:
    ready = {"log": "(x+x+)+y"}
    server = make_server({"a": fake("flood", "--say", "x" * 5000, ready=ready)}).start()
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(lambda: server.post("/service/start", {"app": "a"}))
        assert slowest_health(server, lambda: not start.done()) < 5
        answer = start.result()
    assert (answer.status, answer.detail["code"]) == (504, "never_ready")
    assert "ready.log" in answer.result
