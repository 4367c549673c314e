"""Is it ready? Asked of a starting child until it is, it ends, or its time is up."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import aiohttp

from onegai.config import patterns
from onegai.config.entry import CAP_FACTOR, AppSpec
from onegai.config.home import stamp
from onegai.config.masking import masked
from onegai.errors import NeverReady, PortTaken, Unreachable, reason
from onegai.process import sockets
from onegai.process.child import Child
from onegai.process.logfile import LogFile, Reader
from onegai.supervisor.asking import Asking

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
CONNECT_EVERY = 0.01
REMOTE_SECONDS = 10.0
HTTP_FIRST, HTTP_LAST = 0.02, 0.25


class Patience:
    """The time a start has left: ``seconds`` since the log last grew, four times that in all.

    They are asked for anew each time, as somebody may give it more while it goes on.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        log: LogFile,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self.log = log
        self._clock = clock
        self._started = self._grew = clock()
        self._stamp = stamp(log.path)

    def used_up(self) -> str | None:
        """Why the waiting is over; None while it is not."""
        now, seen, seconds = self._clock(), stamp(self.log.path), self._seconds()
        if seen != self._stamp:
            self._stamp, self._grew = seen, now
        if now - self._started > CAP_FACTOR * seconds:
            return f"{CAP_FACTOR * seconds:g} s in all"
        if now - self._grew > seconds:
            return f"{seconds:g} s without a line in its log"
        return None


async def wait_for_port(spec: AppSpec) -> None:
    """Return once the app can listen on its port. Raises PortTaken, naming who has it.

    What goes by itself is waited for (``sockets.wait_worth``). SO_REUSEADDR lets what is left of
    the app's own last run pass (socket(7)).
    """
    assert spec.port is not None
    begun, told = time.monotonic(), False
    while (error := _bind_error(spec.port)) is not None:
        if isinstance(error, PermissionError):
            holder = "the system (ports below 1024 need root)"
            raise PortTaken(app=spec.app, port=spec.port, holder=holder)
        if time.monotonic() - begun >= sockets.wait_worth(spec.port):
            holder = await asyncio.to_thread(sockets.port_holder, spec.port)
            raise PortTaken(app=spec.app, port=spec.port, holder=holder)
        if not told:
            log.info("%s: waits until no connection has port %d", spec.app, spec.port)
            told = True
        await asyncio.sleep(sockets.PORT_EVERY)


