"""What a sync handle sends with: one server that says, byte by byte, what it is told to."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

import pytest
import trustme
import uvicorn
from starlette.types import Receive, Scope
from starlette.types import Send as SendMessage

from onegai.handles import connections
from onegai.handles.connections import Answer, Connections
from onegai.handles.context import Transport, open_transport
from onegai.handles.cutoff import Cutoff
from onegai.handles.http import build

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSE = b""
"""As an answer: the connection is closed."""
SILENCE = (b"silence",)
"""As an answer: no more comes, until the peer is closed."""


class Peer:
    """Answers the n-th request with ``answers[n]``, in pieces, the rest with their own bodies.

    ``requests`` are what came.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[bytes, ...]] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._over = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self._open: list[socket.socket] = []
        self.closed = threading.Event()
        """The peer has closed a connection."""
        self.silent = threading.Event()
        """It keeps silent."""

    def __call__(self, *answers: bytes | tuple[bytes, ...]) -> str:
        self.answers += [(one,) if isinstance(one, bytes) else one for one in answers]
        return self.url

    def _accept(self) -> None:
        while True:
            made, _ = self._listener.accept()
            if self._over:
                made.close()
                return
            self.connections += 1
            self._open.append(made)
            self._threads.append(threading.Thread(target=self._serve, args=(made,)))
            self._threads[-1].start()

    def _serve(self, made: socket.socket) -> None:
        with made, made.makefile("rb") as file:
            while head := self._head(file):
                length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
                body = file.read(int(length or 0))
                self.requests.append(head + b"\r\n" + body)
                echo = OK[:17] + b"Content-Length: %d\r\n\r\n" % len(body) + body
                for piece in self.answers.pop(0) if self.answers else (echo,):
                    if piece == CLOSE:
                        break
                    if piece in SILENCE:
                        self.silent.set()
                        file.read()
                        break
                    made.sendall(piece)
                else:
                    continue
                break
        self.closed.set()

    @staticmethod
    def _head(file: BinaryIO) -> bytes:
        head = b""
        while (line := file.readline()) not in (b"\r\n", b""):
            head += line
        return head

    def close(self) -> None:
        self._over = True
        with socket.create_connection(self._listener.getsockname()):
            self._threads[0].join()
        self._listener.close()
        for made in self._open:
            try:
                made.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def client() -> Iterator[Connections]:
    made = Connections()
    yield made
    made.close()


Send = Callable[..., tuple[Answer, bytes]]


@pytest.fixture
def send(client: Connections) -> Send:
    def sent(
        base: str, method: str = "GET", path: str = "/", *, seconds: float = 20, **options: object
    ) -> tuple[Answer, bytes]:
        request = build(method, path, **options)
        answer = client.send(base, request, time.monotonic() + seconds)
        return answer, b"".join(answer.pieces())

    return sent


# --- what is sent ------------------------------------------------------------------------------


def test_a_request(peer: Peer, send: Send) -> None:
    answer, body = send(peer(OK) + "/base", "POST", "/p?q=1", json={"a": 1}, headers={"X-Y": "é"})
    assert (answer.status, body, answer.headers["CONTENT-LENGTH"]) == (200, b"ok", "2")
    line, *headers = peer.requests[0].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    assert line == "POST /base/p?q=1 HTTP/1.1"
    assert set(headers) >= {
        f"host: {peer.url.removeprefix('http://')}",
        "accept-encoding: identity",
        "content-type: application/json",
        "content-length: 8",
        "x-y: é",
    }
    assert peer.requests[0].endswith(b'\r\n\r\n{"a": 1}')


@pytest.mark.parametrize(
    ("method", "length"), [("GET", False), ("DELETE", False), ("POST", True), ("PUT", True)]
)
def test_length_of_no_body(peer: Peer, send: Send, method: str, length: bool) -> None:
    send(peer(OK), method)
    assert (b"\r\ncontent-length: 0\r\n" in peer.requests[0]) == length


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/ね x", "/%E3%81%AD%20x"),
        ("/a%20b?c=%7E", "/a%20b?c=%7E"),
        ("/100%/50%25", "/100%25/50%2525"),
        ("/a#b", "/a"),
        ("/a\r\nX: y", "/a%0D%0AX:%20y"),
        ("/'{}?a=b:c&d=[e]", "/'%7B%7D?a=b:c&d=[e]"),
    ],
)
def test_paths(peer: Peer, send: Send, path: str, target: str) -> None:
    send(peer(OK), path=path)
    assert peer.requests[0].startswith(f"GET {target} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\rX", "a\0"])
