"""The test app under real Gradios of each generation, each in a venv of its own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import ROOT, Server, free_port

APP = ROOT / "tests" / "gradio" / "app.py"
LOCKS = {path.stem: path for path in sorted((ROOT / "tests" / "gradio").glob("*.lock"))}
"""By version of Gradio. The head of tests/gradio/README.md says how they are made."""
VENVS = ROOT / "data" / "gradio"
PYTHON = "3.11"
"""Of which the old ones still have wheels."""


class NoVenv(Exception):
    """A venv cannot be made here."""


@dataclass(frozen=True)
class Space:
    """One of the apps, as an entry of a server."""

    version: str
    python: Path
    folder: Path
    """Has its notes and its refusals."""

    @property
    def app(self) -> str:
        return "g" + self.version.replace(".", "_")

    @property
    def generation(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def refusals(self) -> Path:
        return self.folder / f"{self.app}.refusals"

    def notes(self) -> list[str]:
        """What has happened inside of it."""
        path = self.folder / f"{self.app}.notes"
        return path.read_text().splitlines() if path.exists() else []

    @contextlib.contextmanager
    def refusing(self, *lines: str) -> Iterator[None]:
        """Paths that it answers with a status, each as ``"/end status"``."""
        self.refusals.write_text("\n".join(lines))
        try:
            yield
        finally:
            self.refusals.unlink()

    def entry(self, *options: str, **keys: Any) -> dict[str, Any]:
        """Of services.json, on a port of its own."""
        notes = str(self.folder / f"{self.app}.notes")
        command = [str(self.python), "-W", "ignore", str(APP), "--notes", notes]
        command += ["--refusals", str(self.refusals), *options]
        return {
            "type": "gradio",
            "port": free_port(),
            "exec": shlex.join(command),
            "env": {"HF_HUB_OFFLINE": "1", "TMPDIR": str(self.folder)},
            "start_timeout": 120,
            "concurrency": 4,
            **keys,
        }

    def names(self, server: Server, function: str) -> list[str]:
        """What the function's arguments are called."""
        functions = server.get(f"/api/{self.app}").result
        [found] = [one for one in functions if one["name"] == function]
        return [name for name in found["schema"]["properties"] if name != "session"]


def venvs() -> dict[str, Path | NoVenv]:
    """The Python of each, or why there is none. Made once for each lock, all at the same time."""
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / ".lock").open("w") as lock, ThreadPoolExecutor(len(LOCKS)) as threads:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return dict(zip(LOCKS, threads.map(_venv, LOCKS), strict=True))


def _venv(version: str) -> Path | NoVenv:
    content = LOCKS[version].read_bytes() + PYTHON.encode()
    made = VENVS / f"{version}-{hashlib.sha256(content).hexdigest()[:12]}"
    python, complete = made / "bin" / "python", made / "complete"
    if complete.exists() and python.exists():
        return python
    for old in VENVS.glob(f"{version}-*"):
        shutil.rmtree(old)
    own = ROOT / "data" / "tools" / "bin" / "uv"
    uv = str(own) if own.exists() else shutil.which("uv") or ""
    if not uv:
        return NoVenv("there is no uv")
    make = [uv, "venv", "--quiet", "--python", PYTHON, str(made)]
    fill = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python)]
    for command in (make, [*fill, str(LOCKS[version])]):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        if ended.returncode:
            return NoVenv(f"no venv with Gradio {version}: {ended.stderr.strip()[-300:]}")
    complete.touch()
    return python


class Relay:
    """A port whose connections lead to another one, which may change, and can be cut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accept
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def cut(self) -> None:
        """All connections that are open."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._start(self._relay, near)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _relay(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            far = socket.create_connection(("127.0.0.1", self.target))
            with far:
                self._open |= {near, far}
                back = self._start(_pump, far, near)
                _pump(near, far)
                back.join()
                self._open -= {near, far}


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)  # what comes the other way still does
