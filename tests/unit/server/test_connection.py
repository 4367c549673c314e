"""A connection between a transport that remembers and an application that counts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn import Config

from onegai.server.connection import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    MOST_HEAD,
    MOST_LINES,
    MOST_STRANGERS,
    UNREAD_SECONDS,
    Connection,
    Connections,
)
from onegai.server.guards import WELCOME
from onegai.server.leaving import CUT

READ = 256 << 10
"""The most that a loop reads at once."""
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


class Transport(asyncio.Transport):
    """Takes what is written; reading can be paused."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        super().__init__({"peername": (address, 1000), "sockname": ("127.0.0.1", 1)})
        self.written = bytearray()
        self.writes = 0
        self.paused = self.closed = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes += 1
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent


@dataclass
class Asked:
    """What came to the application."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""


@dataclass
class Application:
    """Keeps the requests with their bodies, and answers each with its number."""

    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Scope, Receive], Awaitable[None]] | None = None
    """What it does before it answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Asked(scope["method"], scope["path"], scope["headers"])
        self.asked.append(asked)
        number = b"%d" % len(self.asked)
        if self.answer is not None:
            await self.answer(scope, receive)
        else:
            await welcoming(scope, receive)
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                asked.body += message["body"]
                more = message["more_body"]
        headers = [(b"content-length", b"%d" % len(number))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": number})


@dataclass
class Client:
    """The other end."""

    transport: Transport
    connection: Connection

    async def send(self, data: bytes, piece: int = READ) -> None:
        """As a loop reads it: nothing while reading is paused."""
        for at in range(0, len(data), piece):
            for _ in range(1000):
                if not self.transport.paused:
                    break
                await asyncio.sleep(0)
            if self.transport.closed or self.transport.paused:
                return
            self.connection.data_received(data[at : at + piece])
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def statuses(self) -> list[int]:
        lines = bytes(self.transport.written).split(b"HTTP/1.1 ")[1:]
        return [int(line[:3]) for line in lines]

    def error(self) -> dict[str, Any]:
        """The envelope of the last answer, which must close the connection."""
        head, _, body = bytes(self.transport.written).rpartition(b"\r\n\r\n")
        assert self.transport.closed
        last = head.rpartition(b"HTTP/1.1")[2]
        assert last.count(b"connection: close") == 1
        assert b"content-length: %d" % len(body) in last
        envelope = json.loads(body)
        assert set(envelope) == {"status", "servertime", "result", "detail"}
        assert envelope["detail"]["hint"]
        return dict(envelope["detail"])


class Made:
    """Connections of one server."""

    def __init__(self, application: Application | None = None, descriptors: int = 1 << 16) -> None:
        self.application = application or Application()
        self.config = Config(self.application, lifespan="off", ws="none", log_config=None)
        self.connections = Connections(descriptors)

    def connect(self, address: str = "192.0.2.1") -> Client:
        transport = Transport(address)
        connection = Connection(self.config, self.connections, {})
        connection.connection_made(transport)
        return Client(transport, connection)

    def sweep(self, after: float) -> None:
        self.connections.sweep(asyncio.get_running_loop().time() + after)


async def welcoming(scope: Scope, _receive: Receive) -> None:
    scope["state"].pop(WELCOME, lambda: None)()


async def never(_scope: Scope, _receive: Receive) -> None:
    await asyncio.Event().wait()


# --- requests are told apart --------------------------------------------------------------------

MIXED = [
    b"\r\n" + GET,
    b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 14\r\n\r\nab\r\n\r\nGET / HT",
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\n\r\n\r\r\n5;x=y\r\n\nGET \r\n0\r\nX-Api-Key: secret\r\nHost: other\r\n\r\n",
    b"POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /e HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
    b"Content-Length: 5\r\n\r\n{ }\r\n",
    b"GET /f HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"PUT /g HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    b"GET /h HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
]
BODIES = [b"", b"ab\r\n\r\nGET / HT", b"\r\n\r\nGET ", b"", b"{ }\r\n", b"", b"", b"abc"]


async def requests_of(pieces: list[bytes]) -> tuple[list[Asked], bytes]:
    made = Made()
    client = made.connect()
    for piece in pieces:
        await client.send(piece)
    return made.application.asked, bytes(client.transport.written)


def test_the_same_bytes_are_the_same_requests_wherever_they_are_cut() -> None:
    data = b"".join(MIXED)

    async def check(cuts: list[int]) -> None:
        edges = [0, *sorted(cuts), len(data)]
        pieces = [data[a:b] for a, b in pairwise(edges) if a < b]
        asked, written = await requests_of(pieces)
        assert [one.path for one in asked] == [f"/{name}" for name in "abcdefgh"]
        assert [one.body for one in asked] == BODIES
        assert all((b"host", b"h") in one.headers for one in asked)
        assert not any(
            name == b"x-api-key" or value == b"other"
            for one in asked
            for name, value in one.headers
        )
        assert written.count(b"HTTP/1.1 200") == len(MIXED)

    for cut in range(len(data)):
        asyncio.run(check([cut]))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(0, len(data)), max_size=40))
    def anywhere(cuts: list[int]) -> None:
        asyncio.run(check(cuts))

    anywhere()
    asyncio.run(check(list(range(len(data)))))


