"""A server that speaks as Hugging Face does: /api/models/…?blobs=true and …/resolve/….

Files are redirected to another path, as they are to Hugging Face's storage, with ranges and an
ETag.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from urllib.parse import unquote

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append((path, self.headers.get("Range", "")))
        self.server.shown[path] = self.headers.get("Authorization", "")
        if path.startswith("/api/models/"):
            self._about(path.removeprefix("/api/models/").partition("/revision/")[0], query)
        elif "/resolve/" in path:
            repository, _, file = path[1:].partition("/resolve/")
            self._elsewhere(repository, unquote(file.partition("/")[2]))
        else:
            self._content(unquote(path.removeprefix("/storage/")))

    def _about(self, repository: str, query: str) -> None:
        files = self.server.repositories.get(repository)
        if files is None or not self._may(repository):
            self._answer(401, b'{"error":"Invalid username or password."}')
            return
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "lfs": {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 135,
                },
            }
            for name, content in files.items()
        ]
        if "blobs=true" not in query.lower():
            siblings = [{"rfilename": one["rfilename"]} for one in siblings]
        about = {"id": repository, "sha": REVISION, "private": False, "siblings": siblings}
        self._answer(200, dumps(about).encode())

    def _may(self, repository: str) -> bool:
        token = self.server.tokens.get(repository)
        return token is None or self.headers.get("Authorization") == f"Bearer {token}"

    def _elsewhere(self, repository: str, file: str) -> None:
        content = self.server.repositories.get(repository, {}).get(file)
        if content is None or not self._may(repository):
            self._answer(404 if content is None else 401, b"")
            return
        digest = hashlib.sha256(content).hexdigest()
        self.send_response(302)
        self.send_header("Location", f"/storage/{repository}/{file}")
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self, path: str) -> None:
        user, name, file = path.split("/", 2)
        content, begin = self.server.repositories[f"{user}/{name}"][file], 0
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        wanted = self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range", etag) == etag:
            begin = int(wanted.removeprefix("bytes=").partition("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content[begin : begin + self.server.cut])
        if len(content) - begin > self.server.cut:
            self.server.held.wait(self.server.patience)
            self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


class Hub(ThreadingHTTPServer):
    """``repositories``: files by repository. ``cut``: bytes after which an answer breaks off."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.tokens: dict[str, str] = {}
        self.cut = 1 << 62
        self.patience = 0.0
        """Seconds that a cut answer stays open, unless ``held`` is set."""
        self.held = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.shown: dict[str, str] = {}
        """The Authorization that each path was asked with."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ranges(self, file: str) -> list[str]:
        return [wanted for path, wanted in self.asked if path.endswith(file) and "storage" in path]


@contextmanager
def hub(repositories: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    with Hub(repositories) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.held.set()
            server.shutdown()
            thread.join()
