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
from dataclasses import dataclass, field
from typing import Protocol

from onegai.config.entry import AppSpec
from onegai.memory.policy import Need, Occupant, Phase, Target
from onegai.schema import LastStop, State, StopReason
from onegai.supervisor.callers import Callers
from onegai.supervisor.hooks import Hooks, knows_release
from onegai.supervisor.leases import Gate
from onegai.supervisor.life import Life, Order
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


@dataclass(frozen=True)
class Rest:
    """Between two lives."""

    state: State = State.STOPPED
    since: float = field(default_factory=time.time)


class Tenancy:
    """One service's. Belongs to the event loop's thread."""

    def __init__(self, spec: AppSpec, hooks: Hooks, gpus: Gpus) -> None:
        self.spec = spec
        """The entry that it is started with, or runs with."""
        self.callers = Callers()
        self.life: Life | None = None
        """None: it is at rest."""
        self.rest = Rest()
        self.last_stop: LastStop | None = None
        """Why it stopped, or was parked, the last time."""
        self._hooks = hooks
        self._gpus = gpus
        self._edited = asyncio.Event()

    @property
    def state(self) -> State:
        """Its state now."""
        return self.life.state if self.life is not None else self.rest.state

    @property
    def since(self) -> float:
        """When it came into its state, ``time.time``."""
        return self.life.since if self.life is not None else self.rest.since

    @property
    def run(self) -> Run | None:
        """What runs of it."""
        return self.life.run if self.life is not None else None

    @property
    def gate(self) -> Gate | None:
        """Open while it is ready. From any thread."""
        life = self.life
        return life.gate if life is not None else None

    def edit(self, spec: AppSpec) -> None:
        """Be this from now on: its entry was edited while it runs."""
        if self.life is not None and spec.release != self.spec.release:
            self.life.can_release = True
        self.spec = spec
        self._edited.set()

    def enter(self, state: State) -> None:
        """Be in that state from now on."""
        if state is self.state:
            return
        if self.life is None:
            self.rest = Rest(state)
        else:
            self.life.state, self.life.since = state, time.time()
        log.debug("%s: %s", self.spec.app, state)
        if state is State.STARTING:
            self.callers.tell("starting", app=self.spec.app)

    def rest_after(self, life: Life, *, failed: bool, stopped: bool) -> None:
        """That life is over. ``stopped``: it had a process, or was ready."""
        if stopped and life.why is not None:
            self.last_stop = life.why.model_copy(update={"at": time.time()})
        self.life = None
        self.rest = Rest(State.FAILED if failed else State.STOPPED)
        life.over.set()

    def park(self, life: Life) -> None:
        """It has released its VRAM."""
        life.parked = True
        app = life.parks_for
        self.last_stop = LastStop(
            reason=StopReason.MADE_ROOM,
            app=app,
            text=f"released its memory for {app}",
            at=time.time(),
            parked=True,
        )
        self.enter(State.PARKED)

    @property
    def learnt(self) -> int | None:
        """VRAM that its recent runs took where it is, MiB; at rest, wherever they took most."""
        learnt = self._gpus.learnt(self.spec)
        if self.life is not None and self.life.gpu is not None:
            return learnt.get(self.life.gpu)
        return max(learnt.values(), default=None)

    async def idle(self, life: Life, gate: Gate) -> None:
        """Return once nobody has been inside for ``idle_timeout``; it is to stop then."""
        while True:
            self._edited.clear()
            seconds = self.spec.idle_timeout
            left = gate.last_used + seconds - time.monotonic() if seconds else None
            if left is not None and left <= 0 and gate.close_if_idle():
                log.info("%s: idle for %g s", self.spec.app, seconds)
                life.end(StopReason.IDLE, f"idle for {seconds:g} s")
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left is None else max(left, 0.001)):
                    await self._edited.wait()

    # --- what admission asks of it (admission.Tenant) ----------------------------------------

    def occupant(self) -> Occupant | None:
        """What it takes up now; None: nothing."""
        life = self.life
        if life is None or not life.placed:
            return None
        spec, gate = self.spec, life.gate
        going = life.order is not Order.GO_ON
        phase = Phase.READY
        if life.state is State.STOPPING or (going and gate is not None):
            phase = Phase.STOPPING
        elif gate is None or life.state is State.STARTING:
            phase = Phase.STARTING
        return Occupant(
            app=spec.app,
            need=Need(spec.vram_mib, spec.ram_mib),
            gpu=life.gpu,
            port=spec.port,
            phase=phase,
            parked=life.parked,
            leased=gate is not None and gate.inside > 0,
            keep=spec.keep,
            used=gate.last_used if gate else time.monotonic(),
            can_release=life.can_release and not life.parked and knows_release(spec, self._hooks),
            learnt=self.learnt or 0,
        )

    def target(self) -> Target:
        """What it wants, for the callers that it has."""
        spec = self.spec
        holding = frozenset[str]().union(*(caller.holding for caller in self.callers))
        learnt = self._gpus.learnt(spec)
        life = self.life
        if life is not None and life.parked:
            # It has its RAM and its port.
            where = () if life.gpu is None else (life.gpu,)
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
        assert self.life is not None
        self.life.gpu = gpu
        self.life.parked = False
        self.enter(State.STARTING)

    def make_way(self, app: str, *, release: bool) -> bool:
        """Begin to stop, or to release VRAM, for that app. False: it is not idle any more."""
        life, gate = self.life, self.gate
        if life is None or gate is None:
            return False
        if not (gate.pause_if_idle() if release else gate.close_if_idle()):
            return False
        if release:
            life.park(app)
        else:
            life.end(StopReason.MADE_ROOM, f"made room for {app}", app)
        return True

    def pause(self, empty: Callable[[], object]) -> None:
        """Let no new calls in; ``empty`` is called when the last one has left."""
        if (gate := self.gate) is not None:
            gate.pause(empty)

    def resume(self) -> None:
        """Let calls in again."""
        if self.life is not None and self.life.serves and self.life.gate is not None:
            self.life.gate.resume()
            self.callers.let_in(self.life.gate)

    def let_in(self, holding: frozenset[str]) -> None:
        """Let those callers in that hold any of these, though it is paused."""
        if self.life is not None and self.life.serves and self.life.gate is not None:
            self.callers.let_in(self.life.gate, holding)