async def test_one_request_is_parsed_at_a_time() -> None:
    go_on = asyncio.Event()

    async def when_told(scope: Scope, receive: Receive) -> None:
        await welcoming(scope, receive)
        await receive()
        # As one does that watches for the client to leave.
        watching = asyncio.ensure_future(receive())
        await go_on.wait()
        watching.cancel()

    made = Made(Application(answer=when_told))
    client = made.connect()
    await client.send(GET * 5)
    assert len(made.application.asked) == 1
    assert client.transport.paused
    client.connection.data_received(GET * 3)  # a read that was under way
    await client.settle()
    assert len(made.application.asked) == 1
    assert client.transport.paused
    go_on.set()
    await client.send(GET)
    assert client.statuses == [200] * 9
    assert not client.transport.paused


async def test_what_was_sent_ahead_is_dropped_when_the_connection_closes() -> None:
    made = Made()
    client = made.connect()
    await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + GET * 3)
    assert (client.statuses, len(made.application.asked)) == ([200], 1)


async def test_a_body_waits_until_it_is_read() -> None:
    async def known(scope: Scope, receive: Receive) -> None:
        await welcoming(scope, receive)
        await never(scope, receive)

    made = Made(Application(answer=known))
    client = made.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
    await client.send(b"x" * (40 << 20), piece=READ)
    assert client.transport.paused
    assert len(client.connection.cycle.body) <= READ + (64 << 10)


# --- limits -------------------------------------------------------------------------------------


def head(size: int) -> bytes:
    start = b"GET /a HTTP/1.1\r\nHost: h\r\nX-Long: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("piece", [READ, 1000, 7])
async def test_a_head_is_as_large_as_it_may_be(piece: int) -> None:
    made = Made()
    client = made.connect()
    await client.send(head(MOST_HEAD) + head(MOST_HEAD), piece)
    assert client.statuses == [200, 200]
    await client.send(head(MOST_HEAD + 1), piece)
    assert client.statuses == [200, 200, 431]
    assert client.error()["code"] == "head_too_large"
    assert len(made.application.asked) == 2


@pytest.mark.parametrize(
    "line", [b"GET /" + b"a" * READ, GET[:-2] + b"A" * READ, GET[:-2] + b"A: " + b"b" * READ]
)
async def test_a_line_without_an_end_is_ended(line: bytes) -> None:
    client = Made().connect()
    await client.send(line, 4096)
    assert client.error()["code"] == "head_too_large"


async def test_header_lines_are_counted() -> None:
    client = Made().connect()
    lines = b"A: b\r\n" * (MOST_LINES - 1)
    await client.send(GET[:-2] + lines + b"\r\n")
    assert client.statuses == [200]
    await client.send(GET[:-2] + lines + b"A: b\r\n\r\n")
    assert client.error()["code"] == "head_too_large"


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "more", [b"0\r\nA: " + b"b" * READ, b"0\r\n" + b"A: b\r\n" * 50_000, b"1;" + b"x" * READ]
)
async def test_what_is_around_chunks_is_bounded(more: bytes) -> None:
    client = Made().connect()
    await client.send(CHUNKED + b"1\r\na\r\n" + more, 4096)
    assert client.error()["code"] == "head_too_large"


async def test_a_large_body_of_chunks_is_none_of_that() -> None:
    made = Made()
    client = made.connect()
    chunk = b"%x\r\n" % READ + b"x" * READ + b"\r\n"
    await client.send(CHUNKED + chunk * 4 + b"0\r\n\r\n" + GET)
    assert client.statuses == [200, 200]
    assert len(made.application.asked[0].body) == 4 * READ


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\nHost h\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"xyz\r\n",
    ],
)
async def test_what_cannot_be_read_is_told_so(data: bytes) -> None:
    made = Made()
    client = made.connect()
    await client.send(data)
    assert client.statuses == [400]
    assert client.error()["code"] == "not_http"
    assert made.connections.tasks == set()


