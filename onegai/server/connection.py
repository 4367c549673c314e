"""A client's connection, with the limits that hold before any guard is asked.

It is uvicorn's protocol for httptools, and differs in what a client may do that has shown no
password, or none yet:

- A head has MOST_HEAD bytes and MOST_LINES header lines at most, and is there within HEAD_SECONDS
  of the accept or of its first byte. Idle between two requests, a connection stays for
  IDLE_SECONDS.
- One request is parsed at a time. What a client sends ahead (pipelining) waits unparsed, one read
  of it at most, and nothing further is read until the answer is complete.
- A body waits in memory up to uvicorn's high-water mark and one read; trailers are dropped. Of
  who has not shown the right password no body is parsed before somebody reads it.
- Who does not read the answer is given up after UNREAD_SECONDS, and so is who stops in the middle
  of a body after IDLE_SECONDS.
- There are only so many connections, and only so many of one address that have not yet shown the
  right password (``Connections``).

Requests are told apart before they are parsed, since httptools parses all that it is given: a head
and a body of chunks both end in CRLF CRLF, and any other body has its Content-Length. So no piece
that the parser gets reaches into the next request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from onegai.errors import (
    HeadTooLarge,
    NotHttp,
    OneGAIError,
    SlowRequest,
    TooManyConnections,
    as_http,
)
from onegai.server.flow import Flow, Writer
from onegai.server.guards import WELCOME
from onegai.server.leaving import CUT

log = logging.getLogger(__name__)

MOST_HEAD = 64 << 10
MOST_LINES = 128
HEAD_SECONDS = 20.0
IDLE_SECONDS = 75.0
UNREAD_SECONDS = 60.0
MOST_STRANGERS = 512
"""Connections of one address at once that have not shown the right password. A page or a script
that begins with hundreds of calls at once has as many for a moment."""
TELL_SECONDS = 60.0
"""Between two log lines about connections that were turned away."""
_END = b"\r\n\r\n"


class Connections(ServerState):
    """All connections of a server; its only clock is that the server calls ``sweep``."""

    def __init__(self, descriptors: int) -> None:
        """Half of the descriptors are for clients: the rest is for apps, files, and the calls that
        clients make, of which each may have a connection to its app."""
        super().__init__()
        self.most = max(descriptors // 2, 1)
        self.most_strangers = min(MOST_STRANGERS, max(self.most // 4, 1))
        self._strangers: dict[str, dict[Connection, None]] = {}
        self._turned_away = 0
        self._told_at = float("-inf")

    def admit(self, new: Connection) -> None:
        """Count a connection in; where there are too many, the oldest stranger goes.

        One that means it shows its password at once, and one that stays silent must not keep
        others out.
        """
        crowd = self._strangers.setdefault(new.address, {})
        crowd[new] = None
        if len(crowd) > self.most_strangers:
            why = f"more than {self.most_strangers} of one address without the password"
        elif len(self.connections) > self.most:
            crowd = max(self._strangers.values(), key=len)
            why = f"more than {self.most}, half of what RLIMIT_NOFILE allows"
        else:
            return
        oldest = next(iter(crowd))
        self.forget(oldest)
        oldest.refuse(TooManyConnections(retry_after=1))
        self._tell(oldest, why)

    def forget(self, stranger: Connection) -> None:
        """It has shown the right password, or is gone."""
        strangers = self._strangers.get(stranger.address, {})
        strangers.pop(stranger, None)
        if not strangers:
            self._strangers.pop(stranger.address, None)

    def sweep(self, now: float) -> None:
        """End what has waited too long; ``now`` is the loop's time. To be called each second."""
        for connection in list(self.connections):
            if isinstance(connection, Connection):
                connection.check(now)

    def _tell(self, closed: Connection, why: str) -> None:
        self._turned_away += 1
        if (now := closed.loop.time()) - self._told_at >= TELL_SECONDS:
            who = (self._turned_away, closed.address)
            log.warning("too many connections: closed %d, the last of them of %s: %s", *who, why)
            self._turned_away, self._told_at = 0, now


