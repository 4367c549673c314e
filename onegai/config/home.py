"""Where things lie: the user's folder, which is the checkout itself unless ONEGAI_HOME is set."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any

from onegai.config import jsonfile, private
from onegai.errors import EditLocked, HomeLocked, NotWritten

LOCK_SECONDS = 1.0
EDIT_SECONDS = 10.0
NOT_OURS_ALONE = frozenset({"gradio", "python", "tools", "uv"})
"""In data/: what apps have written there, and what their folders have links to."""

CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder that holds the ``onegai`` package."""

Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """Tells one state of a file from another; None: there is no file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


@dataclass(frozen=True)
class Home:
    """The user's folder and the names inside it (the contract of the top level)."""

    root: Path

    @classmethod
    def find(cls) -> Home:
        """ONEGAI_HOME, else the folder that holds the ``onegai`` package."""
        named = os.environ.get("ONEGAI_HOME")
        return cls(Path(named).resolve() if named else CHECKOUT)

    @property
    def config(self) -> Path:
        """config.json."""
        return self.root / "config.json"

    @property
    def services(self) -> Path:
        """services.json, the shipped facts."""
        return self.root / "services.json"

    @property
    def services_local(self) -> Path:
        """services.local.json, merged over the shipped facts."""
        return self.root / "services.local.json"

    @property
    def apps(self) -> Path:
        """The folder of installed apps; also the working directory of install scripts."""
        return self.root / "apps"

    @property
    def logs(self) -> Path:
        """data/logs."""
        return self.root / "data" / "logs"

    @cached_property
    def uploads(self) -> Path:
        """data/uploads: the files of calls that run; each call removes its own."""
        return self.root / "data" / "uploads"

    @property
    def files(self) -> Path:
        """data/files: the files that calls gave, for as long as they are kept."""
        return self.root / "data" / "files"

    @property
    def process_notes(self) -> Path:
        """data/processes: which service runs as which process."""
        return self.root / "data" / "processes"

    def process_note(self, app: str) -> Path:
        """data/processes/{app}.json, while its service is ready."""
        return self.process_notes / f"{app}.json"

    @property
    def profiles(self) -> Path:
        """data/vram.json: what the recent runs of each app took."""
        return self.root / "data" / "vram.json"

    @property
    def server_file(self) -> Path:
        """data/server.json: pid and URL of the server that runs for this home."""
        return self.root / "data" / "server.json"

    @property
    def curlrc(self) -> Path:
        """data/curlrc: user name and password, for ``curl -K``."""
        return self.root / "data" / "curlrc"

    def app_log(self, app: str) -> Path:
        """Where the service's stdout and stderr go."""
        return self.logs / f"{app}.log"

    def install_log(self, app: str) -> Path:
        """Where the last install's output is kept."""
        return self.logs / f"install-{app}.log"

    @property
    def func(self) -> Path:
        """The folder of func files."""
        return self.root / "func"

    def func_file(self, app: str) -> Path:
        """func/{app}.py."""
        return _below(self.root, "func", f"{app}.py")

    def discovered(self, app: str) -> Path:
        """data/functions/{app}.json: what the app has told that it can do."""
        return _below(self.root / "data", "functions", f"{app}.json")

    def install_script(self, app: str) -> Path:
        """install/{app}.sh."""
        return _below(self.root, "install", f"{app}.sh")

    def run_files(self, app: str) -> dict[str, Stamp | None]:
        """The state of each run/run_{app}.*, by its path below the home."""
        found = (self.root / "run").glob(f"run_{app}.*")
        return {self.relative(path): stamp(path) for path in found}

    @property
    def install_runner(self) -> Path:
        """install/lib.sh, which runs the install scripts; OneGAI's own where the home has none."""
        here = self.root / "install" / "lib.sh"
        return here if here.is_file() else CHECKOUT / "install" / "lib.sh"

    def relative(self, path: Path) -> str:
        """The path as it is shown to people: below the home where possible."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def schema(self, name: str) -> Path:
        """schemas/{name}.schema.json, of config or services."""
        return self.root / "schemas" / f"{name}.schema.json"

    def running_server(self) -> dict[str, Any] | None:
        """What data/server.json says, if the process that wrote it still holds the lock."""
        try:
            with self._lock_file().open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return jsonfile.read(self.server_file) or {}
        except (OSError, jsonfile.Unreadable):
            return None
        return None

    @contextmanager
    def lock(self, wait: Callable[[dict[str, Any]], None] | None = None) -> Iterator[None]:
        """Be the one writer of this home; the kernel frees it even after kill -9.

        Raises HomeLocked, naming the holder. With ``wait``, a holder that is no server is waited
        for: ``wait`` is called with what it says of itself (pid, command), again and again.
        """
        self._make_data()
        deadline = time.monotonic() + LOCK_SECONDS
        with private.make_file(self._lock_file()).open("a") as lock:
            while not _try_lock(lock):
                # Somebody who looks for the server (``running_server``) has it for a moment.
                other = self.running_server() or {}
                if "url" in other or (wait is None and time.monotonic() > deadline):
                    holder = other.get("url") or other.get("command") or "another program"
                    raise HomeLocked(holder=holder, pid=other.get("pid", "?"))
                if wait is not None and time.monotonic() > deadline:
                    wait(other)
                time.sleep(0.01)
            # What one that was killed said of itself is not what this one says.
            self.server_file.unlink(missing_ok=True)
            for folder in (self.root / "data", self.process_notes):
                jsonfile.remove_left(folder)
            with suppress(EditLocked, NotWritten), self.editing(0):
                pass  # which removes what is left of an edit, too
            try:
                yield
            finally:
                self.server_file.unlink(missing_ok=True)

    @contextmanager
    def editing(self, seconds: float | None = None) -> Iterator[None]:
        """Be the only one that changes config.json and services.local.json: read, then write them.

        Other threads and processes wait, ``seconds`` (10) at most, so this is not for an event
        loop; and it cannot be had twice. Raises EditLocked, naming the holder, and NotWritten.
        """
        path = self.root / "data" / "edit.lock"
        try:
            self._make_data()
            lock = private.make_file(path).open("a+")
        except OSError as error:
            reason = error.strerror or str(error)
            raise NotWritten(file=self.relative(path), reason=reason) from None
        deadline = time.monotonic() + (EDIT_SECONDS if seconds is None else seconds)
        with lock:
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise EditLocked(pid=lock.read() or "?")
                time.sleep(0.01)
            with suppress(OSError):
                os.ftruncate(lock.fileno(), 0)
                os.write(lock.fileno(), b"%d" % os.getpid())
            for path in (self.config, self.services_local):
                whole = Path(os.path.realpath(path))
                jsonfile.remove_left(whole.parent, whole.name)
            yield

    def _make_data(self) -> None:
        """data/, closed to others, with what was open to them before."""
        data = self.root / "data"
        private.make_folder(data)
        private.close(data, NOT_OURS_ALONE)

    def _lock_file(self) -> Path:
        return self.root / "data" / "server.lock"


@lru_cache(maxsize=4096)
def _below(root: Path, folder: str, name: str) -> Path:
    """The same object each time: status asks for some of these for every app."""
    return root / folder / name


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