async def test_a_broken_body_ends_an_answer_that_has_begun() -> None:
    async def begins(scope: Scope, receive: Receive) -> None:
        client.connection.cycle.response_started = True
        await receive()
        await receive()

    client = Made(Application(answer=begins)).connect()
    await client.send(CHUNKED + b"1\r\na\r\n")
    await client.send(b"xyz\r\n")
    assert client.transport.closed
    assert client.transport.written == b""


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", b"G", GET[:-1]])
async def test_the_first_head_has_its_time(sent: bytes) -> None:
    made = Made()
    client = made.connect()
    for byte in sent:
        await client.send(bytes([byte]))
    made.sweep(HEAD_SECONDS - 0.5)
    assert not client.transport.closed
    made.sweep(HEAD_SECONDS)
    assert (client.statuses, client.error()["code"]) == ([408], "slow_request")


async def test_a_later_head_has_its_own_time_and_an_idle_connection_more() -> None:
    made = Made()
    client, idle = made.connect(), made.connect()
    for one in (client, idle):
        await one.send(GET)
    made.sweep(IDLE_SECONDS - 0.5)
    assert not client.transport.closed
    await client.send(GET[:-1])
    made.sweep(HEAD_SECONDS - 0.5)
    assert not client.transport.closed
    made.sweep(HEAD_SECONDS)
    assert client.error()["code"] == "slow_request"
    assert not idle.transport.closed
    made.sweep(IDLE_SECONDS)
    assert idle.transport.closed
    assert idle.statuses == [200]


async def test_a_later_head_that_drips_has_no_more_time() -> None:
    made = Made()
    client = made.connect()
    await client.send(GET)
    await client.send(GET[:1])
    client.connection._begun -= HEAD_SECONDS - 1
    await client.send(GET[1:-1], 1)
    made.sweep(1)
    assert client.error()["code"] == "slow_request"


async def test_an_answer_may_take_any_time_and_a_body_may_not_stand_still() -> None:
    forever, made = Made(Application(answer=never)), Made()
    long, still = forever.connect(), made.connect()
    await long.send(GET)
    await still.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
    made.sweep(IDLE_SECONDS - 0.5)
    assert not still.transport.closed
    made.sweep(IDLE_SECONDS)
    assert still.error()["code"] == "slow_request"
    forever.sweep(1e6)
    assert not long.transport.closed


async def test_a_body_that_the_server_does_not_read_is_not_called_slow() -> None:
    made = Made(Application(answer=never))
    client = made.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n")
    await client.send(b"x" * READ)
    assert client.transport.paused
    made.sweep(1e6)
    assert not client.transport.closed


async def test_who_does_not_read_the_answer_is_given_up() -> None:
    made = Made(Application(answer=never))
    client = made.connect()
    await client.send(GET)
    client.transport.unsent = 100_000
    made.sweep(0)
    client.transport.unsent = 90_000
    made.sweep(UNREAD_SECONDS)
    made.sweep(2 * UNREAD_SECONDS - 0.5)
    assert not client.transport.closed
    made.sweep(2 * UNREAD_SECONDS)
    assert client.transport.closed


async def at_once(_scope: Scope, _receive: Receive) -> None:
    """Without reading."""


async def test_of_a_body_that_nobody_wants_a_stranger_sends_no_more() -> None:
    made = Made(Application(answer=at_once))
    client = made.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n")
    assert client.statuses == [200]
    assert client.transport.closed


async def test_of_a_stranger_one_request_is_parsed_and_no_body_that_nobody_reads() -> None:
    made = Made(Application(answer=never))
    client = made.connect()
    await client.send(CHUNKED + b"1\r\na\r\n" * 1000)
    assert client.transport.paused
    assert client.connection.cycle.body == b""
    made = Made(Application(answer=at_once))
    client = made.connect()
    await client.send(GET * 5)
    assert (client.statuses, client.transport.closed) == ([200], True)


@pytest.mark.parametrize("early", [True, False])
async def test_of_a_stranger_too_a_body_is_there_for_who_reads_it(early: bool) -> None:
    async def reads(_scope: Scope, receive: Receive) -> None:
        while (message := await receive())["more_body"]:
            made.application.asked[-1].body += message["body"]
        made.application.asked[-1].body += message["body"]

    made = Made(Application(answer=reads))
    client = made.connect()
    await client.send(CHUNKED + (b"" if early else b"1\r\na\r\n"))
    await client.send(b"2\r\nbc\r\n0\r\n\r\n")
    assert client.statuses == [200]
    assert made.application.asked[0].body == (b"bc" if early else b"abc")
    assert not client.transport.closed


