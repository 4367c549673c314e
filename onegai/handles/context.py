"""What surrounds a running function: set by the engine for each call, found by the handles."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import aiohttp

from onegai.config.credentials import NO_ACCESS, Access
from onegai.config.settings import MIB
from onegai.errors import AppError, CallTimeout, ResultTooLarge, SdkMisuse
from onegai.events import Tell, tell_nobody
from onegai.files.file import pending
from onegai.files.sources import Sources
from onegai.files.workspace import Workspace
from onegai.handles.connections import IDLE_SECONDS, Connections
from onegai.handles.cutoff import Cutoff
from onegai.handles.progress import Progress


class Hold(Protocol):
    """A lease: ``url`` is valid until ``release``."""

    url: str

    def release(self) -> None:
        """Give it back."""
        ...

    def again(self) -> Hold | None:
        """Another one beside it, even when nobody else gets one. From any thread."""
        ...


class Services(Protocol):
    """What handles need of the supervisor."""

    def try_lease(self, app: str) -> Hold | None:
        """A lease if the service is ready right now. From any thread."""
        ...

    async def lease(
        self, app: str, holding: frozenset[str] = frozenset(), tell: Tell | None = None
    ) -> Hold:
        """A lease; starts the service if needed.

        ``holding``: the services that the waiting call goes on to hold. ``tell`` hears why it
        waits: ``evicting`` (``apps``: the services that make room for it, now or once their calls
        have ended) and ``starting`` (``app``).
        """
        ...

    async def why_lost(self, app: str, reason: str) -> AppError:
        """The error for a request whose connection broke."""
        ...


@dataclass(frozen=True)
class Transport:
    """The HTTP clients that all calls share; apps listen on loopback, so no proxy is followed."""

    sync: Connections
    asynchronous: aiohttp.ClientSession


@asynccontextmanager
async def open_transport() -> AsyncIterator[Transport]:
    """Both clients; the asynchronous one belongs to the running event loop."""
    connections = Connections()
    try:
        # It sends again by the same rule as Connections.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)
        # What an app wants remembered is of one call, and no other app's, on whichever port.
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
            yield Transport(connections, session)
    finally:
        connections.close()


def _none(_app: str) -> Access:
    return NO_ACCESS


@dataclass
class CallContext:
    """One call. ``deadline`` is in ``time.monotonic`` seconds.

    ``workspace`` has the files of its arguments and goes with it. ``own_paths``: a program of the
    user's makes it, who may name any path; elsewhere texts that are paths may be strangers' words.
    """

    app: str
    services: Services
    transport: Transport
    sources: Sources
    workspace: Workspace
    loop: asyncio.AbstractEventLoop
    deadline: float
    seconds: float
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    access: Callable[[str], Access] = _none
    """What an app is shown so that it lets the call in. Raises KeyMissing. From any thread."""
    own_paths: bool = False
    most_read: float = math.inf
    """Bytes of an answer that a handle reads whole."""
    tell: Tell = tell_nobody
    """Told of what happens to the call. On the loop."""
    granted: dict[str, str] = field(default_factory=dict)
    """Base URLs usable without a lease: the service whose ``load`` is running."""
    pinned: dict[str, Hold] = field(default_factory=dict)
    """Leases kept to the end of the call, because ``handle.url`` was given out."""
    offered: dict[str, Hold] = field(default_factory=dict)
    """Leases that the call came in with: the first request to that app takes over its own."""
    held: list[_Counted] = field(default_factory=list)
    """The leases that requests and streams have right now."""
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    """Entered while the call waits for a service."""
    cutoff: Cutoff = field(default_factory=Cutoff)
    """Of what its threads ask their apps."""
    waits: set[Future[Any]] = field(default_factory=set)
    """What threads of the call wait for."""
    function: Callable[[str, str, bool], Awaitable[Any]] | None = None
    """Gives a ``functions.function.Function``, by app and name; True: one that the app itself tells
    of. Raises that there is none.
    """

    @cached_property
    def progress(self) -> Progress:
        """How far the call is, as its function tells."""
        return Progress(self.loop, self.tell)

    def at_hand(self, app: str) -> Hold | None:
        """As ``take``, but where the call has the service anyway, without a lease of its own."""
        if (url := self.granted.get(app)) is not None:
            return _Unpinned(url)
        if (pinned := self.pinned.get(app)) is not None:
            return _Unpinned(pinned.url)
        return self.take(app)

    def take(self, app: str) -> Hold | None:
        """A lease that can be had without waiting, for one request. From any thread."""
        hold = self.offered.pop(app, None) or self.services.try_lease(app)
        if hold is None:
            # Who waited for the end of its own lease would wait for ever.
            again = (held.again() for held in list(self.held) if held.app == app)
            hold = next((one for one in again if one is not None), None)
        return _Counted(self.held, app, hold) if hold is not None else None

    async def lease(self, app: str) -> Hold:
        """A lease that has to be waited for. On the loop."""
        with self.waiting():
            hold = await self.services.lease(app, self.let_go(), self.tell)
        return _Counted(self.held, app, hold)

    def give_up(self) -> None:
        """Nobody wants the outcome: what its threads wait for, and their next request, fails."""
        self.deadline = 0
        self.cutoff.now()
        for wait in list(self.waits):
            wait.cancel()

    def let_go(self) -> frozenset[str]:
        """Before waiting: give back what is not in use. Returns the apps that stay held."""
        while self.offered:
            _app, hold = self.offered.popitem()
            hold.release()
        return frozenset((*(hold.app for hold in self.held), *self.pinned, *self.granted))

    def check_size(self, app: str, size: int) -> None:
        """Raises ResultTooLarge for so many bytes of an answer of ``app``."""
        if size > self.most_read:
            raise ResultTooLarge(
                app=app,
                what=f"the answer of {app}",
                limit_mib=round(self.most_read / MIB, 1),
                do="read it in pieces, with stream()",
            )

    def remaining(self, app: str) -> float:
        """Seconds left. Raises CallTimeout, in the name of ``app``, when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CallTimeout(app=app, seconds=self.seconds)
        return left

    async def fetch_files(self, arguments: Any) -> None:
        """Have the files of these arguments there. On ``loop``. Raises as Sources.resolve."""
        await self.sources.resolve(arguments, self.workspace, own_paths=self.own_paths)

    def fetch_files_now(self, arguments: Any) -> None:
        """The same from any other thread. Raises SdkMisuse where that would wait for itself."""
        if not pending(arguments, self.workspace):
            return
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise SdkMisuse(
                reason="a function that takes files was called where it would block the event loop",
                do="call it from an ordinary function, or make it async def and await it",
            )
        work = self.fetch_files(arguments)
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the context of the code inside."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def whole_call(self) -> Iterator[None]:
        """``active``, and the leases end with it."""
        with self.active():
            try:
                yield
            finally:
                self.release()

    def release(self) -> None:
        """The call is over: give back whatever it still has, and remove its files."""
        self.give_back()
        self.workspace.close()

    def give_back(self) -> None:
        """The call is over, or has not begun: give back its leases."""
        self.let_go()
        for hold in (*self.held, *self.pinned.values()):
            hold.release()
        self.pinned.clear()


