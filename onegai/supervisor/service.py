"""One service: what others ask of it. Its owner task (owner.py) has its life.

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

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from onegai.apps.installed import InstallState, Listing, install_state
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.errors import (
    AppError,
    InstallBroken,
    Installing,
    NotInstalled,
    ShuttingDown,
    Stopped,
)
from onegai.events import Tell
from onegai.memory.readings import Readings
from onegai.memory.sampler import Sampler
from onegai.process.logfile import LogFile
from onegai.schema import ServiceStatus, State, StopReason
from onegai.supervisor.admission import Admission
from onegai.supervisor.asking import Asking
from onegai.supervisor.callers import Caller
from onegai.supervisor.hooks import Hooks
from onegai.supervisor.leases import Lease
from onegai.supervisor.left import Left
from onegai.supervisor.life import Order
from onegai.supervisor.owner import Owner, Starts
from onegai.supervisor.report import Busy, Footprint, report
from onegai.supervisor.run import Run
from onegai.supervisor.tenancy import Tenancy

STARTED_WITH = ("type", "port", "exec", "cwd", "env", "url", "vram", "ram", "owner_check")
"""Keys of an entry that are facts of a running process: a change of one waits for its restart."""

_NOTHING: Mapping[Run, Footprint] = {}


class Service:
    """One app's process. Everything but ``try_lease`` belongs to the event loop's thread."""

    def __init__(
        self,
        home: Home,
        spec: AppSpec,
        *,
        readings: Readings,
        admission: Admission,
        sampler: Sampler,
        hooks: Hooks,
        asking: Asking,
    ) -> None:
        self.tenancy = Tenancy(spec, hooks, sampler)
        self.log = LogFile(home.app_log(spec.app))
        self._home = home
        self._admission = admission
        self._rested: tuple[object, ServiceStatus] | None = None
        """Its last status at rest, and the facts from which it was made."""
        self._owner = Owner(
            home,
            self.tenancy,
            self.log,
            readings=readings,
            admission=admission,
            sampler=sampler,
            hooks=hooks,
            asking=asking,
            restart=lambda: self.want(may_evict=False),
        )

    @property
    def spec(self) -> AppSpec:
        """The entry that it is started with, or runs with."""
        return self.tenancy.spec

    @property
    def state(self) -> State:
        """Its state now."""
        self._look()
        return self.tenancy.state

    @property
    def alive(self) -> bool:
        """True while there is, or is about to be, a process."""
        return self.tenancy.life is not None or self._owner.restarts.pending

    def adopt(self, spec: AppSpec) -> None:
        """Be this app from the next start on; what no process is started with, at once.

        One that still waits for memory or its port begins again; its callers keep their place.
        """
        life, changed = self.tenancy.life, spec != self._owner.next
        self._owner.next = spec
        if life is not None:
            if life.state is State.QUEUED and changed:
                life.end(StopReason.CHANGED, "its entry was changed")
            running = {key: getattr(self.spec, key) for key in STARTED_WITH}
            spec = spec.model_copy(update=running)
        self.tenancy.edit(spec)

    @property
    def outdated(self) -> list[str]:
        """The keys that have changed since it was started, and wait for its restart."""
        now, then = self.spec, self._owner.next
        if then is now:
            return []
        return [key for key in STARTED_WITH if getattr(now, key) != getattr(then, key)]

    def take_over(self, left: Left) -> None:
        """Go on with, or end, what an earlier OneGAI has left of it. Before ``run``."""
        self._owner.take_over(left)

    async def run(self) -> None:
        """The owner task; ends by cancellation, after ``close`` or ``stop``."""
        await self._owner.run()

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
        self._owner.restarts.by_hand = True
        if self.tenancy.state is not State.READY:
            (await self._wait(Caller(use=False))).release()

    def want(self, *, may_evict: bool = True) -> None:
        """Have it started, as the user wants, without waiting. A failure becomes its state."""
        self._owner.restarts.by_hand = True
        if self.tenancy.state is not State.READY and self._owner.starts is not Starts.OVER:
            self.tenancy.callers.want(Caller(may_evict=may_evict, use=False))

    async def stop(
        self,
        force: bool = False,
        reason: StopReason = StopReason.STOPPED,
        text: str = "stopped by you",
    ) -> None:
        """Return once it is stopped. Waits for the leases; with ``force`` it breaks them."""
        self._owner.restarts.by_hand = False
        self._owner.restarts.forget()
        self.tenancy.callers.fail(Stopped(app=self.spec.app))
        if (life := self.tenancy.life) is not None:
            life.end(reason, text, order=Order.BREAK if force else Order.STOP)
            await life.over.wait()

    @asynccontextmanager
    async def at_rest(self, force: bool = False) -> AsyncIterator[None]:
        """Stopped as by ``stop``, and not to be started meanwhile: its files are being changed."""
        if self._owner.starts is Starts.ALLOWED:
            self._owner.starts = Starts.HELD_BACK
        try:
            await self.stop(force, StopReason.CHANGED, "it was updated or uninstalled")
            yield
        finally:
            if self._owner.starts is Starts.HELD_BACK:
                self._owner.starts = Starts.ALLOWED

    async def close(self, *, live_on: bool = False) -> None:
        """The server ends: stop for good, or ``live_on`` if it is ready. Breaks leases."""
        self._owner.starts = Starts.OVER
        self._owner.live_on = live_on
        await self.stop(force=True)

    def hurry(self) -> None:
        """From now on a stop kills it at once, the present one too."""
        self._owner.hurried = True
        life = self.tenancy.life
        if life is not None and life.state is State.STOPPING:
            life.run.kill()

    async def why_lost(self, reason: str) -> AppError:
        """See ``LastLife.why_lost``."""
        return await self._owner.last.why_lost(reason)

    def status(
        self,
        footprints: Mapping[Run, Footprint] = _NOTHING,
        listing: Listing | None = None,
        turns: Busy | None = None,
    ) -> ServiceStatus:
        """A snapshot, with the memory that it has by ``footprints``. Nobody may change it."""
        self._look(listing)
        at, owner = self.tenancy, self._owner
        if at.life is not None or at.callers or (turns and (turns.running or turns.queued)):
            return self._report(footprints, turns)
        # Most are at rest, and of these nothing has changed since they were looked at last.
        facts = (at.rest, at.spec, owner.next, owner.last.failure, at.last_stop, at.learnt)
        if self._rested is None or self._rested[0] != facts:
            self._rested = facts, self._report(footprints, turns)
        return self._rested[1]

    def _report(self, footprints: Mapping[Run, Footprint], turns: Busy | None) -> ServiceStatus:
        run, failure = self.tenancy.run, self._owner.last.failure
        return report(
            self.tenancy,
            footprints.get(run) if run else None,
            failure=failure.message if failure else "",
            place=self._admission.place(self.spec.app),
            start_seconds=self._owner.start_seconds,
            unresponsive=self._owner.health.silent_since,
            outdated=self.outdated,
            turns=turns,
        )

    async def _wait(self, caller: Caller) -> Lease:
        if self._owner.starts is Starts.OVER:
            raise ShuttingDown
        if self.tenancy.state is State.STARTING:
            caller.hear("starting", {"app": self.spec.app})
        self._admission.changed()
        return await self.tenancy.callers.wait(caller)

    def _look(self, listing: Listing | None = None) -> None:
        """At rest, what lies on disk decides between absent, installing, stopped and failed."""
        if self.tenancy.life is not None:
            return
        last = self._owner.last
        match install_state(self._home, self.spec, listing):
            case InstallState.ABSENT:
                self.tenancy.enter(State.ABSENT)
            case InstallState.INSTALLING:
                self.tenancy.enter(State.INSTALLING)
            case InstallState.BROKEN:
                last.failure = InstallBroken(app=self.spec.app)
                self.tenancy.enter(State.FAILED)
            case InstallState.INSTALLED:
                if isinstance(last.failure, InstallBroken | NotInstalled | Installing):
                    last.failure = None
                self.tenancy.enter(State.FAILED if last.failure else State.STOPPED)
