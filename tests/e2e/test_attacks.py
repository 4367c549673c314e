"""What somebody without a password can do to a server: not much."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import PASSWORD, Server, fake, new_server, with_handles

BASIC = b"Authorization: Basic " + base64.b64encode(f"onegai:{PASSWORD}".encode()) + b"\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
GROWTH = 30 << 20
"""More than what may wait in memory of a few connections, and far less than what is sent."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with new_server(tmp_path_factory.mktemp("attacked"), {"a": {"type": "inline"}}) as server:
        server.write("func/a.py", "def main(args: dict) -> dict:\n    return args\n")
        yield server.start()


@pytest.fixture
def grown(server: Server) -> Callable[[], int]:
    """Bytes by which the server's memory has grown in this test."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    return lambda: int(process.memory_info().rss) - before


def connect(server: Server, own: str = "127.0.0.1", buffer: int = 0) -> socket.socket:
    """``buffer``: the bytes that the kernel keeps each way, instead of megabytes."""
    connection = socket.socket()
    connection.settimeout(10)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.bind((own, 0))
    connection.connect(("127.0.0.1", server.port))
    return connection


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and envelope of the answer with which the server closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:  # after the answer: there was more on its way to the server
        pass
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def flood(connection: socket.socket, piece: bytes, most: int) -> int:
    """Send until nothing more is taken, but not for long; how many bytes were."""
    connection.settimeout(0.5)
    sent, end = 0, time.monotonic() + 1.5
    with suppress(OSError):
        while sent < most and time.monotonic() < end:
            # From where the last one stopped, so that the pieces stay whole.
            sent += connection.send(piece[sent % len(piece) :])
    connection.settimeout(10)
    return sent


def test_header_lines_for_ever(server: Server, grown: Callable[[], int]) -> None:
    with connect(server) as connection:
        connection.sendall(GET[:-2])
        flood(connection, b"X-A: " + b"y" * 1000 + b"\r\n", 200 << 20)
        status, envelope = answer(connection)
    assert (status, envelope["detail"]["code"]) == (431, "head_too_large")
    assert grown() < GROWTH


def test_a_header_line_without_an_end(server: Server, grown: Callable[[], int]) -> None:
    with connect(server) as connection:
        connection.sendall(GET[:-2] + b"X-A: ")
        flood(connection, b"y" * 65536, 200 << 20)
        assert answer(connection)[0] == 431
    assert grown() < GROWTH


def test_requests_whose_answers_nobody_reads(server: Server, grown: Callable[[], int]) -> None:
    with connect(server, buffer=16 << 10) as connection:
        assert flood(connection, GET * 1000, 6 << 20) < 6 << 20
        assert connection.recv(1 << 20).startswith(b"HTTP/1.1 200")
        assert grown() < GROWTH
    assert server.get("/health").status == 200


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [("/health", b"", 401), ("/api/a/main", b"", 401), ("/api/a/main", b"X-Api-Key: no\r\n", 401)],
)
def test_bodies_before_the_password(
    server: Server, grown: Callable[[], int], path: str, header: bytes, status: int
) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 31457280\r\n%s\r\n"
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(4)]
        for connection in connections:
            connection.sendall(head % (path.encode(), header))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: flood(one, b"x" * 65536, 30 << 20), connections))
        assert grown() < GROWTH
        assert {answer(connection)[0] for connection in connections} == {status}


def test_a_body_where_none_is_read(server: Server, grown: Callable[[], int]) -> None:
    with connect(server) as connection:
        head = b"GET /health HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert flood(connection, b"x" * 65536, 200 << 20) < 50 << 20
    assert grown() < GROWTH
    for method, path in (("POST", "/health"), ("POST", "/none"), ("TRACE", "/app/list")):
        body = {"Content-Type": "text/plain"}
        refused = server.request(method, path, b"x" * 100, headers=body)
        assert refused.status == (404 if path == "/none" else 405)
        assert ("GET" in refused.headers.get("allow", "")) is (path != "/none")


def test_a_password_in_a_trailer_is_none(server: Server) -> None:
    head = b"GET /app/list HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
    trailer = b"1\r\na\r\n0\r\n" + BASIC + b"\r\n"
    for piece in (head + b"\r\n" + trailer, head + b"\r\n"):
        with connect(server) as connection:
            connection.sendall(piece)
            assert answer(connection)[0] == 401
    with connect(server) as connection:
        # Nor is it one of the next request, which comes in the same packet.
        health = b"POST /app/list HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + BASIC
        connection.sendall(health + b"\r\n" + trailer + GET.replace(b"/health", b"/app/list"))
        statuses = re.findall(rb"HTTP/1.1 (\d+)", until_closed(connection))
    assert statuses == [b"405", b"401"]


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def test_what_is_no_http(server: Server) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/1.1\r\nbad\r\n\r\n"):
        with connect(server) as connection:
            connection.sendall(data)
            status, envelope = answer(connection)
        assert (status, envelope["detail"]["code"]) == (400, "not_http")
        assert "https://" in envelope["detail"]["hint"]


def test_many_wrong_passwords_at_once(server: Server) -> None:
    def wrong(_: int) -> tuple[int, float]:
        begun = time.monotonic()
        status = server.request("GET", "/app/list", headers={"X_Api_Key": "no"}, auth=False).status
        return status, time.monotonic() - begun

    with ThreadPoolExecutor(40) as pool:
        answers = pool.map(wrong, range(60))
        assert server.get("/app/list").status == 200
        statuses = [status for status, _ in answers]
    assert statuses.count(401) >= 4
    assert statuses.count(429) >= 40
    assert server.get("/app/list").status == 200


def test_silent_connections_leave_room_for_calls(tmp_path: Path) -> None:
    with new_server(tmp_path / "home", {"echo": fake("ready")}) as server, ExitStack() as stack:
        with_handles(server, "echo")
        server.wrapper = ("bash", "-c", 'ulimit -n 256; exec "$@"', "-")
        server.start()
        silent = []
        for number in range(600):
            try:
                silent.append(stack.enter_context(connect(server, f"127.0.0.{2 + number % 8}")))
            except OSError:
                break
        for _ in range(3):
            assert server.post("/api/echo/main", {"text": "hello"}).status == 200
        silent = [stack.enter_context(connect(server)) for _ in range(100)]
        assert server.post("/api/echo/main", {"text": "hello"}).status == 200
        assert answer(silent[0])[1]["detail"]["code"] == "too_many_connections"
        assert server.log().count("too many connections") == 1
        assert "Traceback" not in server.log()
        assert server.process is not None
        assert psutil.Process(server.process.pid).cpu_percent(0.3) < 50
