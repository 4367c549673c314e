"""The guard around an application that only counts what reaches it."""

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onegai.config import jsonfile
from onegai.config.current import Current
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.errors import OneGAIError
from onegai.files.links import Links
from onegai.server import body
from onegai.server import guards as guard
from onegai.server.body import Limits
from onegai.server.envelope import error_answer
from onegai.server.guards import Guard
from onegai.server.leaving import CUT

SETTINGS = Settings(password="correct", cors_origins=("http://obs:1",))
LINKS = Links()


def guarded(inner: ASGIApp, root: Path = Path("/nowhere")) -> Guard:
    """With these settings until there is a config.json in ``root``."""
    current = Current(Home(root), SETTINGS)
    return Guard(inner, current, LINKS, Limits(json=1000, upload=5000))


class Inner:
    """Answers 200, or the error that reading gave it, and keeps the bodies that it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                message = await receive()
            except OneGAIError as error:
                await error_answer(error)(scope, receive, send)
                return
            if message["type"] == "http.disconnect":
                return
            self.bodies.append(message["body"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})


async def send_to(
    app: ASGIApp,
    pieces: Iterable[bytes] = (b"",),
    *,
    method: str = "POST",
    leaves: bool = False,
    kind: str = "http",
    path: str = "/",
    client: tuple[str, int] = ("192.0.2.9", 1),
    query: str = "",
    state: dict[str, Any] | None = None,
    into: list[Message] | None = None,
    **headers: str,
) -> list[Message]:
    """What the application sends. ``leaves``: the client hangs up after the last piece."""
    pieces = list(pieces)
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": leaves or number < len(pieces)}
        for number, piece in enumerate(pieces, 1)
    ]
    sent: list[Message] = [] if into is None else into

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": client,
        "state": state or {},
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    await app(scope, receive, send)
    return sent


def status(sent: list[Message]) -> int:
    return int(sent[0]["status"])


def envelope(sent: list[Message]) -> dict[str, Any]:
    return dict(json.loads(b"".join(message.get("body", b"") for message in sent)))


KEY = {"x_api_key": "correct"}
JSON = {"content_type": "application/json", **KEY}


@pytest.mark.parametrize(
    ("pieces", "headers", "answer"),
    [
        ([b"{}"], JSON, 200),
        ([b"{", b'"a"', b": 1}"], JSON, 200),
        ([b"{}"], {"content_type": "Application/JSON; charset=utf-8"}, 200),
        ([b""], {}, 200),
        ([b"", b""], {"content_type": "text/plain"}, 200),
        ([b"{}"], {}, 415),
        ([b"{}"], {"content_type": "text/plain"}, 415),
        ([b"a=1"], {"content_type": "application/x-www-form-urlencoded"}, 415),
        ([b"{}"], {"content_type": "application/jsonx"}, 415),
        ([b"{}"], {"content_type": "text/plain, application/json"}, 415),
        ([b"x" * 1000], JSON, 200),
        ([b"x" * 1001], JSON, 413),
        ([b"x" * 600, b"x" * 600], JSON, 413),
        ([b"x" * 2000], {"content_type": "text/plain"}, 413),
    ],
)
async def test_bodies(pieces: list[bytes], headers: dict[str, str], answer: int) -> None:
    inner = Inner()
    sent = await send_to(guarded(inner), pieces, **headers | KEY)
    assert status(sent) == answer
    assert inner.bodies == ([b"".join(pieces)] if answer == 200 else [])


async def test_a_body_that_never_ends_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_READ_ON", 5000)
    read = 0

    def pieces() -> Iterable[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 1000

    endless = pieces()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": next(iter(endless)), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"x-api-key", b"correct")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    await guarded(Inner())(scope, receive, send)
    assert status(sent) == 413
    assert read <= 10
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize("pieces", [[], [b"{}"], [b'{"a": ']])
async def test_client_that_leaves_in_the_middle_of_its_body_calls_nothing(
    pieces: list[bytes],
) -> None:
    inner = Inner()
    await send_to(guarded(inner), pieces, leaves=True, **JSON)
    assert inner.bodies == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_what_has_no_body_is_passed_on(method: str) -> None:
    inner = Inner()
    assert status(await send_to(guarded(inner), method=method, **KEY)) == 200


async def test_a_wrong_password_is_slow_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_SECONDS", 0.5)
    inner = Inner()
    app = guarded(inner)

    async def timed(**headers: str) -> tuple[int, float]:
        begun = time.monotonic()
        return status(await send_to(app, **headers)), time.monotonic() - begun

    for headers, answer, slow in (
        ({"authorization": "Bearer wrong"}, 401, True),
        ({"x_api_key": "wrong"}, 401, True),
        ({"authorization": "Bearer correct"}, 200, False),
        ({}, 401, False),
    ):
        got, seconds = await timed(**headers)
        assert got == answer
        assert (seconds >= 0.45) is slow
    assert len(inner.bodies) == 1


async def test_of_many_wrong_passwords_a_few_are_slow_and_the_right_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_SECONDS", 0.3)
    app = guarded(Inner())
    many = [
        asyncio.create_task(send_to(app, client=("192.0.2.1", number), x_api_key="wrong"))
        for number in range(guard.WRONG_PASSWORDS + 20)
    ]
    other = asyncio.create_task(send_to(app, client=("192.0.2.2", 1), x_api_key="wrong"))
    await asyncio.sleep(0)
    right = await send_to(app, client=("192.0.2.1", 1), x_api_key="correct")
    assert status(right) == 200
    quick = [task for task in many if task.done()]
    assert {status(task.result()) for task in quick} == {429}
    assert len(quick) == 20
    assert (b"retry-after", b"1") in quick[0].result()[0]["headers"]
    assert [status(await task) for task in many if task not in quick] == [401] * 4
    assert status(await other) == 401
    assert status(await send_to(app, client=("192.0.2.1", 1), x_api_key="wrong")) == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_what_is_open_is_so_for_those_who_only_read(method: str) -> None:
    inner = Inner()
    app = guarded(inner)
    assert status(await send_to(app, [b"x"], method=method, path="/health")) == 401
    assert inner.bodies == []
    assert status(await send_to(app, method="GET", path="/health")) == 200


async def test_a_right_password_is_told_to_the_connection() -> None:
    app = guarded(Inner())
    told: list[str] = []
    for path, key, expected in (
        ("/health", "correct", 0),
        ("/", "wrong", 0),
        ("/", "correct", 1),
    ):
        state = {guard.WELCOME: lambda: told.append("right")}
        await send_to(app, method="GET", path=path, state=state, x_api_key=key)
        assert len(told) == expected


async def test_a_body_that_no_route_asks_for_is_not_read() -> None:
    async def silent(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def pieces() -> Iterable[bytes]:
        raise AssertionError("it is read")
        yield b""

    endless = pieces()

    async def receive() -> Message:
        return {"type": "http.request", "body": next(iter(endless)), "more_body": True}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"x-api-key", b"correct")]
    scope = {"type": "http", "method": "POST", "path": "/no", "headers": headers}
    await guarded(silent)(scope, receive, send)
    assert status(sent) == 404


def test_a_wrong_password_takes_a_second() -> None:
    assert guard.WRONG_PASSWORD_SECONDS >= 1


async def test_refusals_are_envelopes() -> None:
    sent = await send_to(guarded(Inner()))
    assert envelope(sent)["detail"]["code"] == "unauthorized"
    assert any(name == b"www-authenticate" for name, _ in sent[0]["headers"])
    sent = await send_to(guarded(Inner()), origin="http://evil", host="h")
    assert (status(sent), envelope(sent)["detail"]["code"]) == (403, "forbidden_origin")
    assert "http://evil" in envelope(sent)["result"]


async def test_websockets_are_guarded_too() -> None:
    for headers in ({"origin": "http://evil", "host": "h", **KEY}, {}):
        sent = await send_to(guarded(Inner()), kind="websocket", **headers)
        assert [message["type"] for message in sent] == ["websocket.close"]
        assert sent[0]["code"] == 1008


async def test_a_right_signature_stands_for_the_password_and_for_any_page() -> None:
    """And a wrong one is refused whatever else is sent."""
    path, query = LINKS.signed("/file/a/b").split("?")
    told: list[str] = []
    state = {guard.WELCOME: lambda: told.append("right")}
    sending = {"method": "GET", "path": path, "origin": "http://evil", "host": "h"}
    right = await send_to(guarded(Inner()), query=query, state=state, **sending)
    assert (status(right), told) == (200, ["right"])
    wrong = await send_to(guarded(Inner()), query=query + "x", **KEY | sending)
    assert envelope(wrong)["detail"]["code"] == "signature_refused"
    for other in ({"path": "/file/a/c"}, {"path": "/app/list"}, {"method": "POST"}):
        sent = await send_to(guarded(Inner()), query=query, **sending | other)
        assert status(sent) == 403


async def test_every_answer_has_what_cors_adds() -> None:
    """Whoever gives it: the application, the guard, or nobody any more."""

    async def cut_off(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise asyncio.CancelledError

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("broken on purpose")

    page = {"origin": "http://obs:1", "host": "h"}
    answers = {
        200: await send_to(guarded(Inner()), method="GET", **page, **KEY),
        401: await send_to(guarded(Inner()), **page),
        415: await send_to(guarded(Inner()), [b"x"], **page, **KEY),
        503: await send_to(guarded(cut_off), **page, **KEY),
    }
    for expected, sent in answers.items():
        assert status(sent) == expected
        headers = dict(sent[0]["headers"])
        assert headers[b"access-control-allow-origin"] == b"http://obs:1"
        assert headers[b"vary"] == b"Origin"
    told: list[Message] = []
    with pytest.raises(RuntimeError):
        await send_to(guarded(broken), into=told, **page, **KEY)
    assert envelope(told)["detail"]["code"] == "internal_error"
    assert (b"access-control-allow-origin", b"http://obs:1") in told[0]["headers"]


async def test_an_answer_that_has_begun_is_not_followed_by_another() -> None:
    for error in (RuntimeError, asyncio.CancelledError, guard.ShuttingDown):

        async def begun(
            _scope: Scope, _receive: Receive, send: Send, error: type[BaseException] = error
        ) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise error

        told: list[Message] = []
        with pytest.raises(error):
            await send_to(guarded(begun), into=told, **KEY)
        assert [message["type"] for message in told] == ["http.response.start"]


async def test_a_password_that_was_written_just_now_is_right(tmp_path: Path) -> None:
    app = guarded(Inner(), tmp_path)
    assert status(await send_to(app, method="GET", **KEY)) == 200
    jsonfile.write(tmp_path / "config.json", {"password": "another"})
    assert status(await send_to(app, method="GET", x_api_key="another")) == 200
    assert status(await send_to(app, method="GET", **KEY)) == 401
    assert status(await send_to(app, method="GET")) == 401


async def test_the_end_of_the_server_cuts_an_answer_that_has_begun() -> None:
    async def begun(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise asyncio.CancelledError

    cut: list[str] = []
    state = {CUT: lambda: cut.append("cut")}
    sent = await send_to(guarded(begun), state=state, **KEY)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert cut == ["cut"]
