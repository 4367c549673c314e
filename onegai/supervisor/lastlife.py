"""How the last life of a service ended: what those are told who used it, or want it again."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from onegai.errors import AppError, OneGAIError
from onegai.schema import State
from onegai.supervisor.readiness import unreachable
from onegai.supervisor.tenancy import Tenancy

CUT_OFF_SECONDS = 1.0
"""How long the requests of a life that has ended under them may take to see that."""


class LastLife:
    """Of one service. Belongs to the event loop's thread."""

    def __init__(self, tenancy: Tenancy) -> None:
        self.failure: OneGAIError | None = None
        """Why it is not up; None: for no failure."""
        self._tenancy = tenancy
        self._last_cut: tuple[AppError | None, float] = (None, 0.0)

    def cut(self, died: AppError) -> None:
        """It has ended under its users, just now."""
        self._last_cut = died, time.monotonic()

    async def why_lost(self, reason: str) -> AppError:
        """The error for a request whose connection broke: the child's end if that is the cause.

        The end of a process is noticed a moment after its sockets close, so this waits for it,
        0.5 s at most. One that lives, but has closed its port, is ended. The next life may have
        begun already.
        """
        at = self._tenancy
        if at.run is not None:
            at.run.doubt()
        await self._end_is_known()
        if at.state is State.READY and at.run is not None and self._cut_off is None:
            await at.run.check_port()
            if at.run is not None and at.run.over:
                await self._end_is_known()
        if at.state is not State.READY and isinstance(self.failure, AppError):
            return self.failure
        return self._cut_off or unreachable(at.spec, reason)

    @property
    def _cut_off(self) -> AppError | None:
        """How the last life ended under its users, if it did just now."""
        died, when = self._last_cut
        return died if time.monotonic() - when < CUT_OFF_SECONDS else None

    async def _end_is_known(self) -> None:
        """Return when it is known how its life has ended, or in 0.5 s."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while self._cut_off is None and self._is_up:
                    await asyncio.sleep(0.005)

    @property
    def _is_up(self) -> bool:
        """As far as is known. A func file's ``load`` asks a service that is starting."""
        at = self._tenancy
        loading = at.state is State.STARTING and at.run is not None and not at.run.over
        return at.gate is not None or loading
