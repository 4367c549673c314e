"""Requests and answers of the clients, without any I/O."""

from __future__ import annotations

import base64
import errno
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from onegai.client import wire
from onegai.errors import BadArguments, NoOneGAI, OneGAIError, Relayed
from onegai.protocol import Answer
from onegai.schema import State

URL = "http://box:58080"
JSON = "application/json"


def reply(result: Any, status: int = 200, **more: Any) -> wire.Reply:
    body = {"status": int(status >= 400), "servertime": 1.5, "result": result, "detail": {}, **more}
    return wire.Reply(status, {"Content-Type": JSON}, json.dumps(body).encode())


def test_requests() -> None:
    start = wire.start("a", restart=True, wait=False)
    assert (start.method, start.path) == ("POST", "/service/start")
    assert json.loads(start.content or b"") == {"app": "a", "restart": True, "wait": False}
    assert start.headers == {"Content-Type": JSON}
    call = wire.answer("a/b", "c?d#", {"path": 1, "read": 2, "self": "ね"})
    assert call.path == "/api/a%2Fb/c%3Fd%23"
    assert json.loads(call.content or b"") == {"path": 1, "read": 2, "self": "ね"}
    assert wire.logs("a b", 7).path == "/service/a%20b/logs?tail=7"
    assert wire.log_follow("a", 7).path == "/service/a/logs?tail=7&follow=1"
    assert wire.events("1", after=0).headers == {}
    assert wire.events("1", after=5).headers == {"Last-Event-ID": "5"}


@pytest.mark.parametrize("value", [b"RIFF", {"in": Path("a.wav")}, {1, 2}, [Path("a.wav"), b"x"]])
def test_what_cannot_be_sent_is_told_with_what_can(value: Any) -> None:
    with pytest.raises(BadArguments, match="cannot be sent as JSON") as caught:
        wire.answer("a", "main", {"audio": value})
    assert "Path" in caught.value.advice


def test_credentials_are_utf_8() -> None:
    header = wire.credentials("onegai", "お願い:")["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "onegai:お願い:"


def test_fields_of_a_newer_server_are_ignored() -> None:
    service = {"app": "a", "state": "ready", "since": 1.0, "colour": "red"}
    memory = {"gpus": None, "ram_total": 2, "ram_free": 1, "swap": 3}
    found = reply({"services": [service], "memory": memory, "problems": [], "moon": "full"})
    report = wire.result(URL, wire.status(), found)
    assert report.services[0].state is State.READY
    assert report.memory.gpus is None


@pytest.mark.parametrize(
    "strange",
    [
        wire.Reply(200, {"Content-Type": "text/html"}, b"<html>"),
        wire.Reply(200, {"Content-Type": JSON}, b"{}"),
        wire.Reply(200, {"Content-Type": JSON}, b"[]"),
        wire.Reply(200, {"Content-Type": JSON}, b"\xff"),
        reply({"services": 1}),
        wire.Reply(302, {"Content-Type": "text/html"}, b""),
        reply("moved", 302, detail={"code": "x"}),
        wire.Reply(404, {"Content-Type": "text/plain"}, b"not found"),
        wire.Reply(404, {"Content-Type": JSON}, b'{"result": "x"}'),
        reply("oh", 500, detail={"code": ""}),
        reply("oh", 500, detail=7),
    ],
)
def test_answers_of_something_else(strange: wire.Reply) -> None:
    with pytest.raises(NoOneGAI) as caught:
        wire.result(URL, wire.status(), strange)
    assert str(caught.value) == (f"{URL}: what answers there is no OneGAI (HTTP {strange.status})")


def test_errors_keep_what_the_server_said() -> None:
    detail = {"code": "exited_early", "src": "a", "hint": "see {log}", "log": ["x"]}
    with pytest.raises(Relayed) as caught:
        wire.result(URL, wire.jobs(), reply("a ended {early}", 502, detail=detail))
    error: OneGAIError = caught.value
    assert (error.code, error.status, error.src) == ("exited_early", 502, "a")
    assert (error.message, error.advice) == ("a ended {early}", "see {log}")
    assert error.detail == detail
    assert Relayed.code == "relayed"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError(), "it does not answer in time"),
        (ValueError("it said", "odd things"), "odd things"),
        (ValueError(), "ValueError"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    outer = RuntimeError("something")
    outer.__cause__ = error if isinstance(error, OSError) else None
    shown = outer if isinstance(error, OSError) else error
    assert wire.unreachable(URL, shown).message == f"{URL}: {reason}"


@pytest.mark.parametrize(
    ("function", "content", "media_type", "result", "enveloped"),
    [
        ("main", reply([1]).content, JSON, [1], True),
        ("raw", reply([1]).content, JSON, json.loads(reply([1]).content), False),
        ("other", b'{"result": 1}', JSON, {"result": 1}, False),
        ("raw", "ねこ".encode(), "text/plain; charset=utf-8", "ねこ", False),
        ("raw", b"RIFF", "audio/wav", b"RIFF", False),
    ],
)
def test_answers(
    function: str, content: bytes, media_type: str, result: Any, enveloped: bool
) -> None:
    answer = Answer.of(function, content, media_type)
    assert (answer.result, answer.envelope is not None) == (result, enveloped)
