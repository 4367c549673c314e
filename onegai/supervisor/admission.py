"""Who may start, and who makes way: the policy's decisions, carried out in the order of arrival.

Every owner task that wants memory, or a port that another app has, takes a ticket here. One task
looks at all tickets whenever something has changed, and while any is open also a few times a
second, because memory comes and goes without telling.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from onegai.config.entry import AppSpec
from onegai.errors import (
    Deadlock,
    InternalError,
    NoRoomInTime,
    OneGAIError,
    RestartWithoutRoom,
)
from onegai.memory import policy
from onegai.memory.deadlock import deadlocked
from onegai.memory.policy import Decision, Evict, Need, Occupant, Phase, Refuse, Start, Target, Wait
from onegai.memory.probe import Memory
from onegai.memory.readings import RETURN_POLL_SECONDS, Readings
from onegai.memory.refusal import refusal
from onegai.supervisor.callers import Callers

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Between two looks at the memory while somebody waits for it."""


class Tenant(Protocol):
    """What admission needs of a service."""

    spec: AppSpec
    callers: Callers

    def occupant(self) -> Occupant | None:
        """What it takes up now; None: nothing."""
        ...

    def target(self) -> Target:
        """What it wants, for the callers that it has."""
        ...

    def granted(self, gpu: int | None) -> None:
        """It may start. From here on it counts as starting."""
        ...

    def make_way(self, app: str, *, release: bool) -> bool:
        """Begin to stop, or to release VRAM, for that app. False: it is not idle any more."""
        ...

    def pause(self, empty: Callable[[], object]) -> None:
        """Let no new calls in; ``empty`` is called when the last one has left."""
        ...

    def resume(self) -> None:
        """Let calls in again."""
        ...

    def let_in(self, holding: frozenset[str]) -> None:
        """Let those callers in that hold any of these, though it is paused."""
        ...


