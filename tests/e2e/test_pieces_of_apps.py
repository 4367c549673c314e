"""What an app makes piece by piece goes through to the client piece by piece, and so does its end.

The app makes a piece when its gate, a file, is there. The client opens the next gate when it has
the piece before it, so anything that is kept back on the way is waited for in vain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT, Server, free_port, new_server, until

RUN = """
import pathlib
import time


def pieces(args):
    yield from _pieces(args, lambda number: b"%d" % number)


def texts(args):
    yield from _pieces(args, lambda number: "%d" % number)


def values(args):
    yield from _pieces(args, lambda number: {"number": number})


async def later(args):
    for piece in _pieces(args, lambda number: b"%d" % number):
        yield piece


def _pieces(args, piece):
    gates = pathlib.Path(args["gates"])
    try:
        for number in range(args["count"]):
            while not (gates / str(number)).exists():
                time.sleep(0.005)
            yield piece(number)
    finally:
        (gates / "closed").touch()
"""

FUNC = """
import json
from pathlib import Path

from onegai.sdk import async_service, service

steps = service("steps")
asked = async_service("steps")


def pieces(args: dict):
    with steps.stream("POST", args["path"], json=args) as pieces:
        yield from pieces


def texts(args: dict):
    with steps.stream("POST", args["path"], json=args) as pieces:
        for piece in pieces:
            yield piece.decode()


def values(args: dict):
    with steps.lines("POST", args["path"], json=args) as lines:
        for line in lines:
            yield str(json.loads(line)["number"])


async def asynchronous(args: dict):
    async with asked.stream("POST", args["path"], json=args) as pieces:
        async for piece in pieces:
            yield piece
"""

WAYS = [
    ("pieces", "/pieces"),
    ("pieces", "/later"),
    ("texts", "/texts"),
    ("values", "/values"),
    ("asynchronous", "/pieces"),
]
"""Functions of the func file, and those of the run file that they ask."""
COUNT = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    entry = {
        "type": "webapi",
        "port": free_port(),
        "exec": f"{sys.executable} {ROOT}/onegai/runner {{root}}/run/run_steps.py --port {{port}}",
        "ready": {"http": "/health"},
    }
    with new_server(tmp_path_factory.mktemp("pieces"), {"steps": entry}) as made:
        made.write("run/run_steps.py", RUN)
        made.write("func/steps.py", FUNC)
        yield made.start()


@pytest.mark.parametrize(("function", "path"), WAYS)
def test_each_piece_is_there_before_the_next_is_made(
    server: Server, tmp_path: Path, function: str, path: str
) -> None:
    (tmp_path / "0").touch()
    arguments = {"path": path, "count": COUNT, "gates": str(tmp_path)}
    with server.reading(f"/api/steps/{function}", arguments, timeout=20) as answer:
        assert answer.status == 200
        for number in range(COUNT):
            assert answer.read(1) == b"%d" % number
            (tmp_path / str(number + 1)).touch()
        assert answer.read() == b""
    assert (tmp_path / "closed").exists()
    until(lambda: server.service("steps")["leases"] == 0)


@pytest.mark.parametrize(("function", "path"), WAYS)
def test_a_client_that_leaves_ends_the_app_s_work_too(
    server: Server, tmp_path: Path, function: str, path: str
) -> None:
    (tmp_path / "0").touch()
    arguments = {"path": path, "count": COUNT, "gates": str(tmp_path)}
    with server.reading(f"/api/steps/{function}", arguments, timeout=20) as answer:
        assert answer.read(1) == b"0"
    # Though the app is at its second piece, for which it may take any time.
    until(lambda: server.service("steps")["leases"] == 0, timeout=5)
    (tmp_path / "1").touch()
    until((tmp_path / "closed").exists)
