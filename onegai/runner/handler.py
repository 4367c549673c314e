"""One connection: HTTP/1.1 with keep-alive, requests in and answers out."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import socket
import sys
import time
from typing import Any, Dict, Optional
from urllib.parse import unquote

from . import answers, requests
from .answers import JSON, Answer, Pieces, RequestError
from .calls import Calls, ClientLeftError, failures, log_failure
from .runfile import Function, RunFile

STALL = 60
"""Seconds a client may take no byte, or send none of a request it has begun."""
IDLE = 300
"""Seconds a kept-alive connection may stay unused."""
LINGER = 2
_SMALL = 65536


class Shared(http.server.ThreadingHTTPServer):
    """What the handlers of all connections share."""

    host: str
    max_body: int
    access_log: bool
    run_file: RunFile
    calls: Calls
    documents: Dict[str, bytes]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the functions of server.run_file."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    server: Shared
    path = ""
    began = 0.0
    unread = False

    def handle_one_request(self) -> None:
        """Serve one request; the next may be waited for longer than one may stall."""
        with contextlib.suppress(OSError):
            self.connection.settimeout(IDLE)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """The first line has come, so the request has begun."""
        self.connection.settimeout(STALL)
        self.began = time.perf_counter()
        self.unread = False
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        """Do not invite a body that will be refused."""
        length = self.headers.get("Content-Length", "0")
        if length.isdigit() and int(length) > self.server.max_body:
            return True
        return super().handle_expect_100()

    def _answer(self) -> None:
        try:
            self.unread = True
            self.unread = requests.framing(self.headers) != (False, 0)
            requests.check_origin(self.headers, self.server.host)
            name = unquote(self.path.partition("?")[0]).strip("/")
            if self.command in ("GET", "HEAD") and name in self.server.documents:
                self._send(Answer(JSON, body=self.server.documents[name]))
            else:
                function = self._function(name)
                with self.server.calls.request():
                    self._call(function)
        except RequestError as error:
            self._refuse(error)
        except ClientLeftError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - the base class's names
    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def _function(self, name: str) -> Function:
        function = self.server.run_file.functions.get(name)
        if function is not None and self.command == "POST":
            return function
        if function is None and name not in self.server.documents:
            functions = list(self.server.run_file.functions)
            raise RequestError(404, "there is no function " + (name or "/"), functions=functions)
        allow = "GET, HEAD" if function is None else "POST"
        text = "/%s takes %s" % (name, allow)
        raise RequestError(405, text, {"Allow": allow}, allow=allow)

    def _call(self, function: Function) -> None:
        body = requests.read_body(self.headers, self.rfile, self.server.max_body)
        self.unread = False
        args = requests.parse_args(body)
        try:
            with self.server.calls.turn(self._left):
                with failures(function):
                    answer = answers.of(self.server.calls.call(function, args))
                if answer.pieces is not None:
                    self._stream(answer.media_type, answer.pieces, function)
                    return
            self._send(answer)
        except RequestError as error:  # told while the request still holds off the runner's end
            self._refuse(error)

    def _left(self) -> bool:
        """Whether the client has hung up; data it sent ahead stays where it is."""
        try:
            self.connection.settimeout(0)
            return not self.connection.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        finally:
            with contextlib.suppress(OSError):
                self.connection.settimeout(STALL)

    def _head(self, status: int, headers: Dict[str, str]) -> bytes:
        self.close_connection = self.close_connection or self.unread
        if self.server.access_log:
            took = (time.perf_counter() - self.began) * 1000
            line = "%s %s %d %.1f ms" % (self.command, self.path, status, took)
            print(line, file=sys.stderr, flush=True)
        lines = ["HTTP/1.1 %d %s" % (status, http.client.responses.get(status, ""))]
        lines += ["%s: %s" % item for item in headers.items()]
        lines += ["Date: " + self.date_time_string(), "X-Content-Type-Options: nosniff"]
        if self.close_connection:
            lines.append("Connection: close")
        elif self.request_version == "HTTP/1.0":
            lines.append("Connection: keep-alive")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _send(
        self, answer: Answer, status: int = 200, headers: Optional[Dict[str, str]] = None
    ) -> None:
        """A small answer leaves in one write: a second would wait for the client's delayed ACK."""
        body = answer.body or b""
        length = os.fstat(answer.file.fileno()).st_size if answer.file else len(body)
        facts = {"Content-Type": answer.media_type, "Content-Length": str(length)}
        head = self._head(status, dict(facts, **(headers or {})))
        if answer.file is not None:
            with answer.file:
                self.connection.sendall(head)
                self.connection.sendfile(answer.file, count=length or None)
        elif self.command == "HEAD":
            self.connection.sendall(head)
        elif length <= _SMALL:
            self.connection.sendall(head + body)
        else:
            self.connection.sendall(head)
            self.connection.sendall(body)

    def _stream(self, media_type: str, pieces: Pieces, function: Function) -> None:
        """Send pieces as they come. A failure, or a client that left, ends it without end mark."""
        chunked = self.request_version >= "HTTP/1.1"
        headers = {"Content-Type": media_type, "Cache-Control": "no-store"}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        self.close_connection = self.close_connection or not chunked
        try:
            self.connection.sendall(self._head(200, headers))
            for piece in pieces:
                if self._left():
                    raise ConnectionAbortedError
                if piece:
                    self.connection.sendall(_chunk(piece) if chunked else piece)
            if chunked:
                self.connection.sendall(b"0\r\n\r\n")
        except (ConnectionError, socket.timeout):
            self.close_connection = True
        except Exception:  # noqa: BLE001 - the status is already sent
            log_failure(function)
            self.close_connection = True
        finally:
            with contextlib.suppress(RequestError), failures(function):
                pieces.close()

    def _refuse(self, error: RequestError) -> None:
        self._send(Answer(JSON, body=error.body()), error.status, error.headers)
        if self.unread:
            self._linger()

    def _linger(self) -> None:
        """Read what still comes: closing on unread bytes would reset, and lose the answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.5)
            until = time.monotonic() + LINGER
            while time.monotonic() < until and self.connection.recv(_SMALL):
                pass

    def send_error(
        self, code: int, message: Optional[str] = None, explain: Optional[str] = None
    ) -> None:
        """What the base class calls when a request cannot be parsed."""
        self.unread = True
        text = message or explain or http.client.responses.get(int(code), "")
        self._refuse(RequestError(int(code), text))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """The base class's log is not used."""


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)