class _Unpinned:
    """A base URL that needs no lease of its own: granted for a load, or pinned to the call."""

    def __init__(self, url: str) -> None:
        self.url = url

    def release(self) -> None:
        """Nothing to give back."""

    def again(self) -> None:
        """Whoever has the call's own lease asks for no other."""


class _Counted:
    """A lease that is in a list while it is held."""

    def __init__(self, held: list[_Counted], app: str, hold: Hold) -> None:
        self.url = hold.url
        self.app = app
        self._held = held
        self._hold: Hold | None = hold
        held.append(self)

    def release(self) -> None:
        """Give it back; doing so twice is harmless."""
        hold, self._hold = self._hold, None
        if hold is not None:
            self._held.remove(self)
            hold.release()

    def again(self) -> Hold | None:
        """Another one beside it."""
        hold = self._hold
        return hold.again() if hold is not None else None


_current: ContextVar[CallContext] = ContextVar("onegai_call")


class Outside(Protocol):
    """Makes what surrounds plain Python, which runs outside of any call."""

    def call_context(self, app: str, *, held: bool) -> CallContext:
        """A new context for a call; ``held``: it has a lease of its app until it ends."""
        ...

    async def call_context_later(self, app: str, *, held: bool) -> CallContext:
        """The same, without holding up the event loop that asks."""
        ...

    def process_context(self, app: str) -> CallContext:
        """The context of this process."""
        ...


outside: Outside | None = None
"""Set by ``onegai.sdk``, which lies above: it makes this process's own engine at the first use."""


def running_call() -> CallContext | None:
    """The context of the running call, if there is one."""
    return _current.get(None)


def call_context(app: str, *, held: bool) -> CallContext:
    """A new context for a call from plain Python, where no server has made one.

    ``held``: it has a lease of its app, if that has a service, until it ends.

    Raises SdkMisuse where there cannot be one.
    """
    assert outside is not None
    return outside.call_context(app, held=held)


async def call_context_later(app: str, *, held: bool) -> CallContext:
    """The same, without holding up the event loop that asks."""
    assert outside is not None
    return await outside.call_context_later(app, held=held)


def current(app: str) -> CallContext:
    """The context of the running call; outside of one, that of this process.

    Raises SdkMisuse where there is none: at the top of a func file that a server loads.
    """
    running = _current.get(None)
    if running is not None:
        return running
    assert outside is not None
    return outside.process_context(app)


def progress(fraction: float | None = None, text: str = "", **more: Any) -> None:
    """Tell how far the running call is: a ``fraction`` from 0 to 1, a ``text`` for people.

    ``more`` is passed on to who reads the call's events, as JSON. From any thread that the call's
    function runs in; outside of a call nobody is told. It never raises and never waits: what cannot
    be told is left out, and of what comes faster than it is read the newest counts.
    """
    if (running := running_call()) is not None:
        running.progress.tell(fraction, text, more)


def config(app: str) -> Mapping[str, Any]:
    """The app's own settings: what config.json has under ``apps.{app}`` beyond OneGAI's keys."""
    return current(app).settings.get(app, {})