def test_a_header_cannot_become_two(peer: Peer, send: Send, value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        send(peer.url, headers={"a": value})
    assert peer.connections == 0


def test_large_bodies_go_both_ways(peer: Peer, send: Send) -> None:
    body = bytes(range(256)) * 10_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert send(peer((head, body)), "POST", content=body)[1] == body
    assert peer.requests[0].endswith(body)


# --- what is received --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "body", "kept"),
    [
        ((OK[:3], OK[3:20], OK[20:]), b"ok", True),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", OK), b"ok", True),
        ((b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + OK,), b"ok", True),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b"", True),
        ((b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",), b"", True),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n",
                b"1\r\nk\r\n0\r\n\r\n",
            ),
            b"ok",
            True,
        ),
        ((OK.replace(b"\r\n", b"\n"),), b"ok", True),
        ((b"HTTP/1.1 200 OK\r\n\r\nok", CLOSE), b"ok", False),
        ((b"HTTP/1.0 200 OK\r\n\r\no", b"k", CLOSE), b"ok", False),
        ((OK.replace(b"OK\r", b"OK\r\nConnection: close\r", 1),), b"ok", False),
        ((OK.replace(b"1.1", b"1.0"),), b"ok", False),
        ((OK + b"surplus",), b"ok", False),
    ],
)
def test_answers(
    peer: Peer, send: Send, pieces: tuple[bytes, ...], body: bytes, kept: bool
) -> None:
    assert send(peer(pieces, OK))[1] == body
    assert send(peer.url)[1] == b"ok"
    assert peer.connections == (1 if kept else 2)


def test_head_has_no_body(peer: Peer, send: Send) -> None:
    answer, body = send(peer(OK[:-2], OK), "HEAD")
    assert (answer.headers["content-length"], body) == ("2", b"")
    assert send(peer.url)[1] == b"ok"


def test_repeated_headers_are_joined(peer: Peer, send: Send) -> None:
    answer, _ = send(peer(OK.replace(b"OK\r", b"OK\r\na: 1\r\nA: 2\r", 1)))
    assert answer.headers["A"] == "1, 2"


