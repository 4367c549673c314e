"""Calls that stream, over sockets: events, pieces as they come, and clients that behave badly."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import PASSWORD, Server, form, new_server, until

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
GROWTH = 30 << 20
"""Bytes: more than what may wait for a slow reader, and far less than what it could be sent."""
CODE = f"""
import asyncio
import time
from pathlib import Path

from pydantic import BaseModel

from onegai.sdk import File, progress

WAV = {WAV!r}


class Words(BaseModel):
    n: int = 3
    home: Path


class Sound(BaseModel):
    sound: File


def until_there(path):
    while not path.exists():
        time.sleep(0.005)


def plain(args: Words):
    progress(0.5, "half way")
    return {{"n": args.n}}


def gated(args: Words):
    for number in range(args.n):
        progress(number / args.n)
        yield f"word{{number}} "
        until_there(args.home / f"gate{{number}}")


def sound(args: Words):
    yield WAV
    until_there(args.home / "gate0")
    yield b"the rest"


def rows(args: Words):
    yield {{"n": 1}}
    yield WAV


def breaks(args: Words):
    yield "begun"
    until_there(args.home / "gate0")
    raise ValueError("on purpose")


def breaks_at_once(args: Words):
    raise ValueError("on purpose")
    yield


def endless(args: Words):
    try:
        while True:
            with (args.home / "made").open("a") as made:
                made.write("x")
            yield b"\\xff" * 65536
    finally:
        (args.home / "finally").write_text(str(time.time()))


async def endless_async(args: Words):
    try:
        while True:
            with (args.home / "made").open("a") as made:
                made.write("x")
            yield b"\\xff" * 65536
            await asyncio.sleep(0)
    finally:
        (args.home / "finally").write_text(str(time.time()))


def drips(args: Words):
    try:
        while True:
            yield "drop"
            time.sleep(0.02)
    finally:
        (args.home / "finally").write_text(str(time.time()))


def size(args: Sound):
    yield args.sound.size
    yield args.sound.read()
"""


ROUTES = """
from fastapi import APIRouter


def router(engine):
    routes = APIRouter()

    @routes.get("/extra")
    async def extra():
        return {}

    return routes
"""
"""Where an app has routes of its own, calls of its functions are one of them."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    services = {"talk": {"type": "inline"}, "one": {"type": "inline", "concurrency": 1, "queue": 1}}
    services["routed"] = {"type": "inline"}
    with new_server(tmp_path_factory.mktemp("streams"), services) as server:
        for app in services:
            server.write(f"func/{app}.py", CODE)
        server.write("api/routed.py", ROUTES)
        yield server.start()
        assert "ASGI" not in server.log()


