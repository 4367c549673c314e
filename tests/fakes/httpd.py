"""A small HTTP server for the fakes: sockets and threads, as http.server takes 40 ms to import."""

import argparse
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

_LISTENING: list[socket.socket] = []
Body = bytes | Iterator[bytes]
REASONS = {200: "OK", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case; of a repeated one the values joined by ", "
    body: bytes


@dataclass
class Answer:
    body: Body
    media_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(json.dumps(value).encode(), "application/json", status, headers or {})


def options(about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True, help="0: a free one, printed")
    parser.add_argument("--host", default="127.0.0.1")
    return parser


def serve(host: str, port: int, answer: Callable[[Request], Answer]) -> None:
    """Listen, print the address, and answer for ever."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128)
    print(f"listening on http://{host}:{listener.getsockname()[1]}", flush=True)
    _LISTENING.append(listener)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            forever()
        threading.Thread(target=_connection, args=(connection, answer), daemon=True).start()


def close_port() -> None:
    """Be there, and reachable for nobody: connections close with their present answer."""
    for listener in _LISTENING:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    _LISTENING.clear()


def forever() -> None:
    while True:
        time.sleep(3600)


def _connection(connection: socket.socket, answer: Callable[[Request], Answer]) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = connection.makefile("rb")
        while request := _read(stream, connection):
            _send(connection, answer(request))
            if request.headers.get("connection", "").lower() == "close" or not _LISTENING:
                return


def _read(stream, connection: socket.socket) -> Request | None:
    words = stream.readline().split()
    if len(words) != 3:
        return None
    headers: dict[str, str] = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    method, target = words[0].decode(), words[1].decode("latin-1")
    path, _, query = target.partition("?")
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    return Request(method, unquote(path), pairs, headers, _body(stream, headers))


def _body(stream, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return stream.read(int(headers.get("content-length", "0")))
    body = bytearray()
    while size := int(stream.readline().partition(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return bytes(body)


def _send(connection: socket.socket, answer: Answer) -> None:
    head = f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, '')}\r\n"
    head += f"Content-Type: {answer.media_type}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    if isinstance(answer.body, bytes):
        head += f"Content-Length: {len(answer.body)}\r\n\r\n"
        connection.sendall(head.encode() + answer.body)
        return
    try:
        connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        for piece in answer.body:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
    finally:
        answer.body.close()