SQUEEZED = zlib.compressobj(wbits=-15)
BARE = SQUEEZED.compress(b"text " * 99) + SQUEEZED.flush()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        (b"gzip", gzip.compress(b"text " * 99, mtime=0)),
        (b"deflate", zlib.compress(b"text " * 99)),
        (b"deflate", BARE),
        (b"identity", b"text " * 99),
    ],
)
def test_content_encodings(peer: Peer, send: Send, encoding: bytes, content: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n"
    made = head % (encoding, len(content))
    assert send(peer((made, content[:9], content[9:])))[1] == b"text " * 99


def test_what_grows_comes_in_pieces(peer: Peer, client: Connections) -> None:
    content = gzip.compress(bytes(50 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    peer(head % len(content) + content)
    answer = client.send(peer.url, build("GET", "/"), time.monotonic() + 20)
    sizes = [len(piece) for piece in answer.pieces()]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 1 << 20


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((CLOSE,), "before its answer was complete"),
        ((OK[:-1], CLOSE), "before its answer was complete"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", CLOSE), "complete"),
        ((b"SSH-2.0-OpenSSH\r\n",), "not HTTP"),
        ((b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",), "not HTTP"),
        ((OK.replace(b"OK\r", b"OK\r\nContent-Encoding: gzip\r", 1),), "gzip"),
    ],
)
def test_what_is_no_answer(peer: Peer, send: Send, pieces: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(ConnectionError, match=reason):
        send(peer(pieces))


def test_nobody_there(send: Send) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ConnectionRefusedError):
        send(url)


# --- redirects ---------------------------------------------------------------------------------


def redirect(status: int, location: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("method", "status", "location", "asked"),
    [
        ("GET", 302, "/b?c=1", "GET /b?c=1"),
        ("GET", 301, "b/", "GET /a/b/"),
        ("POST", 307, "/b", "POST /b"),
        ("POST", 308, "/b", "POST /b"),
        ("POST", 303, "/b", "GET /b"),
        ("POST", 302, "/b", "GET /b"),
        ("PUT", 302, "/b", "PUT /b"),
    ],
)
def test_redirects(
    peer: Peer, send: Send, method: str, status: int, location: str, asked: str
) -> None:
    assert send(peer(redirect(status, location), OK), method, "/a/x", content=b"body")[1] == b"ok"
    second = peer.requests[1]
    assert second.startswith(asked.encode() + b" HTTP/1.1\r\n")
    assert second.endswith(b"body") == (not asked.startswith("GET") or method == "GET")


def test_credentials_stay_with_their_service(peer: Peer, send: Send) -> None:
    other = peer.url.replace("127.0.0.1", "localhost")
    headers = {"authorization": "Bearer x", "x-other": "y"}
    send(peer(redirect(307, f"{other}/b"), redirect(307, "/c"), OK), headers=headers)
    assert [b"\r\nauthorization: Bearer x\r\n" in one for one in peer.requests] == [
        True,
        False,
        False,
    ]
    assert b"\r\nx-other: y\r\n" in peer.requests[1]


@pytest.mark.parametrize(
    ("location", "reason"), [("/again", "more than 5 times"), ("file:///etc/passwd", "to file:")]
)
def test_redirects_that_lead_nowhere(peer: Peer, send: Send, location: str, reason: str) -> None:
    with pytest.raises(ConnectionError, match=reason):
        send(peer(*[redirect(302, location)] * 6))


# --- connections -------------------------------------------------------------------------------


def test_one_that_was_closed_meanwhile_is_not_used(peer: Peer, send: Send) -> None:
    send(peer((OK, CLOSE), OK), "POST")
    assert peer.closed.wait(60)
    assert send(peer.url, "POST")[1] == b"ok"
    assert (peer.connections, len(peer.requests)) == (2, 2)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "PATCH"])
def test_one_that_is_closed_instead_of_an_answer(peer: Peer, send: Send, method: str) -> None:
    """Whether the app has heeded a POST cannot be known; the rest may come twice."""
    send(peer(OK, CLOSE, OK))
    if method in ("POST", "PATCH"):
        with pytest.raises(ConnectionError):
            send(peer.url, method)
        assert len(peer.requests) == 2
    else:
        assert send(peer.url, method)[0].status == 200
        assert (peer.connections, len(peer.requests)) == (2, 3)


@pytest.mark.parametrize("answers", [(), ((OK[:-1], CLOSE),), (CLOSE, CLOSE)])
def test_nothing_is_sent_again_but_once_and_before_any_answer(
    peer: Peer, send: Send, answers: tuple[bytes, ...]
) -> None:
    """The first connection is no kept one, where there are no answers."""
    if answers:
        send(peer(OK, *answers, OK))
    else:
        peer(CLOSE, OK)
    with pytest.raises(ConnectionError):
        send(peer.url)
    assert len(peer.requests) == 1 + len(answers)


def test_what_was_not_sent_at_all_is_sent_again(
    peer: Peer, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer closes after the look whether it has."""
    send(peer((OK, CLOSE), OK), "POST")
    assert peer.closed.wait(60)

    def shut(kept: connections._Connection) -> bool:
        kept._socket.shutdown(socket.SHUT_WR)
        return True

    monkeypatch.setattr(connections._Connection, "usable", shut)
    assert send(peer.url, "POST", content=b"x")[1] == b"ok"
    assert (peer.connections, len(peer.requests)) == (2, 2)


def test_none_is_used_that_was_idle_for_long(
    peer: Peer, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(peer(OK, OK, OK), "POST")
    send(peer.url, "POST")
    assert peer.connections == 1
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0)
    send(peer.url, "POST")
    assert peer.connections == 2


async def test_posts_at_the_moment_that_an_app_closes_what_is_idle() -> None:
    """As of uvicorn, whose clock is 5 s if nobody says otherwise; here it is 1.2 s."""

    async def app(_scope: Scope, receive: Receive, sent: SendMessage) -> None:
        while (await receive()).get("more_body"):
            pass
        length = [(b"content-length", b"2")]
        await sent({"type": "http.response.start", "status": 200, "headers": length})
        await sent({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=CLOCK)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        barrier = threading.Barrier(POSTS)

        def post(number: int) -> None:
            """One at a time over its own connection; the second as the first one's is closed."""
            with closing(Connections()) as own:
                for wait in (0, CLOCK + (number - POSTS / 2) / 1000):
                    barrier.wait()
                    time.sleep(wait)
                    answer = own.send(url, build("POST", "/"), time.monotonic() + 20)
                    assert b"".join(answer.pieces()) == b"ok"

        async def post_too(transport: Transport, number: int) -> None:
            async with transport.asynchronous.post(url) as answer:
                assert await answer.read() == b"ok"

        try:
            with ThreadPoolExecutor(POSTS) as threads:
                for done in [threads.submit(post, number) for number in range(POSTS)]:
                    await asyncio.wrap_future(done)
            async with open_transport() as transport:
                for wait in (0, CLOCK):
                    await asyncio.sleep(wait)
                    await asyncio.gather(*(post_too(transport, number) for number in range(POSTS)))
        finally:
            server.should_exit = True
            thread.join()


POSTS = 60
CLOCK = 1.2


def test_one_exchange_at_a_time(peer: Peer, client: Connections) -> None:
    """Each thread gets the answer to what it has asked."""

    def echoed(number: int) -> bool:
        body = b"%d" % number
        answer = client.send(peer.url, build("POST", "/", content=body), time.monotonic() + 20)
        return b"".join(answer.pieces()) == body

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(echoed, range(300)))
    assert peer.connections <= 8


def test_an_answer_that_is_not_read_costs_its_connection(peer: Peer, client: Connections) -> None:
    answer = client.send(peer(OK, OK), build("GET", "/"), time.monotonic() + 20)
    answer.close()
    answer.close()
    again = client.send(peer.url, build("GET", "/"), time.monotonic() + 20)
    assert b"".join(again.pieces()) == b"ok"
    assert peer.connections == 2


def test_only_so_many_are_kept(
    peer: Peer, client: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_KEPT", 2)
    peer(*[OK] * 6)
    for _ in range(2):
        three = [client.send(peer.url, build("GET", "/"), time.monotonic() + 20) for _ in range(3)]
        for answer in three:
            assert b"".join(answer.pieces()) == b"ok"
    assert peer.connections == 4


def test_none_is_kept_that_was_asked_for_the_last_time(peer: Peer, client: Connections) -> None:
    """Though the peer does not say that it closes it."""
    for _ in "12":
        request = build("POST", "/", last=True)
        assert b"".join(client.send(peer(OK), request, time.monotonic() + 20).pieces()) == b"ok"
        assert b"\r\nconnection: close\r\n" in peer.requests[-1]
    assert peer.connections == 2


def test_none_is_kept_after_the_end(peer: Peer, client: Connections) -> None:
    answer = client.send(peer(OK), build("GET", "/"), time.monotonic() + 20)
    client.close()
    assert b"".join(answer.pieces()) == b"ok"
    assert peer.closed.wait(60)


@pytest.mark.parametrize("pieces", [(), (OK[:-1],)])
def test_deadlines(peer: Peer, send: Send, pieces: tuple[bytes, ...]) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        send(peer(pieces), seconds=0.2)
    assert 0.19 < time.monotonic() - begun < 30


def test_no_time_left(peer: Peer, send: Send) -> None:
    with pytest.raises(TimeoutError):
        send(peer.url, seconds=0)
    assert peer.connections == 0


# --- cut off -----------------------------------------------------------------------------------


@pytest.mark.parametrize("come", [(), (OK[:-1],)], ids=["before the head", "in the body"])
@pytest.mark.parametrize("kept", [False, True])
def test_who_waits_is_cut_off_from_another_thread(
    peer: Peer, client: Connections, come: tuple[bytes, ...], kept: bool
) -> None:
    if kept:
        request = build("GET", "/")
        list(client.send(peer(OK), request, time.monotonic() + 20).pieces())
    peer((*come, *SILENCE))
    cutoff = Cutoff()

    def ask() -> bytes:
        request = build("POST", "/wait")
        answer = client.send(peer.url, request, time.monotonic() + 60, cutoff)
        return b"".join(answer.pieces())

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        peer.silent.wait(60)
        cutoff.now()
        with pytest.raises(ConnectionError):
            asking.result(60)
    assert peer.connections == 1


def test_what_is_cut_off_begins_nothing(peer: Peer, client: Connections) -> None:
    cutoff = Cutoff()
    cutoff.now()
    with pytest.raises(ConnectionError):
        client.send(peer(OK), build("GET", "/"), time.monotonic() + 20, cutoff)


def test_what_has_ended_is_not_cut_off(peer: Peer, client: Connections) -> None:
    """Another call may have the connection by now."""
    cutoff = Cutoff()
    for _ in "12":
        answer = client.send(peer(OK), build("GET", "/"), time.monotonic() + 20, cutoff)
        assert b"".join(answer.pieces()) == b"ok"
    answer = client.send(peer(OK), build("GET", "/"), time.monotonic() + 20)
    cutoff.now()
    assert b"".join(answer.pieces()) == b"ok"
    assert peer.connections == 1


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_checked(
    trusted: bool, client: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(ours)
    if trusted:
        certificate = tmp_path / "authority.pem"
        authority.cert_pem.write_to_path(str(certificate))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def serve() -> None:
            made, _ = listener.accept()
            with suppress(OSError), ours.wrap_socket(made, server_side=True) as secured:
                for _ in range(2):
                    secured.recv(1000)
                    secured.sendall(OK)

        served = thread.submit(serve)
        url = f"https://localhost:{listener.getsockname()[1]}"
        with nullcontext() if trusted else pytest.raises(ssl.SSLCertVerificationError):
            for _ in range(2):
                answer = client.send(url, build("GET", "/"), time.monotonic() + 20)
                assert b"".join(answer.pieces()) == b"ok"
        client.close()
        served.result(60)