async def test_of_a_body_that_nobody_wants_a_friend_may_send_what_fits_in_the_time() -> None:
    made = Made(Application(answer=welcoming))
    client, slow = made.connect(), made.connect()
    start = b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (4 * READ)
    for one in (client, slow):
        await one.send(start)
    await client.send(b"x" * (4 * READ) + GET)
    assert client.statuses == [200, 200]
    await slow.send(b"x")
    made.sweep(HEAD_SECONDS)
    assert slow.transport.closed
    assert slow.statuses == [200]
    assert not client.transport.closed


# --- how many -----------------------------------------------------------------------------------


async def test_the_oldest_stranger_of_an_address_goes_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Made(Application(answer=welcoming))
    friend, other = made.connect(), made.connect("192.0.2.2")
    await friend.send(GET)
    closing = made.connect()
    await closing.send(b"no http")
    with caplog.at_level(logging.WARNING):
        strangers = [made.connect() for _ in range(MOST_STRANGERS + 3)]
    assert closing.statuses == [400]
    assert [one.transport.closed for one in strangers[:4]] == [True, True, True, False]
    assert strangers[0].error()["code"] == "too_many_connections"
    assert b"retry-after: 1" in strangers[0].transport.written
    assert not friend.transport.closed
    assert not other.transport.closed
    assert len(caplog.records) == 1
    assert "192.0.2.1" in caplog.text


async def test_who_is_gone_or_known_counts_no_more_as_a_stranger() -> None:
    made = Made()
    for _ in range(3 * MOST_STRANGERS):
        client = made.connect()
        client.connection.connection_lost(None)
    waiting = [made.connect() for _ in range(MOST_STRANGERS)]
    assert not any(one.transport.closed for one in waiting)
    for one in waiting:
        one.connection.connection_lost(None)
    assert made.connections._strangers == {}
    assert made.connections.connections == set()


async def test_half_of_the_descriptors_are_for_connections() -> None:
    made = Made(Application(answer=welcoming), descriptors=64)
    crowd = [made.connect("192.0.2.1") for _ in range(8)]
    others = [made.connect(f"192.0.3.{number}") for number in range(24)]
    assert not any(one.transport.closed for one in crowd + others)
    friends = []
    for _ in range(7):
        friends.append(made.connect("192.0.2.2"))
        await friends[-1].send(GET)
    assert [one.transport.closed for one in crowd] == [True] * 7 + [False]
    assert crowd[0].error()["code"] == "too_many_connections"
    assert not any(one.transport.closed for one in others + friends)


async def test_where_all_are_known_the_new_one_is_refused() -> None:
    made = Made(Application(answer=welcoming), descriptors=16)
    friends = []
    for _ in range(8):
        friends.append(made.connect())
        await friends[-1].send(GET)
    late = made.connect()
    assert late.error()["code"] == "too_many_connections"
    assert not any(one.transport.closed for one in friends)


# --- answers --------------------------------------------------------------------------------------


async def test_an_answer_that_is_there_is_written_at_once() -> None:
    """That is one system call, and its client is woken once."""
    client = Made().connect()
    await client.send(GET)
    assert client.statuses == [200]
    assert client.transport.written.endswith(b"\r\n\r\n1")
    assert client.transport.writes == 1
    await client.send(GET + GET)
    assert client.statuses == [200] * 3
    assert client.transport.writes == 3


async def test_a_head_goes_out_before_a_body_that_takes_its_time() -> None:
    go = asyncio.Event()

    async def slowly(scope: Scope, _receive: Receive, send: Send) -> None:
        await welcoming(scope, _receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go.wait()
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    made = Made()
    made.config = Config(slowly, lifespan="off", ws="none", log_config=None)
    client = made.connect()
    await client.send(GET)
    assert client.transport.written.endswith(b"transfer-encoding: chunked\r\n\r\n")
    go.set()
    await client.settle()
    assert client.transport.written.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


@pytest.mark.parametrize("ending", ["connection: close", "cut"])
async def test_what_has_been_said_goes_out_before_the_end(ending: str) -> None:
    async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"connection", b"close")] if ending != "cut" else []
        start = {"type": "http.response.start", "status": 204, "headers": headers}
        await send(start)
        if ending == "cut":
            scope["state"][CUT]()
        else:
            await send({"type": "http.response.body", "body": b""})

    made = Made()
    made.config = Config(answer, lifespan="off", ws="none", log_config=None)
    client = made.connect()
    await client.send(GET)
    assert client.statuses == [204]
    assert client.transport.closed
