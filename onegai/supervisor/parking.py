"""A ready service that frees its VRAM in place, and stays so until somebody calls it again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from onegai.errors import NotEnoughMemory, OneGAIError
from onegai.schema import StopReason
from onegai.supervisor import hooks
from onegai.supervisor.admission import Admission
from onegai.supervisor.asking import Asking
from onegai.supervisor.hooks import Hooks
from onegai.supervisor.interrupts import first
from onegai.supervisor.leases import Gate
from onegai.supervisor.life import Life, Order
from onegai.supervisor.tenancy import Tenancy

log = logging.getLogger(__name__)


class Parking:
    """One stay. Its owner task waits in ``stay``; the gate is paused then."""

    def __init__(
        self,
        tenancy: Tenancy,
        life: Life,
        gate: Gate,
        *,
        admission: Admission,
        hooks: Hooks,
        asking: Asking,
    ) -> None:
        self._tenancy = tenancy
        self._life = life
        self._run = life.run
        self._gate = gate
        self._admission = admission
        self._hooks = hooks
        self._asking = asking

    async def stay(self) -> bool:
        """Release the VRAM and come back for a caller; False: it must stop instead.

        One that cannot release stays as it is. Raises why its model cannot be loaded again.
        """
        tenancy, life, spec = self._tenancy, self._life, self._tenancy.spec
        releasing = hooks.release(spec, self._run.url, self._hooks, self._asking)
        try:
            released = await self._first(work=releasing) == "work"
        except OneGAIError as error:
            log.warning("%s", error.message)
            life.can_release = False
            life.park_no_more()
            tenancy.resume()
            return True
        life.park_no_more()
        if not released:
            return False
        tenancy.park(life)
        self._admission.changed(given_back=True)
        while life.parked:
            if not await self._wanted() or not await self._back():
                return False
        self._gate.resume()
        return True

    async def _wanted(self) -> bool:
        """Wait until somebody calls it; False: it must stop."""
        at, life = self._tenancy, self._life
        how = await self._first(wanted=at.callers.present.wait(), idle=at.idle(life, self._gate))
        # It may have become idle in the same turn of the loop, and that is for good.
        return how == "wanted" and life.order < Order.STOP

    async def _back(self) -> bool:
        """Have it loaded again, while somebody waits for that; False: it must stop.

        It is still parked afterwards where nobody waited until it had room, and where there is no
        room for it.
        """
        callers, life = self._tenancy.callers, self._life
        try:
            how = await self._first(work=self._loaded(), gone=callers.gone.wait())
        except NotEnoughMemory:
            # It may have kept some of what it needs now; a start from nothing has all.
            life.end(StopReason.RESTARTED, "there was no room for it to load its model again")
            return False
        except OneGAIError as error:
            callers.fail(error)
            if not life.parked:
                raise
            return True
        return how == "work" or (how == "gone" and life.parked)

    async def _loaded(self) -> None:
        await self._admission.admitted(self._tenancy)
        await self._run.watched(self._hooks.load(self._tenancy.spec, self._run.url))

    async def _first(self, **works: Awaitable[object]) -> str:
        """The name of what comes first: one of ``works``, its process's end or a stop."""
        stop = self._life.told(Order.STOP)
        return await first(**works, ended=self._run.ended(), stop=stop)