class Connection(HttpToolsProtocol):
    """One connection, from accept to close."""

    server_state: Connections
    flow: Flow

    def __init__(
        self,
        config: Config,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address = ""
        self._stranger = True
        self._begun = self._heard = self.loop.time()
        self._unsent, self._unsent_since = 0, 0.0
        self._ahead = b""
        """What was read behind the request that is being answered."""
        self._in_head = True
        """What comes next is a head's, not a body's."""
        self._size = 0
        """Bytes of this head so far; in a body, those since its last content."""
        self._tail = b""
        """The last bytes of what may end in CRLF CRLF."""
        self._left = 0
        """Bytes that are still to come of a body that has one."""
        self._writer: Writer
        """The answer's, of the request that came last."""
        self._wanted = False
        """Somebody reads the request's body."""
        self._upgrade = False
        """It asks for another protocol, which nobody speaks: an ordinary request (RFC 9110, 7.8),
        but one whose body httptools does not know."""

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it in."""
        super().connection_made(transport)
        self.flow = Flow(transport, self._body_wanted)
        self.address = self.client[0] if self.client else ""
        self.server_state.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self.server_state.forget(self)
        self._ahead = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse up to the end of this request; keep what is behind it."""
        self._heard = self.loop.time()
        data, self._ahead = self._ahead + data, b""
        at = 0
        while at < len(data) and not self.transport.is_closing():
            if self._in_head and self.cycle is not None:
                if not self.cycle.response_complete:
                    self._ahead = data[at:]
                    self.flow.hold()
                    return
                if not self._size:
                    self._begun = self._heard
            elif self._stranger and not self._in_head and not self._wanted:
                self._ahead = data[at:]
                self.flow.hold()
                return
            piece = self._piece(data, at)
            self._parse(piece)
            at += len(piece)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self.scope["state"][CUT] = self.cut
        if self._stranger:
            self.scope["state"][WELCOME] = self._welcome

    def on_headers_complete(self) -> None:
        """The head is there, and the request can begin."""
        if len(self.headers) > MOST_LINES:
            raise HeadTooLarge(limit=f"{MOST_LINES} header lines")
        headers = dict(self.headers)
        self._in_head, self._size, self._wanted = False, 0, False
        self._left = int(headers.get(b"content-length", 0))
        self._upgrade = self.parser.should_upgrade()
        if self._upgrade and b"transfer-encoding" in headers:
            raise NotHttp(reason="an Upgrade with a body in chunks")
        super().on_headers_complete()
        self._writer = self.cycle.transport = Writer(self.transport, self.loop)
        self.headers = []  # Trailers would go where the headers are.

    def on_body(self, body: bytes) -> None:
        """Some of the body. After the answer it is dropped."""
        self._size = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; for httptools, one with an Upgrade already behind its head."""
        if self._left:
            return
        self._in_head, self._size = True, 0
        super().on_message_complete()

    # What the request's cycle calls.

    def on_response_complete(self) -> None:
        """Go on with what was sent ahead; of a stranger it is not worth the work.

        Without uvicorn's timer for each request.
        """
        self.server_state.total_requests += 1
        if self._stranger and (self._ahead or not self._in_head):
            self.transport.close()
        if self.transport.is_closing():
            return
        self._begun = self.loop.time()
        self._go_on()

    def _body_wanted(self) -> None:
        if not self._wanted:
            self._wanted = True
            if not self._in_head:
                self._go_on()

    def _go_on(self) -> None:
        self._heard = self.loop.time()
        if self.flow.read_paused:
            self.flow.go_on()
        if self._ahead:
            self.data_received(b"")

    # Ends.

    def check(self, now: float) -> None:
        """End it if it has waited too long, for more or for being read."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since >= UNREAD_SECONDS:
            self.transport.abort()
        if self.transport.is_closing():
            return
        silent = now - self._heard >= IDLE_SECONDS
        if self._answering:
            if silent and not self._in_head and not self.flow.read_paused:
                self.refuse(SlowRequest(what="body", seconds=IDLE_SECONDS))
        elif self._in_head and not self._size and self.cycle is not None:
            if silent:
                self.transport.close()
        elif now - self._begun >= HEAD_SECONDS:
            if self._in_head:
                self.refuse(SlowRequest(what="head", seconds=HEAD_SECONDS))
            else:
                self.transport.close()

    def refuse(self, error: OneGAIError) -> None:
        """Answer with the error, unless another answer has begun, and close."""
        if self.transport.is_closing():
            return
        if not (self._answering and self.cycle.response_started):
            self.transport.write(self._encoded(error))
        self.cut()

    def cut(self) -> None:
        """Close, though an answer is not complete; what has been sent of it still goes out."""
        if self._answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._writer.flush()
        self.transport.close()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _welcome(self) -> None:
        """A guard has seen the right password."""
        self._stranger = False
        self.server_state.forget(self)

    def _piece(self, data: bytes, at: int) -> bytes:
        """What comes next, at most up to the end of a head or a body."""
        if self._left:
            piece = data[at : at + self._left]
            self._left -= len(piece)
            return piece
        if self._tail and (joint := (self._tail + data[at : at + 3]).find(_END)) >= 0:
            end = at + joint + len(_END) - len(self._tail)
        elif (found := data.find(_END, at)) >= 0:
            end = found + len(_END)
        else:
            piece = data[at:]
            self._tail = (self._tail + piece[-3:])[-3:]
            self._size += len(piece)
            return piece
        self._tail = b""
        self._size += end - at
        return data[at:end]

    def _parse(self, piece: bytes) -> None:
        if self._in_head and self._size > MOST_HEAD:
            self.refuse(HeadTooLarge(limit=f"{MOST_HEAD >> 10} KiB"))
            return
        if self._upgrade and not self._in_head:
            self.on_body(piece)
            if not self._left:
                self.on_message_complete()
            return
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            cause = error.__context__
            if not isinstance(cause, OneGAIError):
                cause = NotHttp(reason="its address cannot be read" if cause else str(error))
            self.refuse(cause)
        else:
            if self._size > MOST_HEAD:
                self.refuse(HeadTooLarge(limit=f"{MOST_HEAD >> 10} KiB of trailers"))

    def _encoded(self, error: OneGAIError) -> bytes:
        status, headers, body = as_http(error)
        every = [*self.server_state.default_headers, *headers]
        lines = b"".join(b"%s: %s\r\n" % header for header in every if header[0] != b"connection")
        return STATUS_LINE[status] + lines + b"connection: close\r\n\r\n" + body
