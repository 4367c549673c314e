"""HTTP/1.1 for threads, over connections that are kept: what a sync handle sends with.

A small request takes a quarter of what it takes urllib3, as httptools reads the answers.
"""

from __future__ import annotations

import functools
import re
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote

import httptools
import urllib3

from onegai import __version__
from onegai.handles.cutoff import Cutoff
from onegai.handles.http import Request
from onegai.handles.redirects import REDIRECTS, Origin, is_redirect, parted, redirected

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 1.0
"""Of a kept connection that is used again. Apps close theirs by a clock of their own (uvicorn's is
5 s), and one that does so just as a request comes leaves it unanswered."""
_KEPT = 64
"""Idle connections at most, to all services together."""
_PIECE = 1 << 16
_DEFLATED_PIECE = 1 << 20
_ADDED = {"accept-encoding": "identity", "user-agent": f"OneGAI/{__version__}"}
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
_NEVER_WITH_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
_RESERVED = "!$&'()*+,/:;=?@[]~"
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


class Connections:
    """Sends requests. From any thread; no two share a connection at a time.

    Certificates are checked against the machine's own. No proxy is followed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False

    def send(
        self, base: str, request: Request, deadline: float, cutoff: Cutoff | None = None
    ) -> Answer:
        """The answer, of which the head is here; redirects are followed.

        ``deadline``, of the body too, is in ``time.monotonic`` seconds: TimeoutError. Whatever is
        wrong with the connection, or with what comes over it, is another OSError; so is ``cutoff``.
        """
        cutoff = cutoff or Cutoff()
        for _ in range(REDIRECTS + 1):
            origin, prefix = parted(base)
            message = _message(origin, prefix, request)
            answer = self._exchange(origin, message, request, deadline, cutoff)
            location = answer.headers.get("location")
            if location is None or not is_redirect(answer.status, location):
                return answer
            answer.close()
            base, request = redirected(base, request, answer.status, location)
        raise ConnectionError(f"it redirects more than {REDIRECTS} times")

    def keep(self, connection: _Connection) -> None:
        """Its answer has been read, and another may be asked for. The oldest make room."""
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
            surplus = self._idle if self._closed else self._idle[:-_KEPT]
            self._idle = self._idle[len(surplus) :]
        for one in surplus:
            one.close()

    def close(self) -> None:
        """Close what is idle, and keep none from now on."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(
        self, origin: Origin, message: bytes, request: Request, deadline: float, cutoff: Cutoff
    ) -> Answer:
        """Over the connection that was used last and is still open, else over a new one.

        Where a kept one is closed instead of an answer, the request is sent again over a new one,
        if it is certain that the app has not heeded it or harmless if it has (RFC 9110, 9.2.2).
        """
        while (kept := self._take(origin)) is not None:
            if not kept.usable():
                kept.close()
                continue
            try:
                return kept.exchange(self, message, request, deadline, cutoff)
            except ConnectionError:
                heard_of = kept.begun and request.method not in _IDEMPOTENT
                if heard_of or kept.answered:
                    raise
                break
        new = _Connection(origin, self._tls if origin.secure else None, deadline)
        return new.exchange(self, message, request, deadline, cutoff)

    def _take(self, origin: Origin) -> _Connection | None:
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place].origin == origin:
                    return self._idle.pop(place)
        return None

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()