def _bind_error(port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None


async def wait_until_ready(
    entry: Callable[[], AppSpec],
    child: Child,
    log: LogFile,
    since: int | None,
    session: aiohttp.ClientSession,
) -> None:
    """Return once the child's own listener answers as ``ready`` asks in its entry, as that is now.

    ``since`` is where the log ended before the start; None: it has been ready before, and need not
    say so in its log once more. Raises NeverReady or PortTaken; the child's end
    is watched by the caller. The port is tried every 10 ms, HTTP at once and then ever slower
    (20 → 250 ms), so that a quick app is noticed quickly and a slow one costs nothing.
    """
    patience = Patience(lambda: entry().start_timeout, log)
    await _listening(entry(), child, patience)
    announcement = Announcement(log, since or 0)
    pause = HTTP_FIRST
    while True:
        spec = entry()
        if spec.ready.tcp or (since is None and spec.ready.log is not None):
            return
        if spec.ready.log is None:
            answer = await _http_answer(spec, session)
        else:
            answer = await asyncio.to_thread(announcement.missing, spec)
        if answer is None:
            return
        if (over := patience.used_up()) is not None:
            raise NeverReady(
                app=spec.app,
                reason=f"it listens, but {answer} ({over})",
                detail={"log": log.tail(20, since)},
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, HTTP_LAST)


async def is_port_closed(port: int) -> bool:
    """Does nobody listen there any more? Only the kernel's plain refusal is a yes."""
    try:
        async with asyncio.timeout(1):
            await _connect(port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    return False


async def check_remote(spec: AppSpec, asking: Asking) -> None:
    """Raises Unreachable when nothing at all answers at ``spec.url``; KeyMissing."""
    try:
        async with asking.let_in(spec.app, "GET", str(spec.url), REMOTE_SECONDS):
            return
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = asking.access(spec.app).hidden(reason(error))
        raise unreachable(spec, why) from None


def unreachable(spec: AppSpec, reason: str) -> Unreachable:
    """The error for one that does not answer, without the password that its URL may have."""
    if spec.url is None:
        do = f"its log says more: bash run.sh logs {spec.app}"
        return Unreachable(app=spec.app, reason=reason, do=do)
    return Unreachable(
        app=spec.app,
        reason=f"{masked(spec.url)}: {reason}",
        do=f"is that machine on? if it has moved, correct url of {spec.app}",
    )


async def _listening(spec: AppSpec, child: Child, patience: Patience) -> None:
    assert spec.port is not None
    while True:
        if await _connects(spec.port):
            if not spec.owner_check or await _is_ours(spec.port, child):
                return
            holder = await asyncio.to_thread(sockets.port_holder, spec.port)
            # Between the two looks the child may have begun to listen after all, or have ended.
            if await _is_ours(spec.port, child):
                return
            if spec.port in await asyncio.to_thread(sockets.listening_ports):
                raise PortTaken(app=spec.app, port=spec.port, holder=holder)
        if (over := patience.used_up()) is not None:
            raise NeverReady(
                app=spec.app,
                reason=f"nothing listens on port {spec.port} ({over})",
                detail={"log": patience.log.tail(20)},
            )
        await asyncio.sleep(CONNECT_EVERY)


async def _is_ours(port: int, child: Child) -> bool:
    found = await asyncio.to_thread(lambda: sockets.listeners(child.pids()))
    return any(listener.port == port for listener in found)


async def _connects(port: int) -> bool:
    try:
        await _connect(port)
    except OSError:
        return False
    return True


async def _connect(port: int) -> None:
    _reader, writer = await asyncio.open_connection(HOST, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def answers(spec: AppSpec, session: aiohttp.ClientSession, seconds: float) -> bool:
    """Does it answer its health check in time, whatever it says?"""
    url, timeout = f"http://{HOST}:{spec.port}{spec.ready.http}", aiohttp.ClientTimeout(seconds)
    try:
        async with session.get(url, allow_redirects=False, timeout=timeout):
            return True
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _http_answer(spec: AppSpec, session: aiohttp.ClientSession) -> str | None:
    """None: answered 2xx–4xx. Else what happened, in words."""
    path = spec.ready.http
    try:
        async with session.get(
            f"http://{HOST}:{spec.port}{path}",
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=10),
        ) as answer:
            if answer.status < 500:
                return None
            return f"GET {path} answers {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"GET {path} fails ({type(error).__name__})"


class Announcement:
    """Looks through a log for the line by which an app says that it is ready."""

    def __init__(self, log: LogFile, since: int) -> None:
        self._log = log
        self._since = since
        self._pattern = ""
        self._reader = Reader(log, since)

    def missing(self, spec: AppSpec) -> str | None:
        """None: it is there. Else that it is not, in words. For a thread. Raises NeverReady."""
        pattern = spec.ready.log or ""
        if pattern != self._pattern:
            self._pattern, self._reader = pattern, Reader(self._log, self._since)
        try:
            if patterns.found(pattern, self._new_lines()):
                return None
        except patterns.TooSlow:
            reason = f"ready.log, {pattern!r}, takes too long to match: write a simpler one"
            raise NeverReady(app=spec.app, reason=reason) from None
        return f"no line of its log matches {pattern!r}"

    def _new_lines(self) -> Iterator[str]:
        yield from self._reader.lines()
        if self._reader.rest:
            yield self._reader.rest
