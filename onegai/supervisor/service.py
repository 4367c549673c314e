"""One service and its owner task: the only place that changes its state.

Asking for a ready service (``lease``, ``ready``), by the state it is found in:

    state       what happens
    ---------   ----------------------------------------------------------------
    absent      NotInstalled, or InstallBroken after an install that failed
    installing  Installing
    stopped     the owner asks for room, starts it; the caller waits
    failed      as stopped: a new try
    queued      it waits for memory or its port: the caller joins, and shares the outcome
    starting    the caller joins the start and shares its outcome
    ready       at once; while it is to make way for another app that came before, the caller
                waits, and the service either stays or is started again after the other
    parked      it is admitted like a start, then goes on where it was; the caller waits
    stopping    the caller waits for the end of the stop, then it starts again

A caller may leave at any time; a start that nobody waits for any more is abandoned.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from onegai.apps.installed import InstallState, Listing, check_installed, install_state
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.errors import (
    AppError,
    Died,
    Inactive,
    InstallBroken,
    Installing,
    InternalError,
    NoService,
    NotInstalled,
    OneGAIError,
    RestartWithoutRoom,
    ShuttingDown,
    Stopped,
)
from onegai.events import Tell
from onegai.memory.sampler import Sampler
from onegai.process.logfile import LogFile
from onegai.schema import ServiceStatus, State, StopReason
from onegai.supervisor import hooks
from onegai.supervisor.admission import Admission
from onegai.supervisor.callers import Caller
from onegai.supervisor.health import Health
from onegai.supervisor.hooks import Hooks
from onegai.supervisor.interrupts import Interrupted, first
from onegai.supervisor.lastlife import LastLife
from onegai.supervisor.leases import Gate, Lease
from onegai.supervisor.left import Left
from onegai.supervisor.parking import Parking
from onegai.supervisor.report import Busy, Footprint, report
from onegai.supervisor.restarts import Restarts
from onegai.supervisor.run import Run
from onegai.supervisor.start import Start
from onegai.supervisor.tenancy import Tenancy

log = logging.getLogger(__name__)

STARTED_WITH = ("type", "port", "exec", "cwd", "env", "url", "vram", "ram", "owner_check")
"""Keys of an entry that are facts of a running process: a change of one waits for its restart."""

_NOTHING: Mapping[Run, Footprint] = {}
_NO_MORE = "it could not go on after the end of OneGAI"

_ALIVE = frozenset({State.QUEUED, State.STARTING, State.READY, State.PARKED, State.STOPPING})


class Service:
    """One app's process. Everything but ``try_lease`` belongs to the event loop's thread."""

    def __init__(
        self,
        home: Home,
        spec: AppSpec,
        *,
        admission: Admission,
        sampler: Sampler,
        hooks: Hooks,
        http: aiohttp.ClientSession,
    ) -> None:
        self.tenancy = Tenancy(spec, hooks, sampler)
        self._next = spec
        self.log = LogFile(home.app_log(spec.app))
        self._home = home
        self._admission = admission
        self._sampler = sampler
        self._hooks = hooks
        self._http = http
        self._last = LastLife(self.tenancy)
        self._health = Health(lambda: self.spec, http)
        self._start_seconds: float | None = None
        self._force = asyncio.Event()
        self._begin_again = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._left: Left | None = None
        self._live_on = False
        self._closing = False
        self._hurried = False
        self._files_change = False
        self._restarts = Restarts(lambda: self.want(may_evict=False))

    # --- what others ask of it -------------------------------------------------------------

    @property
    def spec(self) -> AppSpec:
        """The entry that it is started with, or runs with."""
        return self.tenancy.spec

    @property
    def state(self) -> State:
        """Its state now."""
        self._refresh_rest()
        return self.tenancy.state

    @property
    def alive(self) -> bool:
        """True while there is, or is about to be, a process."""
        return self.tenancy.state in _ALIVE or self._restarts.pending

    def adopt(self, spec: AppSpec) -> None:
        """Be this app from the next start on; what no process is started with, at once.

        One that still waits for memory or its port begins again; its callers keep their place.
        """
        if self.tenancy.state is State.QUEUED and spec != self._next:
            self._begin_again.set()
        self._next = spec
        if not self._at_rest.is_set():
            running = {key: getattr(self.spec, key) for key in STARTED_WITH}
            spec = spec.model_copy(update=running)
        self.tenancy.edit(spec)

    @property
    def outdated(self) -> list[str]:
        """The keys that have changed since it was started, and wait for its restart."""
        if self._next is self.spec:
            return []
        changed = (
            key for key in STARTED_WITH if getattr(self.spec, key) != getattr(self._next, key)
        )
        return list(changed)

    def take_over(self, left: Left) -> None:
        """Go on with, or end, what an earlier OneGAI has left of it. Before its owner runs."""
        self._left = left

    def try_lease(self) -> Lease | None:
        """A lease if it is ready right now. From any thread."""
        gate = self.tenancy.gate
        return gate.try_enter() if gate is not None else None

    async def lease(self, holding: frozenset[str] = frozenset(), tell: Tell | None = None) -> Lease:
        """A lease; starts the service, or joins its start. Raises why it cannot be had.

        ``holding``: the services that the caller holds already, and goes on to hold. ``tell``
        hears why it waits, as in ``Supervisor.lease``.
        """
        lease = self.try_lease()
        return lease if lease is not None else await self._wait(Caller(holding, tell=tell))

    async def ready(self) -> None:
        """Return once it is ready, which the user wants: it is restarted after a crash.

        Raises why it cannot be.
        """
        self._restarts.by_hand = True
        if self.tenancy.state is not State.READY:
            (await self._wait(Caller(use=False))).release()

    def want(self, *, may_evict: bool = True) -> None:
        """Have it started, as the user wants, without waiting. A failure becomes its state."""
        self._restarts.by_hand = True
        if self.tenancy.state is not State.READY and not self._closing:
            self.tenancy.callers.want(Caller(may_evict=may_evict, use=False))

    async def stop(
        self,
        force: bool = False,
        reason: StopReason = StopReason.STOPPED,
        text: str = "stopped by you",
    ) -> None:
        """Return once it is stopped. Waits for the leases; with ``force`` it breaks them."""
        self._restarts.by_hand = False
        self._restarts.forget()
        self.tenancy.callers.fail(Stopped(app=self.spec.app))
        if self._at_rest.is_set():
            return
        self.tenancy.end(reason, text)
        if force:
            self._force.set()
        await self._at_rest.wait()

    @asynccontextmanager
    async def at_rest(self, force: bool = False) -> AsyncIterator[None]:
        """Stopped as by ``stop``, and not to be started meanwhile: its files are being changed."""
        self._files_change = True
        try:
            await self.stop(force, StopReason.CHANGED, "it was updated or uninstalled")
            yield
        finally:
            self._files_change = False

    async def close(self, *, live_on: bool = False) -> None:
        """The server ends: stop for good, or ``live_on`` if it is ready. Breaks leases."""
        self._closing = True
        self._live_on = live_on
        await self.stop(force=True)

    def hurry(self) -> None:
        """From now on a stop kills it at once, the present one too."""
        self._hurried = True
        run = self.tenancy.run
        if run is not None and self.tenancy.state is State.STOPPING:
            run.kill()

    async def why_lost(self, reason: str) -> AppError:
        """See ``LastLife.why_lost``."""
        return await self._last.why_lost(reason)

    def status(
        self,
        footprints: Mapping[Run, Footprint] = _NOTHING,
        listing: Listing | None = None,
        turns: Busy | None = None,
    ) -> ServiceStatus:
        """A snapshot, with the memory that it has by ``footprints``."""
        self._refresh_rest(listing)
        run = self.tenancy.run
        return report(
            self.tenancy,
            footprints.get(run) if run else None,
            failure=self._last.failure.message if self._last.failure else "",
            place=self._admission.place(self.spec.app),
            start_seconds=self._start_seconds,
            unresponsive=self._health.silent_since,
            outdated=self.outdated,
            turns=turns,
        )

    # --- the owner task --------------------------------------------------------------------

    async def run(self) -> None:
        """The owner task; ends by cancellation, after ``close`` or ``stop``."""
        try:
            while True:
                self.tenancy.spec = self._next
                left, self._left = self._left, None
                if left is None:
                    self._at_rest.set()
                    await self._wanted()
                at = self.tenancy
                for event in (self._at_rest, at.stop, self._force, at.parking, self._begin_again):
                    event.clear()
                await self._one_life(left)
        finally:
            self._closing = True
            self.tenancy.callers.fail(Stopped(app=self.spec.app))

    async def _wait(self, caller: Caller) -> Lease:
        if self._closing:
            raise ShuttingDown
        if self.tenancy.state is State.STARTING:
            caller.hear("starting", {"app": self.spec.app})
        self._admission.changed()
        return await self.tenancy.callers.wait(caller)

    async def _wanted(self) -> None:
        """Return when somebody waits for it to be ready, which nobody may once it is closing."""
        while True:
            await self.tenancy.callers.present.wait()
            if self._closing:
                self.tenancy.callers.fail(ShuttingDown())
            elif len(self.tenancy.callers):
                return

    async def _one_life(self, left: Left | None) -> None:
        """From the wish to have it ready, or from what is ``left``, until it is gone again."""
        self._restarts.forget()
        self._last.failure = None
        run = Run(self._home, lambda: self.spec, self.log, self._http)
        self.tenancy.begin(run)
        gate: Gate | None = None
        try:
            gate = await self._come_up(run, left)
            if gate is not None:
                await self._serve(run, gate)
        except Exception as error:
            log.exception("the owner of %s failed", self.spec.app)
            self._last.failure = InternalError(reason=f"{type(error).__name__}: {error}")
            self.tenancy.end(StopReason.FAILED, self._last.failure.message)
            self.tenancy.callers.fail(self._last.failure)
        finally:
            made = run.pid is not None or left is not None
            if made:
                self.tenancy.enter(State.STOPPING)
            if self._hurried:
                run.kill()
            pids = await run.end()
            if self.spec.vram:
                await self._admission.given_back(pids)
            self._sampler.end(self.spec, used=gate is not None and gate.used)
            if made or gate is not None:
                self.tenancy.stopped()
            self.tenancy.begin(None)
            self._admission.changed(given_back=self.spec.vram > 0 or self.spec.ram > 0)
            self.tenancy.enter(State.FAILED if self._last.failure else State.STOPPED)
            self._refresh_rest()

    async def _come_up(self, run: Run, left: Left | None) -> Gate | None:
        """None: it does not, and its callers have been told why."""
        start = Start(self.tenancy, run, self._admission, self._sampler, self._hooks)
        try:
            if left is not None:
                start.take(left)
            self._check_can_start()
            gate = await (start.up(self._begin_again) if left is None else start.up_again(left))
            self._start_seconds = start.seconds or self._start_seconds
            return gate
        except Interrupted:
            log.info("%s: its start was abandoned", self.spec.app)
            if left is None:
                self.tenancy.end(StopReason.ABANDONED, "nobody waited for its start any more")
            else:
                self.tenancy.end(StopReason.LEFT_OVER, _NO_MORE)
        except OneGAIError as error:
            if left is None:
                self._last.failure = error
                self.tenancy.callers.fail(error, self._meant_by(error))
            else:
                log.info("%s: it does not go on: %s", self.spec.app, error.message)
                self.tenancy.end(StopReason.LEFT_OVER, f"{_NO_MORE}: {error.message}")
        return None

    def _meant_by(self, error: OneGAIError) -> list[Caller]:
        """A call may have come while the refusal of a restart was on its way; it gets its turn."""
        if not isinstance(error, RestartWithoutRoom):
            return list(self.tenancy.callers)
        return [one for one in self.tenancy.callers if not one.may_evict]

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

    async def _serve(self, run: Run, gate: Gate) -> None:
        """Ready: until it ends, a stop is asked for, or it has been idle for long."""
        self.tenancy.gate = gate
        ready_since = time.monotonic()
        while True:
            self.tenancy.enter(State.READY)
            run.note(self.tenancy.gpu)
            self.tenancy.callers.let_in(gate)
            self._admission.changed()
            self._sampler.changed()
            how = await first(
                ended=run.ended(),
                port_closed=run.port_closed(),
                health=self._health.watch(gate),
                stop=self.tenancy.stop.wait(),
                park=self.tenancy.parking.wait(),
                idle=self.tenancy.idle(gate),
            )
            # Once it is to stop, its gate is closed for good, whatever else is wished for.
            if how != "park" or self.tenancy.stop.is_set() or not await self._parked(run, gate):
                break
        gate.close()
        if self._live_on and not self.tenancy.parked:
            run.leave()
        run.unnote()
        self.tenancy.enter(State.STOPPING)
        self._admission.changed()
        if run.over:
            gate.end()
            self.tenancy.gate = None
            self._crashed(run, time.monotonic() - ready_since)
            return
        how = await first(drained=gate.drained(), force=self._force.wait(), ended=run.ended())
        if how == "force":
            self._last.cut(Died(app=self.spec.app, how="it was stopped by force"))
        elif how == "ended":
            self._last.cut(run.died())
        gate.end()
        self.tenancy.gate = None
        if not (self._force.is_set() or self.tenancy.parked or run.over):
            await hooks.before_stop(self.spec, run.url, self._hooks, self._force)

    async def _parked(self, run: Run, gate: Gate) -> bool:
        """It has been, and serves again; False: it must stop."""
        run.unnote()
        parking = Parking(
            self.tenancy,
            run,
            gate,
            admission=self._admission,
            hooks=self._hooks,
            http=self._http,
        )
        try:
            return await parking.stay()
        except OneGAIError as error:
            self._last.failure = error
            self.tenancy.end(StopReason.FAILED, error.message)
            return False

    def _crashed(self, run: Run, lived: float) -> None:
        self._last.failure = died = run.died()
        self._last.cut(died)
        log.warning("%s", died.message)
        if not self.tenancy.stop.is_set():
            if isinstance(died, Died):
                self.tenancy.end(StopReason.CRASHED, f"crashed: {died.params['how']}")
            else:
                self.tenancy.end(StopReason.FAILED, died.message)
            self._restarts.crashed(self.spec, lived)

    # --- small parts -----------------------------------------------------------------------

    def _refresh_rest(self, listing: Listing | None = None) -> None:
        """At rest, what lies on disk decides between absent, installing, stopped and failed."""
        if self.tenancy.state in _ALIVE:
            return
        match install_state(self._home, self.spec, listing):
            case InstallState.ABSENT:
                self.tenancy.enter(State.ABSENT)
            case InstallState.INSTALLING:
                self.tenancy.enter(State.INSTALLING)
            case InstallState.BROKEN:
                self._last.failure = InstallBroken(app=self.spec.app)
                self.tenancy.enter(State.FAILED)
            case InstallState.INSTALLED:
                if isinstance(self._last.failure, InstallBroken | NotInstalled | Installing):
                    self._last.failure = None
                self.tenancy.enter(State.FAILED if self._last.failure else State.STOPPED)
