"""Running the server: its socket, its banner, its log, its signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import logging.handlers
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import uvicorn
import uvloop

from onegai.config import curlrc, jsonfile, private
from onegai.config.changes import KeyPath
from onegai.config.current import Current
from onegai.config.editing import change_config
from onegai.config.home import Home
from onegai.config.settings import Settings, make_config, read_settings
from onegai.engine.engine import Engine
from onegai.errors import ConfigError, OneGAIError
from onegai.process import sockets, tree
from onegai.process.escapes import clean
from onegai.schema import Problem
from onegai.server.app import App
from onegai.server.banner import banner
from onegai.server.connection import Connection, Connections
from onegai.threads import leave_stuck_tasks, leave_stuck_threads

log = logging.getLogger(__name__)

MOST_FILES = 65_536
"""Open at once: a connection is a file, and 1024, the usual limit, are few."""
GRACE_SECONDS = 2
"""How long requests may go on after Ctrl-C."""


def serve(home: Home, *, host: str | None, port: int | None) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP. Raises ConfigError, HomeLocked."""
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    descriptors = _allow_many_files()
    with home.lock():
        _log_to(home.logs / "onegai.log")
        arguments = {"host": host, "port": port}
        settings, problems, listener, made = _begin(home, arguments)
        tree.become_subreaper()
        with listener:
            _remember(home, host=host, port=port or None)
            url = curlrc.url_of(settings.host, listener.getsockname()[1])
            jsonfile.write(home.server_file, {"pid": os.getpid(), "url": url})
            curlrc.write(home, settings)
            engine = Engine(Current(home, settings, problems, arguments))
            greeting = banner(settings, url, made)
            uvloop.run(_run(engine, settings, listener, greeting, descriptors))
    leave_stuck_threads()


def _begin(
    home: Home, arguments: dict[str, Any]
) -> tuple[Settings, list[Problem], socket.socket, bool]:
    """Listen, and make config.json where there is none; True: with the password in effect.

    Not before: a start that fails shows no banner, and so no password.
    """
    while True:
        settings, problems, first = read_settings(home, arguments)
        listener = _listen(settings)
        if first is None or make_config(home, first):
            made = first is not None and first["password"] == settings.password
            return settings, problems, listener, made
        listener.close()


def _remember(home: Home, **given: str | int | None) -> None:
    """Have config.json say so, too, where it is usable then without this start's environment."""
    values: dict[KeyPath, str | int]
    values = {(key,): value for key, value in given.items() if value is not None}
    if values:
        try:
            change_config(home, values)
        except OneGAIError as error:
            keys = " and ".join(key for (key, *_) in values)
            log.warning("%s cannot be remembered: %s", keys, error.message)


def _allow_many_files() -> int:
    """As far as the system lets any user go (getrlimit(2)); what is started inherits it.

    Returns how many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def _as_ctrl_c(_number: int, frame: FrameType | None) -> None:
    """Until the server handles both by itself, a SIGTERM does what Ctrl-C does at this moment."""
    handle = signal.getsignal(signal.SIGINT)
    if callable(handle):
        handle(signal.SIGINT, frame)


async def _run(
    engine: Engine,
    settings: Settings,
    listener: socket.socket,
    greeting: str,
    descriptors: int,
) -> None:
    async with engine:
        server = _Server(
            uvicorn.Config(
                App(engine, settings),
                lifespan="off",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                http=Connection,
            ),
            descriptors,
        )
        server.handle_signals()
        print(greeting, flush=True)  # noqa: T201 - the banner is for the terminal
        for problem in engine.problems():
            log.warning("%s", problem.in_words())
        # What is there by now stays. To look through all of it takes the collector over 40 ms.
        gc.collect()
        gc.freeze()
        await server.serve(sockets=[listener])
        server.hurry = engine.hurry
        log.info("stopping the services")
    if engine.current.settings.stop_children and (pids := tree.end_children()):
        log.info("ended what the services had left: pid %s", ", ".join(map(str, pids)))
    await leave_stuck_tasks()
    log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn, with signals that only note what is wanted: a Ctrl-C is a clean end.

    So is a terminal that is closed, unless nohup or its like has it that nothing happens.
    """

    hurry: Callable[[], None] | None = None
    """What a further Ctrl-C does when all that is left is to wait for the services."""

    def __init__(self, config: uvicorn.Config, descriptors: int) -> None:
        super().__init__(config)
        self._connections = self.server_state = Connections(descriptors)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # once a second
            self._connections.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        if self.hurry is not None:
            self.hurry()
        elif self.should_exit:
            self.force_exit = True
        else:
            log.info("stopping")
        self.should_exit = True


def _listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises ConfigError, naming who has the port.

    A connection that goes by itself is waited for: the kernel takes clients' ports from where
    58080 is.
    """
    begun, told = time.monotonic(), False
    where = f"{settings.host}:{settings.port}"
    while True:
        try:
            return _bound(settings)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                reason, do = f"cannot listen there: {error.strerror}", "correct host and port"
                raise ConfigError(where=where, reason=reason, do=do) from None
        if time.monotonic() - begun >= sockets.wait_worth(settings.port):
            reason = f"the port is taken by {_who(settings.port)}"
            do = "stop that program, or start with another port: bash run.sh --port 58081"
            raise ConfigError(where=where, reason=reason, do=do)
        if not told:
            log.info("waits until no connection has port %d", settings.port)
            told = True
        time.sleep(sockets.PORT_EVERY)


def _bound(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _who(port: int) -> str:
    """The holder of a port; another OneGAI by its folder."""
    for process in psutil.process_iter(["cmdline"]):
        if "onegai" not in (process.info["cmdline"] or []):
            continue
        try:
            if any(listener.port == port for listener in sockets.listeners([process.pid])):
                folder = process.environ().get("ONEGAI_HOME") or process.cwd()
                return f"the OneGAI of {folder} (pid {process.pid})"
        except psutil.Error:
            continue
    return sockets.port_holder(port)


def _log_to(path: Path) -> None:
    """INFO to the terminal in short, everything with time to a rotating file."""
    private.make_folder(path.parent)
    to_file = _PrivateLog(path, maxBytes=5 << 20, backupCount=2)
    to_file.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(_Short("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # Of a full disk the terminal would show a traceback for each line that the file lacks.
    logging.raiseExceptions = False


class _PrivateLog(logging.handlers.RotatingFileHandler):
    """A log that others cannot read, after each rotation, too."""

    def _open(self) -> TextIOWrapper:
        private.make_file(Path(self.baseFilename))
        return super()._open()


class _Plain(logging.Formatter):
    """What apps and requests say cannot control the terminal that shows it."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


class _Short(logging.Formatter):
    """Plain, too; tracebacks are in the file only."""

    def format(self, record: logging.LogRecord) -> str:
        mark = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return mark + clean(record.getMessage())
