"""Func files that do what no function should: the server answers, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness import Server, until

Make = Callable[..., Server]

WILD = '''
from pydantic import BaseModel

from onegai.sdk import File


class Given(BaseModel):
    file: File


class Panic(BaseException):
    """As pyo3 raises where Rust code panics."""


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


RAISED = {
    "panic": lambda: Panic("index out of bounds"),
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "exit": lambda: SystemExit(3),
    "mute": Mute,
}


def main(args: dict):
    raise RAISED[args["what"]]()


async def later(args: dict):
    raise RAISED[args["what"]]()


def typed(args: dict):
    return b"abc", args["type"]


def echo(args: Given):
    return args.file
'''


@pytest.fixture
def server(lend: Make) -> Server:
    server = lend({"wild": {"type": "inline"}})
    server.write("func/wild.py", WILD)
    return server.start()


def ended(server: Server, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = server.get(f"/job/{job['id']}").result
        return found if found["ended"] else None

    found = until(look, what="the job's end")
    assert found is not None
    return found


@pytest.mark.parametrize("what", ["panic", "interrupt", "generator", "exit", "mute"])
def test_whatever_a_function_raises_is_its_own_failure(server: Server, what: str) -> None:
    answer = server.post("/api/wild/main", {"what": what})
    assert (answer.status, answer.detail["code"]) == (500, "function_failed")
    job = server.post("/api/wild/main", {"what": what}, Prefer="respond-async").result
    assert ended(server, job)["error"]["code"] == "function_failed"
    assert server.get("/health").status == 200


@pytest.mark.parametrize(
    ("what", "told"), [("panic", "Panic: index out of bounds"), ("generator", "GeneratorExit")]
)
def test_an_async_function_that_panics_fails_alone(server: Server, what: str, told: str) -> None:
    answer = server.post("/api/wild/later", {"what": what})
    assert (answer.status, answer.detail["code"]) == (500, "function_failed")
    assert told in answer.result
    job = server.post("/api/wild/later", {"what": what}, Prefer="respond-async").result
    assert ended(server, job)["error"]["code"] == "function_failed"


def test_a_file_that_panics_at_its_import_is_a_listed_problem(make_server: Make) -> None:
    server = make_server({"wild": {"type": "inline"}})
    server.write("func/wild.py", "class Panic(BaseException): ...\n\nraise Panic('no AVX2')\n")
    server.start()
    problems = server.get("/service/status").result["problems"]
    assert [(item["line"], item["reason"]) for item in problems] == [(3, "Panic: no AVX2")]


@pytest.mark.parametrize("kind", ["audio/wav\r\nX-More: 1", "音声/wav", ""])
def test_a_media_type_that_can_be_no_header_is_refused(server: Server, kind: str) -> None:
    answer = server.post("/api/wild/typed", {"type": kind})
    assert (answer.status, answer.detail["code"]) == (500, "function_failed")
    assert "no media type" in answer.result


@pytest.mark.parametrize("kind", ["audio/x\r\nX-More: 1", "音声/wav"])
def test_nor_does_a_callers_file_bring_one(server: Server, kind: str) -> None:
    answer = server.post("/api/wild/echo", {"file": f"data:{kind};base64,AAAA"})
    assert (answer.status, answer.body) == (200, b"\0\0\0")
    assert answer.headers["content-type"] == "application/octet-stream"
