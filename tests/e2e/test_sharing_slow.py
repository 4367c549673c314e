"""Clients that read or send slowly: they hold no service, no place in a queue and no memory."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from harness import PASSWORD, Server, fake, form

MIB = 1 << 20
LARGE = 64
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

BYTES = """
from onegai.sdk import service

me = service("large")


def raw(args: dict) -> bytes:
    return me.get("/", params={"pieces": args["mib"], "interval": 0, "size": 1 << 20}).content


def main(args: dict) -> int:
    return len(raw(args))
"""
ECHO = """
from onegai.sdk import service

me = service("other")


def main(args: dict) -> str:
    return me.post("/echo", json={"text": args["text"]}).json()["body"]
"""


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """Two apps on a card that has room for one of them."""
    keys = {"vram": 8, "concurrency": 1, "queue": 1}
    server = make_server({"large": fake("stream", **keys), "other": fake("ready", **keys)})
    server.environment = {"ONEGAI_FAKE_GPU": "12"}
    server.write("func/large.py", BYTES)
    server.write("func/other.py", ECHO)
    return server.start()


@contextmanager
def connected(
    server: Server, path: str, media_type: str, length: int
) -> Iterator[http.client.HTTPConnection]:
    """A connection with a small buffer, on which the server waits for the body of a call."""
    address = "127.0.0.1", server.port
    with closing(http.client.HTTPConnection(*address, timeout=30)) as connection:
        connection.sock = socket.socket()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sock.settimeout(30)
        connection.sock.connect(address)
        connection.putrequest("POST", path)
        token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
        connection.putheader("Authorization", f"Basic {token}")
        connection.putheader("Content-Type", media_type)
        connection.putheader("Content-Length", str(length))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        # Sent by the server once the route begins to read the body.
        assert connection.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        yield connection


def held(server: Server, app: str) -> int:
    """Whatever of the app somebody has, or waits for."""
    status = server.service(app)
    return sum(status[key] for key in ("leases", "waiting", "calls", "queued"))


def other_gets_its_room(server: Server, app: str, other: str) -> None:
    """A call of ``other`` is answered though it cannot run beside ``app``, which must go."""
    assert server.post(f"/api/{other}/main", {"mib": 1, "text": ""}).status == 200
    states = {name: server.service(name)["state"] for name in (app, other)}
    assert states == {app: "stopped", other: "ready"}


def test_a_client_that_reads_nothing_holds_no_service(server: Server) -> None:
    body = json.dumps({"mib": LARGE}).encode()
    with connected(server, "/api/large/raw", "application/json", len(body)) as connection:
        connection.send(body)
        connection.sock.recv(1, socket.MSG_PEEK)
        assert held(server, "large") == 0
        other_gets_its_room(server, "large", "other")
        # Its place in the queue, too, is free for others.
        assert len(server.post("/api/large/raw", {"mib": 1}).body) == MIB
        answer = connection.getresponse()
        assert answer.status == 200
        for number in range(LARGE):
            assert answer.read(MIB) == bytes([number]) * MIB
        assert answer.read() == b""


JSON = b'{"text": "please"}', "application/json"
FORM = form(("text", None, b"please"), ("file", "a.bin", b"x" * MIB))


@pytest.mark.parametrize(("body", "media_type"), [JSON, FORM], ids=["json", "form"])
def test_a_client_that_stops_sending_holds_no_service(
    server: Server, body: bytes, media_type: str
) -> None:
    assert server.post("/api/other/main", {"text": "before"}).status == 200
    half = len(body) // 2
    with connected(server, "/api/other/main", media_type, len(body)) as connection:
        connection.send(body[:half])
        assert held(server, "other") == 0
        assert server.post("/api/other/main", {"text": "in between"}).status == 200
        other_gets_its_room(server, "other", "large")
        connection.send(body[half:])
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert (answer.status, said["result"]) == (200, '{"text": "please"}'), said
