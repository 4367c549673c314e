"""Where one service stands, and what it takes up of the machine.

Its owner task writes this; admission reads it, and asks it to make way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from onegai.config.entry import AppSpec
from onegai.memory.policy import Need, Occupant, Phase, Target
from onegai.schema import LastStop, State, StopReason
from onegai.supervisor.callers import Callers
from onegai.supervisor.hooks import Hooks, knows_release
from onegai.supervisor.leases import Gate
from onegai.supervisor.run import Run

log = logging.getLogger(__name__)


class Gpus(Protocol):
    """What is known of the GPUs and of what apps take there."""

    def learnt(self, spec: AppSpec) -> Mapping[int, int]:
        """Per GPU: VRAM that its recent runs there took, MiB."""
        ...

    def named(self, device: str) -> int | None:
        """The index of a device of CUDA_VISIBLE_DEVICES; None: not known."""
        ...


class Tenancy:
    """One service's. Belongs to the event loop's thread."""

    def __init__(self, spec: AppSpec, hooks: Hooks, gpus: Gpus) -> None:
        self.spec = spec
        self.callers = Callers()
        self.state = State.STOPPED
        self.since = time.time()
        self.stop = asyncio.Event()
        """It is to stop; set by ``end``."""
        self.parking = asyncio.Event()
        """It is to release its VRAM."""
        self.last_stop: LastStop | None = None
        """Why it stopped, or was parked, the last time."""
        self._hooks = hooks
        self._gpus = gpus
        self._edited = asyncio.Event()
        self.begin(None)

    def begin(self, run: Run | None) -> None:
        """A new life, or (None) the rest after the last one."""
        self.run = run
        self.gate: Gate | None = None
        """Open while it is ready."""
        self.gpu: int | None = None
        self.placed = False
        """It may start, or has a process."""
        self.parked = False
        self.can_release = True
        self._why: LastStop | None = None
        self._parking_for = ""

    def edit(self, spec: AppSpec) -> None:
        """Be this from now on: its entry was edited while it runs."""
        self.can_release = self.can_release or spec.release != self.spec.release
        self.spec = spec
        self._edited.set()

    def enter(self, state: State) -> None:
        """Be in that state from now on."""
        if state is not self.state:
            self.state = state
            self.since = time.time()
            log.debug("%s: %s", self.spec.app, state)
            if state is State.STARTING:
                self.callers.tell("starting", app=self.spec.app)

    def end(self, reason: StopReason, text: str, app: str = "") -> None:
        """It is to stop; of several reasons the first counts. ``app``: it makes room for that."""
        if self._why is None:
            self._why = LastStop(reason=reason, text=text, app=app, at=time.time())
        self.stop.set()

    def stopped(self) -> None:
        """It has, for the reason that ``end`` was given."""
        if self._why is not None:
            self.last_stop = self._why.model_copy(update={"at": time.time()})

    def park(self) -> None:
        """It has released its VRAM."""
        self.parked = True
        app, now = self._parking_for, time.time()
        text = f"released its memory for {app}"
        self.last_stop = LastStop(
            reason=StopReason.MADE_ROOM, app=app, text=text, at=now, parked=True
        )
        self.enter(State.PARKED)

    @property
    def serves(self) -> bool:
        """It is ready, and not about to release its VRAM."""
        return self.state is State.READY and not self.parking.is_set()

    @property
    def learnt(self) -> int | None:
        """VRAM that its recent runs took where it is, MiB; at rest, wherever they took most."""
        learnt = self._gpus.learnt(self.spec)
        if self.gpu is not None:
            return learnt.get(self.gpu)
        return max(learnt.values(), default=None)

    async def idle(self, gate: Gate) -> None:
        """Return once nobody has been inside for ``idle_timeout``; it is to stop then."""
        while True:
            self._edited.clear()
            seconds = self.spec.idle_timeout
            left = gate.last_used + seconds - time.monotonic() if seconds else None
            if left is not None and left <= 0 and gate.close_if_idle():
                log.info("%s: idle for %g s", self.spec.app, seconds)
                self.end(StopReason.IDLE, f"idle for {seconds:g} s")
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left is None else max(left, 0.001)):
                    await self._edited.wait()

    # --- what admission asks of it (admission.Tenant) ----------------------------------------

    def occupant(self) -> Occupant | None:
        """What it takes up now; None: nothing."""
        if not self.placed:
            return None
        spec, gate = self.spec, self.gate
        going = self.stop.is_set() or self.parking.is_set()
        phase = Phase.READY
        if self.state is State.STOPPING or (going and gate is not None):
            phase = Phase.STOPPING
        elif gate is None or self.state is State.STARTING:
            phase = Phase.STARTING
        return Occupant(
            app=spec.app,
            need=Need(spec.vram_mib, spec.ram_mib),
            gpu=self.gpu,
            port=spec.port,
            phase=phase,
            parked=self.parked,
            leased=gate is not None and gate.inside > 0,
            keep=spec.keep,
            used=gate.last_used if gate else time.monotonic(),
            can_release=self.can_release and not self.parked and knows_release(spec, self._hooks),
            learnt=self.learnt or 0,
        )

    def target(self) -> Target:
        """What it wants, for the callers that it has."""
        spec = self.spec
        holding = frozenset[str]().union(*(caller.holding for caller in self.callers))
        learnt = self._gpus.learnt(spec)
        if self.parked:
            # It has its RAM and its port.
            where = () if self.gpu is None else (self.gpu,)
            return Target(spec.app, Need(spec.vram_mib), None, where, holding, learnt)
        need = Need(spec.vram_mib, spec.ram_mib)
        return Target(spec.app, need, spec.port, self._visible(), holding, learnt)

    def _visible(self) -> tuple[int, ...]:
        """The GPUs that its environment names; empty: any. Of several that its entry names, which
        it may use all, the first one counts."""
        if (own := self.spec.env.get("CUDA_VISIBLE_DEVICES")) is not None:
            names = own.split(",")[:1]
        else:
            names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        found = (self._gpus.named(name.strip()) for name in names)
        return tuple(index for index in found if index is not None)

    def granted(self, gpu: int | None) -> None:
        """It may start. From here on it counts as starting."""
        self.placed = True
        self.gpu = gpu
        self.parked = False
        self.enter(State.STARTING)

    def make_way(self, app: str, *, release: bool) -> bool:
        """Begin to stop, or to release VRAM, for that app. False: it is not idle any more."""
        gate = self.gate
        if gate is None or not (gate.pause_if_idle() if release else gate.close_if_idle()):
            return False
        if release:
            self._parking_for = app
            self.parking.set()
        else:
            self.end(StopReason.MADE_ROOM, f"made room for {app}", app)
        return True

    def pause(self, empty: Callable[[], object]) -> None:
        """Let no new calls in; ``empty`` is called when the last one has left."""
        if self.gate is not None:
            self.gate.pause(empty)

    def resume(self) -> None:
        """Let calls in again."""
        if self.gate is not None and self.serves:
            self.gate.resume()
            self.callers.let_in(self.gate)

    def let_in(self, holding: frozenset[str]) -> None:
        """Let those callers in that hold any of these, though it is paused."""
        if self.gate is not None and self.serves:
            self.callers.let_in(self.gate, holding)
