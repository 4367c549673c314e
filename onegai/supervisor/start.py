"""One start of a service: from being wanted to being ready. Or its going on."""

from __future__ import annotations

import asyncio
import time

from onegai.memory.sampler import Sampler
from onegai.schema import State
from onegai.supervisor.admission import Admission
from onegai.supervisor.hooks import Hooks
from onegai.supervisor.interrupts import Interrupted, first
from onegai.supervisor.leases import Gate
from onegai.supervisor.left import Left
from onegai.supervisor.life import Life, Order
from onegai.supervisor.tenancy import Tenancy


class Start:
    """Of one life. Its owner task waits in ``up`` or ``up_again`` for the gate."""

    def __init__(
        self, tenancy: Tenancy, life: Life, admission: Admission, sampler: Sampler, hooks: Hooks
    ) -> None:
        self.seconds: float | None = None
        """How long it took from the moment when there was room."""
        self._tenancy = tenancy
        self._life = life
        self._run = life.run
        self._admission = admission
        self._sampler = sampler
        self._hooks = hooks

    async def up(self) -> Gate:
        """Raises why it fails; Interrupted at a stop, and when nobody waits any more."""
        work = asyncio.ensure_future(self._from_nothing())
        how = await first(
            work=work,
            stop=self._life.told(Order.STOP),
            gone=self._tenancy.callers.gone.wait(),
        )
        if how != "work":
            raise Interrupted
        return work.result()

    def take(self, left: Left) -> None:
        """The process is what an earlier OneGAI has left; ``up_again`` is to come, or the end."""
        self._run.take(left)
        self._tenancy.granted(left.note.gpu if left.note else None)

    async def up_again(self, left: Left) -> Gate:
        """Have what was taken ready again. Raises why not; Interrupted if it cannot go on."""
        if left.note is None or left.note.started_as != self._tenancy.spec.started_as:
            raise Interrupted
        if await first(work=self._run.resume(), stop=self._life.told(Order.STOP)) != "work":
            raise Interrupted
        return Gate(self._run.url)

    async def _from_nothing(self) -> Gate:
        """Get room for it, bring it up and load its model."""
        at = self._tenancy
        if self._run.elsewhere:
            at.enter(State.STARTING)
        else:
            await self._admission.admitted(at)
            self._sampler.begin(at.spec.app)
        begun = time.monotonic()
        await self._run.start(self._life.gpu)
        await self._run.watched(self._hooks.load(at.spec, self._run.url))
        self.seconds = round(time.monotonic() - begun, 3)
        return Gate(self._run.url)
