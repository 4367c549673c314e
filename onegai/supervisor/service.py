"""One service and its owner task: the only place that changes its state.

Asking for a ready service (``ready``, ``lease``), by the state it is found in:

    state       what happens
    ---------   ----------------------------------------------------------------
    absent      NotInstalled, or InstallBroken after an install that failed
    installing  Installing
    stopped     the owner starts it; the caller waits
    failed      as stopped: a new try
    starting    the caller joins the start and shares its outcome
    ready       at once
    stopping    the caller waits for the end of the stop, then it starts again
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp

from onegai.catalog import AppSpec
from onegai.errors import (
    AppError,
    Died,
    ExitedEarly,
    Inactive,
    InstallBroken,
    Installing,
    InternalError,
    NoService,
    NotInstalled,
    OneGAIError,
    ShuttingDown,
    Stopped,
    Unreachable,
)
from onegai.home import Home
from onegai.installation import InstallState, check_installed, install_state
from onegai.policy import Start
from onegai.process import sockets, tree
from onegai.process.child import Child, service_command
from onegai.process.logfile import LogFile
from onegai.schema import ServiceStatus, State
from onegai.supervisor import readiness
from onegai.supervisor.backoff import Backoff
from onegai.supervisor.interrupts import Interrupted, unless
from onegai.supervisor.leases import Gate, Lease

log = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 60
LOG_LINES = 20

Admission = Callable[[AppSpec], Awaitable[Start]]
"""Says on which GPU to start, or raises the refusal."""
Loader = Callable[[AppSpec, str], Awaitable[None]]
"""Runs the app's ``load`` function against a service at that URL, before it counts as ready."""


STARTED_WITH = ("type", "port", "exec", "cwd", "env", "url", "vram", "ram", "owner_check")
"""Keys of an entry that are facts of a running process: a change of one waits for its restart."""

_ALIVE = frozenset({State.QUEUED, State.STARTING, State.READY, State.PARKED, State.STOPPING})


