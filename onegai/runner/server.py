"""The HTTP server: a thread for each connection."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import sys
import time
from typing import Any

from . import answers, openapi
from .calls import Calls
from .handler import Handler, Shared
from .runfile import RunFile


class Server(Shared):
    """Accepts connections, and has a thread serve each."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = os.name == "posix"  # on Windows it would let two servers share a port

    def __init__(self, host: str, port: int, max_body: int, access_log: bool) -> None:
        """Bind, but do not listen. OSError if the port is taken."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler, bind_and_activate=False)
        self.host = host
        self.max_body = max_body
        self.access_log = access_log
        self._stopping = False
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """As the base class does, without looking up the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    def listen(self, run_file: RunFile, calls: Calls) -> None:
        """Begin to listen. OSError if another process was quicker since the bind."""
        self.run_file, self.calls = run_file, calls
        index = {
            "runner": run_file.name,
            "functions": list(run_file.functions),
            "openapi": "/openapi.json",
        }
        self.documents = {
            "health": answers.to_json({"status": "ok"}),
            "openapi.json": answers.to_json(openapi.document(run_file)),
            "": answers.to_json(index),
        }
        self.server_activate()

    def serve_forever(self, poll_interval: float = 0.1) -> None:
        """Accept until stop_accepting. poll_interval: the pause when descriptors have run out."""
        while not self._stopping:
            try:
                request, address = self.get_request()
            except OSError:
                if not self._stopping:
                    time.sleep(poll_interval)
                continue
            self.process_request(request, address)

    def stop_accepting(self) -> None:
        """Refuse connections from now on; what is connected stays."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the accept of another thread
        self.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        host = "[%s]" % self.host if ":" in self.host else self.host
        return "http://%s:%d" % (host, self.server_port)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)
