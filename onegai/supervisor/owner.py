"""The owner task of one service: the only one that begins and ends its lives."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum, auto

from onegai.apps.installed import check_installed
from onegai.config.home import Home
from onegai.errors import (
    Died,
    Inactive,
    Installing,
    InternalError,
    NoService,
    OneGAIError,
    RestartWithoutRoom,
    ShuttingDown,
    Stopped,
)
from onegai.memory.readings import Readings
from onegai.memory.sampler import Sampler
from onegai.process.logfile import LogFile
from onegai.schema import State, StopReason
from onegai.supervisor import hooks
from onegai.supervisor.admission import Admission
from onegai.supervisor.asking import Asking
from onegai.supervisor.callers import Caller
from onegai.supervisor.health import Health
from onegai.supervisor.hooks import Hooks
from onegai.supervisor.interrupts import Interrupted, first
from onegai.supervisor.lastlife import LastLife
from onegai.supervisor.leases import Gate
from onegai.supervisor.left import Left
from onegai.supervisor.life import Life, Order
from onegai.supervisor.parking import Parking
from onegai.supervisor.restarts import Restarts
from onegai.supervisor.run import Run
from onegai.supervisor.start import Start
from onegai.supervisor.tenancy import Tenancy

log = logging.getLogger(__name__)

_NO_MORE = "it could not go on after the end of OneGAI"


class Starts(Enum):
    """May it be started?"""

    ALLOWED = auto()
    HELD_BACK = auto()
    """Not now: its files are being changed."""
    OVER = auto()
    """Never again: the server ends."""


class Owner:
    """Of one service. Belongs to the event loop's thread."""

    def __init__(
        self,
        home: Home,
        tenancy: Tenancy,
        log_file: LogFile,
        *,
        readings: Readings,
        admission: Admission,
        sampler: Sampler,
        hooks: Hooks,
        asking: Asking,
        restart: Callable[[], None],
    ) -> None:
        """``restart`` is called when a crashed service is to be started again."""
        self.next = tenancy.spec
        """The entry of the next life."""
        self.starts = Starts.ALLOWED
        self.live_on = False
        """At the server's end it lives on, if it is ready."""
        self.hurried = False
        """What is stopped is killed at once."""
        self.start_seconds: float | None = None
        """How long the last start took from the moment when there was room."""
        self.last = LastLife(tenancy)
        self.health = Health(lambda: tenancy.spec, asking.session)
        self.restarts = Restarts(restart)
        self._home = home
        self._at = tenancy
        self._log = log_file
        self._readings = readings
        self._admission = admission
        self._sampler = sampler
        self._hooks = hooks
        self._asking = asking
        self._left: Left | None = None

    def take_over(self, left: Left) -> None:
        """Go on with, or end, what an earlier OneGAI has left of it. Before ``run``."""
        self._left = left
        self._at.life = self._new_life()

    async def run(self) -> None:
        """The task; ends by cancellation, while the service is at rest."""
        try:
            while True:
                self._at.spec = self.next
                left, self._left = self._left, None
                if left is None:
                    await self._wanted()
                    self._at.life = self._new_life()
                assert self._at.life is not None
                await self._live(self._at.life, left)
        finally:
            self.starts = Starts.OVER
            self._at.callers.fail(Stopped(app=self._at.spec.app))

    def _new_life(self) -> Life:
        return Life(Run(self._home, lambda: self._at.spec, self._log, self._asking))

    async def _wanted(self) -> None:
        """Return when somebody waits for it to be ready, which nobody may once it is over."""
        callers = self._at.callers
        while True:
            await callers.present.wait()
            if self.starts is Starts.OVER:
                callers.fail(ShuttingDown())
            elif len(callers):
                return

    async def _live(self, life: Life, left: Left | None) -> None:
        """From the moment when it is wanted, or from what is ``left``, until it is gone again."""
        at, run = self._at, life.run
        self.restarts.forget()
        self.last.failure = None
        gate: Gate | None = None
        try:
            gate = await self._come_up(life, left)
            if gate is not None:
                await self._serve(life, gate)
        except Exception as error:
            log.exception("the owner of %s failed", at.spec.app)
            self.last.failure = InternalError(reason=f"{type(error).__name__}: {error}")
            life.end(StopReason.FAILED, self.last.failure.message)
            at.callers.fail(self.last.failure)
        finally:
            made = run.pid is not None or left is not None
            if made:
                at.enter(State.STOPPING)
            if self.hurried:
                run.kill()
            pids = await run.end()
            if at.spec.vram:
                await self._readings.returned(pids)
            self._sampler.end(at.spec, used=gate is not None and gate.used)
            failed, stopped = self.last.failure is not None, made or gate is not None
            at.rest_after(life, failed=failed, stopped=stopped)
            self._admission.changed(given_back=at.spec.vram > 0 or at.spec.ram > 0)

    async def _come_up(self, life: Life, left: Left | None) -> Gate | None:
        """None: it does not, and its callers have been told why."""
        at = self._at
        start = Start(at, life, self._admission, self._sampler, self._hooks)
        try:
            if left is not None:
                start.take(left)
            self._check_can_start()
            gate = await (start.up() if left is None else start.up_again(left))
            self.start_seconds = start.seconds or self.start_seconds
            return gate
        except Interrupted:
            log.info("%s: its start was abandoned", at.spec.app)
            if left is None:
                life.end(StopReason.ABANDONED, "nobody waited for its start any more")
            else:
                life.end(StopReason.LEFT_OVER, _NO_MORE)
        except OneGAIError as error:
            if left is None:
                self.last.failure = error
                at.callers.fail(error, self._meant_by(error))
            else:
                log.info("%s: it does not go on: %s", at.spec.app, error.message)
                life.end(StopReason.LEFT_OVER, f"{_NO_MORE}: {error.message}")
        return None

    def _meant_by(self, error: OneGAIError) -> list[Caller]:
        """A call may have come while the refusal of a restart was on its way; it gets its turn."""
        if not isinstance(error, RestartWithoutRoom):
            return list(self._at.callers)
        return [one for one in self._at.callers if not one.may_evict]

    def _check_can_start(self) -> None:
        """Raises the reason why it cannot even be tried."""
        spec = self._at.spec
        if not spec.active:
            raise Inactive(app=spec.app)
        if not spec.has_service:
            raise NoService(app=spec.app)
        if self.starts is Starts.HELD_BACK:
            raise Installing(app=spec.app)
        check_installed(self._home, spec)

    async def _serve(self, life: Life, gate: Gate) -> None:
        """Ready: until it ends, a stop is asked for, or it has been idle for long."""
        at, run = self._at, life.run
        life.gate = gate
        ready_since = time.monotonic()
        while True:
            at.enter(State.READY)
            run.note(life.gpu)
            at.callers.let_in(gate)
            self._admission.changed()
            self._sampler.changed()
            how = await first(
                ended=run.ended(),
                port_closed=run.port_closed(),
                health=self.health.watch(gate),
                stop=life.told(Order.STOP),
                park=life.told(Order.PARK),
                idle=at.idle(life, gate),
            )
            # Once it is to stop, its gate is closed for good, whatever else is wanted of it.
            if how != "park" or life.order >= Order.STOP or not await self._parked(life, gate):
                break
        gate.close()
        if self.live_on and not life.parked:
            run.leave()
        run.unnote()
        at.enter(State.STOPPING)
        self._admission.changed()
        if run.over:
            gate.end()
            life.gate = None
            self._crashed(life, time.monotonic() - ready_since)
            return
        how = await first(drained=gate.drained(), broken=life.told(Order.BREAK), ended=run.ended())
        if how == "broken":
            self.last.cut(Died(app=at.spec.app, how="it was stopped by force"))
        elif how == "ended":
            self.last.cut(run.died())
        gate.end()
        life.gate = None
        if not (life.order is Order.BREAK or life.parked or run.over):
            await hooks.before_stop(at.spec, life, self._hooks)

    async def _parked(self, life: Life, gate: Gate) -> bool:
        """It has been, and serves again; False: it must stop."""
        life.run.unnote()
        parking = Parking(
            self._at,
            life,
            gate,
            admission=self._admission,
            hooks=self._hooks,
            asking=self._asking,
        )
        try:
            return await parking.stay()
        except OneGAIError as error:
            self.last.failure = error
            life.end(StopReason.FAILED, error.message)
            return False

    def _crashed(self, life: Life, lived: float) -> None:
        self.last.failure = died = life.run.died()
        self.last.cut(died)
        log.warning("%s", died.message)
        if life.order < Order.STOP:
            if isinstance(died, Died):
                life.end(StopReason.CRASHED, f"crashed: {died.params['how']}")
            else:
                life.end(StopReason.FAILED, died.message)
            self.restarts.crashed(self._at.spec, lived)