class Service:
    """One app's process. Everything but ``try_lease`` belongs to the event loop's thread."""

    def __init__(
        self,
        home: Home,
        spec: AppSpec,
        *,
        admit: Admission,
        load: Loader,
        http: aiohttp.ClientSession,
    ) -> None:
        self.spec = spec
        self._next = spec
        self.log = LogFile(home.app_log(spec.app))
        self._home = home
        self._admit = admit
        self._load = load
        self._http = http
        self._state = State.STOPPED
        self._since = time.time()
        self._failure: OneGAIError | None = None
        self._child: Child | None = None
        self._gate: Gate | None = None
        self._problems: list[str] = []
        self._start_seconds: float | None = None
        self._spawning: asyncio.Future[Child] | None = None
        self._log_start = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._closing = False
        self._files_change = False
        self._by_hand = False
        self._backoff = Backoff()

    # --- what others ask of it -------------------------------------------------------------

    @property
    def state(self) -> State:
        """Its state now."""
        self._refresh_rest()
        return self._state

    @property
    def alive(self) -> bool:
        """True while there is, or is about to be, a process."""
        return self._state in _ALIVE

    def adopt(self, spec: AppSpec) -> None:
        """Be this app from the next start on; what no process is started with, at once."""
        self._next = spec
        if not self._at_rest.is_set():
            running = {key: getattr(self.spec, key) for key in STARTED_WITH}
            spec = spec.model_copy(update=running)
        self.spec = spec

    @property
    def outdated(self) -> list[str]:
        """The keys that have changed since it was started, and wait for its restart."""
        changed = (
            key for key in STARTED_WITH if getattr(self.spec, key) != getattr(self._next, key)
        )
        return list(changed)

    def try_lease(self) -> Lease | None:
        """A lease if it is ready right now. From any thread."""
        gate = self._gate
        return gate.try_enter() if gate is not None else None

    async def lease(self) -> Lease:
        """A lease; starts the service, or joins its start. Raises why it cannot be had."""
        while (lease := self.try_lease()) is None:
            await self.ready()
        return lease

    async def ready(self, by_hand: bool = False) -> None:
        """Return once it is ready. Raises why it cannot be.

        ``by_hand``: the user wants it to run, not just a call; it is restarted after a crash.
        """
        if by_hand:
            self._by_hand = True
        if self._state is State.READY:
            return
        if self._closing:
            raise ShuttingDown
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        self._wake.set()
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def want(self) -> None:
        """Have it started, by the user's wish, without waiting. A failure becomes its state."""
        self._by_hand = True
        if self._state is State.READY or self._closing:
            return
        wish: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wish.add_done_callback(lambda done: (done.exception(), None)[1])
        self._waiters.add(wish)
        self._wake.set()

    async def stop(self, force: bool = False) -> None:
        """Return once it is stopped. Waits for the leases; with ``force`` it breaks them."""
        self._by_hand = False
        if self._at_rest.is_set():
            self._fail_waiters(Stopped(app=self.spec.app))
            return
        self._stop.set()
        if force:
            self._force.set()
        await self._at_rest.wait()

    @asynccontextmanager
    async def at_rest(self, force: bool = False) -> AsyncIterator[None]:
        """Stopped as by ``stop``, and not to be started meanwhile: its files are being changed."""
        self._files_change = True
        try:
            await self.stop(force)
            yield
        finally:
            self._files_change = False

    async def close(self) -> None:
        """Stop for good: the server ends. Breaks leases."""
        self._closing = True
        await self.stop(force=True)

    async def why_lost(self, reason: str) -> AppError:
        """The error for a request whose connection broke: the child's end if that is the cause.

        The end of a process is noticed a moment after its sockets close, so this waits for it,
        0.5 s at most.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while self._state is State.READY:
                    await asyncio.sleep(0.005)
        if self._state is not State.READY and isinstance(self._failure, AppError):
            return self._failure
        return Unreachable(app=self.spec.app, reason=reason)

    def status(self) -> ServiceStatus:
        """A snapshot. Reads /proc for the memory, some milliseconds."""
        self._refresh_rest()
        child = self._child
        return ServiceStatus(
            app=self.spec.app,
            state=self._state,
            reason=self._failure.message if self._failure else "",
            pid=child.pid if child else None,
            port=self.spec.port,
            url=self._base_url() if self._state is State.READY else None,
            leases=self._gate.inside if self._gate else 0,
            waiting=len(self._waiters),
            since=self._since,
            start_seconds=self._start_seconds,
            vram=self.spec.vram_mib,
            ram=self.spec.ram_mib,
            rss=tree.rss_mib(child.pids()) if child else None,
            outdated=self.outdated,
            problems=[*self._problems, *self._remarks()],
        )

    def _remarks(self) -> list[str]:
        if not (keys := ", ".join(self.outdated)):
            return []
        return [f"{keys} changed since it was started: restart it, and that takes effect"]

    # --- the owner task --------------------------------------------------------------------

    async def run(self) -> None:
        """The owner task; ends by cancellation, after ``close``."""
        while True:
            self.spec = self._next
            self._at_rest.set()
            await self._wanted()
            for event in (self._at_rest, self._stop, self._force):
                event.clear()
            await self._one_life()

    async def _wanted(self) -> None:
        """Return when somebody waits for it to be ready, which nobody may once it is closing."""
        while True:
            if self._closing:
                self._fail_waiters(ShuttingDown())
            if self._waiters:
                return
            await self._wake.wait()
            self._wake.clear()

    async def _one_life(self) -> None:
        """From the wish to have it ready to the moment when it is gone again."""
        self._failure = None
        self._problems = []
        try:
            try:
                self._check_can_start()
                self._set(State.STARTING)
                gate = await unless(self._stop, self._start())
            except Interrupted:
                self._fail_waiters(Stopped(app=self.spec.app))
            except OneGAIError as error:
                self._failure = error
                self._fail_waiters(error)
            else:
                await self._serve(gate)
        except Exception as error:
            log.exception("the owner of %s failed", self.spec.app)
            self._failure = InternalError(reason=f"{type(error).__name__}: {error}")
            self._fail_waiters(self._failure)
        finally:
            await self._end_child()
            self._set(State.FAILED if self._failure else State.STOPPED)
            self._refresh_rest()

    def _check_can_start(self) -> None:
        """Raises the reason why it cannot even be tried."""
        app = self.spec.app
        if not self.spec.active:
            raise Inactive(app=app)
        if not self.spec.has_service:
            raise NoService(app=app)
        if self._files_change:
            raise Installing(app=app)
        check_installed(self._home, self.spec)

    async def _start(self) -> Gate:
        """Bring it up and load its model. The child is left to ``_end_child`` on failure."""
        begun = time.monotonic()
        spec = self.spec
        if spec.url is not None:
            await readiness.check_remote(spec, self._http)
        else:
            await self._start_child()
        await self._watched(self._load(spec, self._base_url()))
        self._start_seconds = round(time.monotonic() - begun, 3)
        return Gate(self._base_url())

    async def _start_child(self) -> None:
        spec = self.spec
        readiness.check_port_free(spec)
        admitted = await self._admit(spec)
        arguments, folder, environment = service_command(self._home, spec)
        if admitted.gpu is not None:
            environment.setdefault("CUDA_VISIBLE_DEVICES", str(admitted.gpu))
        tag = tree.Tag(spec.app, self._home.root)
        self._log_start = self.log.size
        self._spawning = asyncio.ensure_future(
            Child.spawn(arguments, folder, environment, self.log, tag)
        )
        # A stop in this very moment must not lose the process that is being made.
        self._child = child = await asyncio.shield(self._spawning)
        log.info("%s: started, pid %d", spec.app, child.pid)
        await self._watched(
            readiness.wait_until_ready(spec, child, self.log, self._log_start, self._http)
        )

    async def _watched(self, work: Awaitable[None]) -> None:
        """Await work on a starting child; its end is noticed at once and is a failed start."""
        child = self._child
        if child is None:
            await work
            return
        try:
            await unless(child.ended, work)
        except (Interrupted, OneGAIError):
            if not child.ended.is_set():
                raise
        if child.ended.is_set():
            lines = self.log.tail(LOG_LINES, self._log_start)
            raise ExitedEarly(app=self.spec.app, how=child.how_it_ended, detail={"log": lines})

    async def _serve(self, gate: Gate) -> None:
        """Ready: until the child ends or a stop is asked for."""
        self._gate = gate
        self._set(State.READY)
        self._release_waiters()
        ready_since = time.monotonic()
        try:
            await unless(self._stop, self._child_ended())
        except Interrupted:
            gate.close()
            self._gate = None
            self._set(State.STOPPING)
            with suppress(Interrupted):
                await unless(self._force, gate.drained())
            return
        gate.close()
        self._gate = None
        self._crashed(time.monotonic() - ready_since)
        self._set(State.STOPPING)

    async def _child_ended(self) -> None:
        """Wait for the end, meanwhile watching what it listens on and how large its log is."""
        if self._child is None:
            await asyncio.Event().wait()
            return
        while not self._child.ended.is_set():
            self._look_at_listeners(self._child)
            if self.log.is_large:
                await asyncio.to_thread(self.log.rotate)
            with suppress(TimeoutError):
                async with asyncio.timeout(HOUSEKEEPING_SECONDS):
                    await self._child.ended.wait()

    def _crashed(self, lived: float) -> None:
        assert self._child is not None
        spec = self.spec
        self._failure = Died(
            app=spec.app,
            how=self._child.how_it_ended,
            detail={"log": self.log.tail(LOG_LINES, self._log_start)},
        )
        log.warning("%s", self._failure.message)
        if not self._by_hand or spec.restart != "on-failure":
            return
        delay = self._backoff.crashed(lived)
        if delay is None:
            log.warning("%s: given up after several quick crashes", spec.app)
            self._by_hand = False
            return
        log.info("%s: restarting in %g s", spec.app, delay)
        asyncio.get_running_loop().call_later(delay, self._restart)

    def _restart(self) -> None:
        """Back-off is over: start again, unless somebody stopped it meanwhile."""
        if self._by_hand and self._at_rest.is_set():
            self.want()

    async def _end_child(self) -> None:
        """Stop whatever is left of the child; a crashed leader may leave workers behind."""
        if self._spawning is not None:
            with suppress(OneGAIError):
                self._child = await self._spawning
            self._spawning = None
        child = self._child
        if child is not None:
            self._set(State.STOPPING)
            await child.stop(self.spec.stop_timeout)
            log.info("%s: stopped (%s)", self.spec.app, child.how_it_ended)
            self._child = None

    def _look_at_listeners(self, child: Child) -> None:
        """Some milliseconds of /proc, once a minute."""
        found = sockets.listeners(child.pids())
        self._problems = [
            f"it listens on {listener.address}:{listener.port}, which other machines may reach"
            for listener in sorted(found, key=lambda listener: listener.port)
            if not listener.address.startswith("127.") and listener.address != "::1"
        ]

    # --- small parts -----------------------------------------------------------------------

    def _base_url(self) -> str:
        if self.spec.url is not None:
            return self.spec.url.rstrip("/")
        return f"http://{readiness.HOST}:{self.spec.port}"

    def _set(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self._since = time.time()
            log.debug("%s: %s", self.spec.app, state)

    def _refresh_rest(self) -> None:
        """At rest, what lies on disk decides between absent, installing, stopped and failed."""
        if self._state in _ALIVE:
            return
        match install_state(self._home, self.spec):
            case InstallState.ABSENT:
                self._set(State.ABSENT)
            case InstallState.INSTALLING:
                self._set(State.INSTALLING)
            case InstallState.BROKEN:
                self._failure = InstallBroken(app=self.spec.app)
                self._set(State.FAILED)
            case InstallState.INSTALLED:
                if isinstance(self._failure, InstallBroken | NotInstalled | Installing):
                    self._failure = None
                self._set(State.FAILED if self._failure else State.STOPPED)

    def _release_waiters(self) -> None:
        for waiter in list(self._waiters):
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _fail_waiters(self, error: OneGAIError) -> None:
        for waiter in list(self._waiters):
            if not waiter.done():
                waiter.set_exception(error)
        self._waiters.clear()