class Answer:
    """Status and headers, whose names are found in any case; ``pieces`` gives the body.

    That must be here by ``deadline``, in ``time.monotonic`` seconds.
    """

    def __init__(self, owner: Connections, connection: _Connection, deadline: float) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = urllib3.HTTPHeaderDict(connection.headers)
        self._owner = owner
        self._connection: _Connection | None = connection
        self.deadline = deadline

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, without its Content-Encoding; after it the connection is kept."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        inflate = encoding in ("gzip", "x-gzip", "deflate")
        return _inflated(self._pieces(), encoding) if inflate else self._pieces()

    def close(self) -> None:
        """Wait for no more of it. Twice is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _pieces(self) -> Iterator[bytes]:
        if (connection := self._connection) is None:
            return
        try:
            while True:
                if piece := connection.received():
                    yield piece
                if connection.complete:
                    break
                connection.receive(self.deadline)
            if connection.kept_alive:
                self._connection = None
                connection.rest()
                self._owner.keep(connection)
        finally:
            self.close()


class _Connection:
    """One connection, and the answer that comes over it: httptools calls the ``on_`` methods."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, deadline: float) -> None:
        self.origin = origin
        self._socket = _connected(origin, tls, deadline)
        self.idle_since = 0.0
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._parser = httptools.HttpResponseParser(self)
        # What aiohttp allows, too.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    def usable(self) -> bool:
        """Idle for a moment only; not closed, and nothing came that was not asked for."""
        return time.monotonic() - self.idle_since < IDLE_SECONDS and not self._readable.poll(0)

    def exchange(
        self,
        owner: Connections,
        message: bytes,
        request: Request,
        deadline: float,
        cutoff: Cutoff,
    ) -> Answer:
        """Send a request and receive the head of its answer; closed if that fails."""
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.complete = self.kept_alive = False
        self._head = False
        self._body: list[bytes] = []
        self.begun = self.answered = False
        self._cutoff = cutoff
        cutoff.add(self)
        try:
            self._socket.settimeout(_left(deadline))
            body = request.body or b""
            first = message + body if len(body) < _PIECE else message
            # Who has answered and closed before all was sent has said why.
            with suppress(BrokenPipeError):
                sent = self._socket.send(first)
                self.begun = True
                if sent < len(first):
                    self._socket.sendall(first[sent:])
                if len(body) >= _PIECE:
                    self._socket.sendall(body)
            while not self._head:
                self.receive(deadline)
            self.kept_alive &= not request.is_last
        except BaseException:
            self.close()
            raise
        if request.method == "HEAD":
            # The parser cannot know that the body that is announced will not come.
            self.complete, self.kept_alive = True, False
        return Answer(owner, self, deadline)

    def receive(self, deadline: float) -> None:
        """Wait for more and take it in."""
        self._socket.settimeout(_left(deadline))
        data = self._socket.recv(_PIECE)
        if not data:
            if not self._head or self._ends_by_itself():
                raise ConnectionError("it closed the connection before its answer was complete")
            self.complete = True
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.kept_alive = False
            if not self.complete:
                raise ConnectionError(f"its answer is not HTTP: {error}") from None

    def received(self) -> bytes:
        """What has come of the body since the last time."""
        received, self._body = b"".join(self._body), []
        return received

    def cut(self) -> None:
        """See Exchange."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def rest(self) -> None:
        """No answer is under way."""
        self._cutoff.discard(self)

    def close(self) -> None:
        """Close it."""
        self.rest()
        self._socket.close()

    def _ends_by_itself(self) -> bool:
        """Else the body lasts until the connection is closed (RFC 9112, 6.3)."""
        values = {name.lower(): value for name, value in self.headers}
        chunked = "chunked" in values.get("transfer-encoding", "").lower()
        return chunked or "content-length" in values

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("more than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._head = self.status >= 200
        self.kept_alive = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = self._head
        if not self._head:  # 100 Continue and its like
            self.headers.clear()


def _connected(origin: Origin, tls: ssl.SSLContext | None, deadline: float) -> socket.socket:
    left = _left(deadline)
    try:
        made = socket.create_connection((origin.host, origin.port), min(left, CONNECT_SECONDS))
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made if tls is None else tls.wrap_socket(made, server_hostname=origin.host)
        except BaseException:
            made.close()
            raise
    except TimeoutError:
        if left <= CONNECT_SECONDS:
            raise
        raise ConnectionError(f"no connection within {CONNECT_SECONDS:g} s") from None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _message(origin: Origin, prefix: str, request: Request) -> bytes:
    """The head of a request. Raises ValueError where it would be more than one."""
    sent, own = request.sent()
    target = (prefix + sent).partition("#")[0]
    percent = "" if "%" in target and _STRAY_PERCENT.search(target) else "%"
    target = quote(target, safe=_RESERVED + percent)
    headers = {"host": origin.header, **_ADDED, **own}
    if request.body is not None or request.method not in _NEVER_WITH_BODY:
        headers.setdefault("content-length", str(len(request.body or b"")))
    lines = [f"{request.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\n".join(lines)
    if head.count("\n") >= len(lines) or "\r" in head or "\0" in head:
        raise ValueError("a line break in a header or in the method of a request")
    return head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"


def _inflated(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """What gzip or deflate have made small; some send deflate without its header."""
    inflate = None
    try:
        for piece in pieces:
            if inflate is None:
                bare = encoding == "deflate" and piece[0] & 15 != zlib.DEFLATED
                inflate = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
            rest = piece
            while rest and not inflate.eof:
                if large := inflate.decompress(rest, _DEFLATED_PIECE):
                    yield large
                rest = inflate.unconsumed_tail
        if inflate is not None and (last := inflate.flush()):
            yield last
    except zlib.error as error:
        raise ConnectionError(f"its {encoding} cannot be read: {error}") from None
    if inflate is not None and not inflate.eof:
        raise ConnectionError(f"its {encoding} ends too early")
