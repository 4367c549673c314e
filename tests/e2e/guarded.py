"""A service elsewhere that wants credentials, in this process, to see what it was shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Shown:
    """One request, with header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Guarded:
    """Lets in who shows ``wants``, a header or a parameter of the query with its value.

    GET or POST /moved?to=URL&status=307 sends on; /limited says 429, Retry-After: 7; /leak says 500
    with all that it was shown, /short 401 with a part of it; /cut ends in the middle of its answer.
    """

    wants: tuple[str, str] = ("", "")
    url: str = ""
    requests: list[Shown] = field(default_factory=list)

    def answer(self, request: Shown) -> tuple[int, dict[str, str], Any]:
        name, value = self.wants
        if name and value not in (request.headers.get(name.lower()), request.query.get(name)):
            return 401, {}, {"error": {"message": "who are you?"}}
        match request.path:
            case "/moved":
                to, status = request.query["to"], request.query.get("status", "307")
                shown = request.query.get(name)
                end = (
                    f"{'&' if '?' in to else '?'}{name}={shown}" if "carry" in request.query else ""
                )
                return int(status), {"Location": to + end}, {}
            case "/limited":
                return 429, {"Retry-After": "7"}, {"error": {"message": "too many of them"}}
            case "/leak":
                return 500, {}, {"detail": f"{request.headers} {request.query}"}
            case "/short":
                return 401, {}, {"error": {"message": f"wrong key: {value[:8]}****{value[-4:]}"}}
        return 200, {}, {"path": request.path, "query": request.query, "headers": request.headers}


@contextmanager
def guarded(wants: tuple[str, str] = ("", "")) -> Iterator[Guarded]:
    """One, while the block lasts."""
    found = Guarded(wants)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            self.rfile.read(int(headers.get("content-length", "0")))
            request = Shown(self.command, url.path, query, headers)
            found.requests.append(request)
            status, more, content = found.answer(request)
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**more, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - its name in http.server

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