class Reading:
    """One call over a socket of its own, whose answer is read by hand."""

    def __init__(
        self, server: Server, path: str, body: bytes, kind: str, buffer: int = 0, **headers: str
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(20)
        if buffer:  # instead of the megabytes that the kernel keeps
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", server.port))
        token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
        sent = {
            "Host": "h",
            "Authorization": f"Basic {token}",
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.socket.sendall(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        self._answer = http.client.HTTPResponse(self.socket, method="POST")

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers, as soon as they are there."""
        self._answer.begin()
        return self._answer.status, {key.lower(): to for key, to in self._answer.getheaders()}

    def some(self, size: int = 65536) -> bytes:
        """What is there of the body; empty at its end. Raises IncompleteRead where it is cut."""
        return self._answer.read1(size)

    def rest(self) -> bytes:
        return self._answer.read()

    def event(self) -> dict[str, Any]:
        """The next event with its id, name and data."""
        found: dict[str, Any] = {}
        while line := self._answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            found[name] = value
        if found:
            found["data"] = json.loads(found["data"])
        return found

    def events(self) -> list[tuple[str, Any]]:
        """All that are to come, whose ids go on."""
        found = []
        while event := self.event():
            found.append((event["event"], event["data"]))
        return found

    def leave(self) -> None:
        self.socket.close()
        self._answer.close()


@pytest.fixture
def call(server: Server, tmp_path: Path) -> Iterator[Callable[..., Reading]]:
    """Call a function of an app, with this test's folder as ``home`` and what else is given."""
    made: list[Reading] = []

    def call(function: str, app: str = "talk", buffer: int = 0, **given: Any) -> Reading:
        options = {name: given.pop(name) for name in ("accept", "prefer") if name in given}
        query = given.pop("query", "")
        body = json.dumps({"home": str(tmp_path), **given}).encode()
        path = f"/api/{app}/{function}{query}"
        made.append(Reading(server, path, body, "application/json", buffer, **options))
        return made[-1]

    yield call
    for reading in made:
        reading.leave()


EVENTS = {"accept": "text/event-stream"}
Call = Callable[..., Reading]


def ended_within(home: Path, begun: float, seconds: float) -> None:
    """The function's ``finally`` has run so long after ``begun``."""
    path = home / "finally"
    until(lambda: path.exists() and path.read_text(), what="the generator's finally")
    assert float(path.read_text()) - begun < seconds


# --- events --------------------------------------------------------------------------------------


def test_events_come_when_they_happen(call: Call, tmp_path: Path) -> None:
    reading = call("gated", n=2, **EVENTS)
    status, headers = reading.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers
    told = [reading.event() for _ in range(3)]
    assert [event["event"] for event in told] == ["running", "progress", "output"]
    assert told[2]["data"] == {"result": "word0 "}
    (tmp_path / "gate0").touch()
    told += [reading.event() for _ in range(2)]
    assert told[4]["data"] == {"result": "word1 "}
    (tmp_path / "gate1").touch()
    told.append(reading.event())
    assert (told[5]["event"], told[5]["data"]) == ("done", {"result": None, "detail": {}})
    assert [int(event["id"]) for event in told] == [1, 2, 3, 4, 5, 6]
    assert reading.rest() == b""


def test_every_function_has_events(call: Call) -> None:
    reading = call("plain", **EVENTS)
    reading.head()
    told = reading.events()
    assert told[-1] == ("done", {"result": {"n": 3}, "detail": {}})
    assert ("progress", {"fraction": 0.5, "text": "half way"}) in told


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream;q=0",
        "*/*",
        "application/json",
        "application/json, text/event-stream;q=0.5",
    ],
)
def test_who_prefers_something_else_gets_the_answer(call: Call, accept: str) -> None:
    reading = call("plain", accept=accept)
    status, headers = reading.head()
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(reading.rest())["result"] == {"n": 3}


def test_what_is_wrong_with_the_arguments_is_an_ordinary_error(call: Call) -> None:
    for function, given, code, expected in (
        ("gated", {"n": "many"}, "bad_arguments", 422),
        ("none", {}, "unknown_function", 404),
        ("gated", {"query": "?files=none"}, "bad_request", 422),
    ):
        reading = call(function, **given, **EVENTS)
        status, headers = reading.head()
        assert (status, headers["content-type"]) == (expected, "application/json")
        assert json.loads(reading.rest())["detail"]["code"] == code


def test_a_full_queue_is_an_ordinary_error_and_a_place_in_it_an_event(
    call: Call, tmp_path: Path
) -> None:
    first = call("gated", app="one", n=1, **EVENTS)
    first.head()
    assert first.event()["event"] == "running"
    second = call("plain", app="one", **EVENTS)
    assert second.head()[0] == 200
    assert second.event()["event"] == "queued"
    third = call("plain", app="one", **EVENTS)
    status, headers = third.head()
    assert (status, json.loads(third.rest())["detail"]["code"]) == (429, "queue_full")
    assert int(headers["retry-after"]) >= 1
    (tmp_path / "gate0").touch()
    assert first.events()[-1][0] == "done"
    assert second.events()[-1][0] == "done"


def test_a_failure_is_the_last_event(call: Call, tmp_path: Path) -> None:
    (tmp_path / "gate0").touch()
    reading = call("breaks", **EVENTS)
    assert reading.head()[0] == 200
    told = reading.events()
    assert [name for name, _ in told] == ["running", "output", "error"]
    assert told[-1][1]["code"] == "function_failed"
    assert (told[-1][1]["src"], told[-1][1]["status"]) == ("talk", 500)


def test_files_in_events_have_the_form_that_is_asked_for(call: Call, server: Server) -> None:
    told = {}
    for files in ("url", "base64", "signed"):
        reading = call("rows", query=f"?files={files}", **EVENTS)
        reading.head()
        outputs = [data["result"] for name, data in reading.events() if name == "output"]
        assert outputs[0] == {"n": 1}
        told[files] = outputs[1]
        assert (told[files]["media_type"], told[files]["size"]) == ("audio/wav", len(WAV))
    assert server.get(told["url"]["url"]).body == WAV
    assert base64.b64decode(told["base64"]["base64"]) == WAV
    assert server.request("GET", told["signed"]["url"], auth=False).body == WAV


def test_a_form_with_files_streams_too(server: Server) -> None:
    body, kind = form(("sound", "x.wav", WAV))
    reading = Reading(server, "/api/talk/size", body, kind, Accept="text/event-stream")
    assert reading.head()[0] == 200
    outputs = [data["result"] for name, data in reading.events() if name == "output"]
    assert outputs[0] == len(WAV)
    assert outputs[1]["media_type"] == "audio/wav"
    reading.leave()
    until(lambda: not list((server.home / "data" / "uploads").glob("*-*")), what="no uploads")


def test_a_job_is_preferred_to_events_and_has_them(call: Call, server: Server) -> None:
    reading = call("plain", prefer="respond-async", **EVENTS)
    status, headers = reading.head()
    assert (status, headers["preference-applied"]) == (202, "respond-async")
    events = server.get(headers["location"] + "/events").body.decode()
    assert "event: progress\n" in events
    assert "event: done\n" in events


# --- pieces as they come -------------------------------------------------------------------------


def test_sound_comes_as_it_is_made(call: Call, tmp_path: Path) -> None:
    reading = call("sound")
    status, headers = reading.head()
    assert (status, headers["content-type"]) == (200, "audio/wav")
    assert headers["transfer-encoding"] == "chunked"
    assert reading.some() == WAV
    (tmp_path / "gate0").touch()
    assert reading.rest() == b"the rest"


def test_text_comes_as_it_is_made(call: Call, tmp_path: Path) -> None:
    reading = call("gated", n=2)
    assert reading.head()[1]["content-type"] == "text/plain; charset=utf-8"
    assert reading.some() == b"word0 "
    (tmp_path / "gate0").touch()
    (tmp_path / "gate1").touch()
    assert reading.rest() == b"word1 "


def test_pieces_of_another_kind_are_one_answer(call: Call) -> None:
    reading = call("rows")
    status, headers = reading.head()
    assert (status, headers["content-type"]) == (200, "application/json")
    first, second = json.loads(reading.rest())["result"]
    assert (first, second["media_type"]) == ({"n": 1}, "audio/wav")


def test_an_error_before_the_first_piece_is_an_ordinary_one(call: Call) -> None:
    reading = call("breaks_at_once")
    status, headers = reading.head()
    assert (status, headers["content-type"]) == (500, "application/json")
    assert json.loads(reading.rest())["detail"]["code"] == "function_failed"


@pytest.mark.parametrize("app", ["talk", "routed"])
def test_an_error_after_the_first_piece_cuts_the_answer(
    call: Call, tmp_path: Path, app: str
) -> None:
    reading = call("breaks", app=app)
    assert reading.head()[0] == 200
    assert reading.some() == b"begun"
    (tmp_path / "gate0").touch()
    with pytest.raises(http.client.IncompleteRead):
        reading.rest()


# --- who leaves, and who does not read -----------------------------------------------------------


AS_EVENTS = {"query": "?files=base64", **EVENTS}
"""The pieces are in the events, and no files."""


@pytest.mark.alone
@pytest.mark.parametrize("headers", [AS_EVENTS, {}], ids=["events", "plain"])
@pytest.mark.parametrize("function", ["drips", "endless", "endless_async"])
@pytest.mark.parametrize("app", ["talk", "routed"])
def test_who_leaves_ends_the_function(
    call: Call, tmp_path: Path, app: str, function: str, headers: dict[str, str]
) -> None:
    reading = call(function, app=app, **headers)
    assert reading.head()[0] == 200
    assert reading.some()
    left = time.time()
    reading.leave()
    ended_within(tmp_path, left, 1)


@pytest.mark.parametrize("headers", [AS_EVENTS, {}], ids=["events", "plain"])
@pytest.mark.parametrize("function", ["endless", "endless_async"])
def test_who_does_not_read_costs_little_and_holds_the_function_up(
    call: Call, server: Server, tmp_path: Path, function: str, headers: dict[str, str]
) -> None:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    call("plain").head()
    before = process.memory_info().rss
    reading = call(function, buffer=65536, **headers)
    reading.head()

    def made() -> int:
        path = tmp_path / "made"
        return path.stat().st_size if path.exists() else 0

    def stands_still() -> bool:
        return made() > 0 and time.time() - (tmp_path / "made").stat().st_mtime > 0.5

    until(stands_still, what="the generator to wait")
    assert process.memory_info().rss - before < GROWTH
    waits_at = made()
    assert waits_at * 65536 < GROWTH
    for _ in range(2000):  # it goes on as soon as somebody reads
        if made() > waits_at:
            break
        assert reading.some()
    assert made() > waits_at
    left = time.time()
    reading.leave()
    ended_within(tmp_path, left, 1)
    assert server.get("/health").status == 200


def test_the_end_of_the_server_is_told(tmp_path: Path) -> None:
    with new_server(tmp_path / "home", {"talk": {"type": "inline"}}) as server:
        server.write("func/talk.py", CODE)
        server.start()
        body = json.dumps({"home": str(tmp_path), "n": 1}).encode()
        events, plain = (
            Reading(server, "/api/talk/gated", body, "application/json", **headers)
            for headers in (EVENTS, {})
        )
        for reading in (events, plain):
            assert reading.head()[0] == 200
        assert events.event()["event"] == "running"
        assert plain.some() == b"word0 "
        server.stop()
        name, data = events.events()[-1]
        assert (name, data["code"]) == ("error", "shutting_down")
        assert events.rest() == b""
        with pytest.raises(http.client.IncompleteRead):
            plain.rest()
        assert "Traceback" not in server.log()
        for reading in (events, plain):
            reading.leave()