@dataclass(eq=False)
class _Ticket:
    tenant: Tenant
    done: asyncio.Future[None]
    since: float = field(default_factory=time.monotonic)
    waits_for: tuple[str, ...] = ()

    def fail(self, error: OneGAIError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def moves(self, *apps: str) -> None:
        """Tell its callers that these make room for it, now or once their calls have ended."""
        if apps:
            self.tenant.callers.tell("evicting", apps=list(apps))

    @property
    def arrived(self) -> float:
        """When the first of its callers came."""
        return min((caller.since for caller in self.tenant.callers), default=self.since)

    @property
    def late(self) -> bool:
        """Half of the time that it may wait for memory is over."""
        return time.monotonic() - self.since > self.tenant.spec.queue_timeout / 2

    @property
    def may_evict(self) -> bool:
        """Others make way for one of its callers."""
        return any(caller.may_evict for caller in self.tenant.callers)


class Admission:
    """All tickets of a home. ``run`` must be running."""

    def __init__(self, readings: Readings, tenants: Mapping[str, Tenant]) -> None:
        self.headroom = 0
        """MiB that stay free on each GPU."""
        self._readings = readings
        self._tenants = tenants
        self._tickets: list[_Ticket] = []
        self._paused: set[str] = set()
        self._awaited = frozenset[str]()
        """Services for which a ticket waits. Nothing may keep up those who hold them."""
        self._changed = asyncio.Event()

    def changed(self, *, given_back: bool = False) -> None:
        """Tell that a service has come, gone or fallen idle; ``given_back``: memory was freed."""
        if given_back:
            self._readings.freed()
        self._changed.set()

    async def admitted(self, tenant: Tenant) -> None:
        """Return once the tenant may start; it has been ``granted`` then. Raises the refusal."""
        if self._matters_to_nobody(tenant):
            tenant.granted(None)
            return
        ticket = _Ticket(tenant, asyncio.get_running_loop().create_future())
        self._tickets.append(ticket)
        self._changed.set()
        seconds = tenant.spec.queue_timeout
        try:
            async with asyncio.timeout(seconds):
                await ticket.done
        except TimeoutError:
            names = " and ".join(ticket.waits_for) or "memory"
            raise NoRoomInTime(app=tenant.spec.app, seconds=seconds, busy=names) from None
        finally:
            self._tickets.remove(ticket)
            self._changed.set()

    def declared(self) -> dict[int, int]:
        """Per GPU: MiB that the services there count for, learnt figures included."""
        declared: dict[int, int] = {}
        for one in self._occupants():
            if one.gpu is not None:
                declared[one.gpu] = declared.get(one.gpu, 0) + one.vram
        return declared

    async def plan(self, tenant: Tenant) -> tuple[Decision, Memory]:
        """What would be decided for the tenant now. Changes nothing."""
        memory = await self._readings.settled()
        return self._decide(tenant.target(), memory, self._claimed(memory, tenant)), memory

    def place(self, app: str) -> int:
        """The app's place among those that wait for memory, from 1; 0: it does not wait."""
        if not self._tickets:
            return 0
        order = [ticket.tenant.spec.app for ticket in self._in_order()]
        return order.index(app) + 1 if app in order else 0

    async def run(self) -> None:
        """Decide, for ever."""
        while True:
            pause: float | None = None
            if self._tickets:
                pause = POLL_SECONDS
                if self._readings.may_grow:
                    pause = RETURN_POLL_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self._round()
            except Exception as error:
                log.exception("admission failed")
                reason = f"{type(error).__name__}: {error}"
                for ticket in self._tickets:
                    ticket.fail(InternalError(reason=reason))

    async def _round(self) -> None:
        """One look at all tickets. Nothing is awaited between the reading and the last decision."""
        paused: set[str] = set()
        awaited: set[str] = set()
        if self._tickets or self._held_up():
            memory = await self._readings.settled()
            learnt = self._break_deadlock(memory)
            claimed: set[int | None] = set()
            for ticket in self._in_order():
                target = ticket.tenant.target()
                ahead = target.holding & self._awaited
                left = () if ahead else claimed
                decision = self._decide(target, memory, left, learnt=learnt)
                late = ticket.late and isinstance(decision, Wait)
                if late or (_moves_somebody(decision) and not ticket.may_evict):
                    # It may end in a refusal, and only what is declared is a reason for one.
                    decision = self._decide(target, memory, left, learnt=False)
                if (gpu := self._coming_back(target, decision, memory, left)) is not None:
                    claimed |= _claim(target, gpu)
                    ticket.waits_for = ()
                    continue
                if isinstance(decision, Wait):
                    awaited.update(decision.busy, decision.changing)
                self._carry_out(ticket, decision, memory, claimed, paused)
        self._pause_only(paused)
        if awaited - self._awaited:
            self._changed.set()
        self._awaited = frozenset(awaited)
        for app in paused:
            self._tenants[app].let_in(self._awaited)

    def _carry_out(
        self,
        ticket: _Ticket,
        decision: Decision,
        memory: Memory,
        claimed: set[int | None],
        paused: set[str],
    ) -> None:
        app = ticket.tenant.spec.app
        match decision:
            case Start(gpu):
                ticket.tenant.granted(gpu)
                ticket.done.set_result(None)
            case _ if _moves_somebody(decision) and not ticket.may_evict:
                ticket.fail(RestartWithoutRoom(app=app))
            case Evict(apps, release, gpu):
                claimed |= _claim(ticket.tenant.target(), gpu)
                ticket.waits_for = apps
                if self._still_comes_back(apps):
                    return
                log.info("%s makes room for %s", " and ".join(apps), app)
                ticket.moves(*apps)
                if not all(self._tenants[one].make_way(app, release=release) for one in apps):
                    self._changed.set()
            case Wait(busy, changing, idle, gpu):
                claimed |= _claim(ticket.tenant.target(), gpu)
                ticket.waits_for = (*busy, *idle, *changing)
                paused.update(busy, idle)
                ticket.moves(*busy, *idle)
            case Refuse(why="held", apps=apps):
                self._send_away(ticket.tenant, apps)
            case Refuse(why="others") if self._readings.may_grow:
                ticket.waits_for = ()
                claimed.update([gpu.index for gpu in memory.gpus or ()], [None])
            case Refuse():
                ticket.fail(refusal(ticket.tenant.spec, decision))

    def _decide(
        self,
        target: Target,
        memory: Memory,
        claimed: Collection[int | None],
        *,
        learnt: bool = True,
    ) -> Decision:
        occupants = self._occupants()
        if not learnt:
            target = target.as_declared()
            occupants = [one.as_declared() for one in occupants]
        return policy.decide(target, occupants, memory, self.headroom, claimed)

    def _claimed(self, memory: Memory, tenant: Tenant) -> set[int | None]:
        """The GPUs that those are going to use who wait already, and came before the tenant."""
        claimed: set[int | None] = set()
        for ticket in self._in_order():
            if ticket.tenant is tenant:
                break
            decision = self._decide(ticket.tenant.target(), memory, claimed)
            if not isinstance(decision, Refuse):
                claimed |= _claim(ticket.tenant.target(), decision.gpu)
        return claimed

    def _break_deadlock(self, memory: Memory) -> bool:
        """Send away whoever holds what another needs, where each waits for the other.

        False: they would only by what was learnt, so it must not count this time.
        """
        tenants = [*(ticket.tenant for ticket in self._in_order()), *self._held_up()]
        waiting = [tenant.target() for tenant in tenants]
        occupants = self._occupants()
        if deadlocked(waiting, occupants, memory, self.headroom) is None:
            return True
        waiting = [target.as_declared() for target in waiting]
        occupants = [one.as_declared() for one in occupants]
        stuck = deadlocked(waiting, occupants, memory, self.headroom)
        if stuck is not None:
            self._send_away(self._tenants[stuck.app], tuple(stuck.holding))
        return False

    def _held_up(self) -> list[Tenant]:
        """Those being stopped, for whose end somebody waits who holds something."""
        found = []
        for tenant in self._tenants.values():
            if any(caller.holding for caller in tenant.callers):
                occupant = tenant.occupant()
                if occupant is not None and occupant.phase is Phase.STOPPING:
                    found.append(tenant)
        return found

    def _send_away(self, tenant: Tenant, held: Collection[str]) -> None:
        """Fail those of its callers that hold any of these; the others go on waiting."""
        app = tenant.spec.app
        guilty = [caller for caller in tenant.callers if caller.holding & set(held)]
        names = " and ".join(
            sorted(set().union(*(caller.holding for caller in guilty)) & set(held))
        )
        tenant.callers.fail(Deadlock(app=app, held=names), guilty)
        self._changed.set()

    def _still_comes_back(self, apps: Collection[str]) -> bool:
        """Is one of them parked just now, so that its memory may be on its way?"""
        parked = any(one.parked for one in self._occupants() if one.app in apps)
        return parked and self._readings.may_grow

    def _coming_back(
        self,
        target: Target,
        decision: Decision,
        memory: Memory,
        claimed: Collection[int | None],
    ) -> int | None:
        """The GPU where all that the target lacks may be what others have just given back.

        Where the driver says whose memory is whose, that has been waited for (``returned``).
        """
        lacks = isinstance(decision, Refuse) or _moves_somebody(decision)
        if not lacks or self._readings.tells or not self._readings.may_grow:
            return None
        gpus = tuple(replace(gpu, free=gpu.total) for gpu in memory.gpus or ())
        hoped = self._decide(target, replace(memory, gpus=gpus), claimed)
        return hoped.gpu if isinstance(hoped, Start) else None

    def _matters_to_nobody(self, tenant: Tenant) -> bool:
        target = tenant.target()
        if target.need != Need():
            return False
        return all(one.port != target.port or one.app == target.app for one in self._occupants())

    def _occupants(self) -> list[Occupant]:
        found = (tenant.occupant() for tenant in self._tenants.values())
        return [one for one in found if one is not None]

    def _in_order(self) -> list[_Ticket]:
        pending = [
            ticket
            for ticket in self._tickets
            if not ticket.done.done() and len(ticket.tenant.callers)
        ]
        return sorted(pending, key=lambda ticket: ticket.arrived)

    def _pause_only(self, apps: set[str]) -> None:
        for app in apps:
            self._tenants[app].pause(self.changed)
        for app in self._paused - apps:
            if (tenant := self._tenants.get(app)) is not None:
                tenant.resume()
        self._paused = apps


def _moves_somebody(decision: Decision) -> bool:
    """Has anybody to make way for it who would not do so anyway?"""
    return isinstance(decision, Evict) or (isinstance(decision, Wait) and bool(decision.busy))


def _claim(target: Target, gpu: int | None) -> set[int | None]:
    """What later tickets have to leave alone: its GPU, and RAM (None) if it needs any."""
    claim: set[int | None] = {gpu} if gpu is not None else set()
    return claim | {None} if target.need.ram else claim
