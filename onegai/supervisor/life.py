"""One life of a service: from the moment when somebody wants it until its process is gone."""

from __future__ import annotations

import asyncio
import time
from enum import IntEnum

from onegai.schema import LastStop, State, StopReason
from onegai.supervisor.leases import Gate
from onegai.supervisor.run import Run

PLACED = frozenset({State.STARTING, State.READY, State.PARKED, State.STOPPING})
"""The states of a life that has been granted its memory and its port."""


class Order(IntEnum):
    """What a life is told to do; a greater one replaces a smaller one."""

    GO_ON = 0
    PARK = 1
    """Release its VRAM in place."""
    STOP = 2
    """Stop once the calls in flight have ended."""
    BREAK = 3
    """Stop at once, calls in flight or not."""


class Life:
    """What is so in one life only. Its owner task writes it; others give orders."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.state = State.QUEUED
        self.since = time.time()
        self.gate: Gate | None = None
        """There while it is ready or parked."""
        self.gpu: int | None = None
        self.parked = False
        """It has released its VRAM, and has not been granted it again."""
        self.can_release = True
        """False once it has failed to."""
        self.order = Order.GO_ON
        self.why: LastStop | None = None
        """Why it is to stop: of several reasons the first."""
        self.parks_for = ""
        """The app for which it releases its VRAM."""
        self.over = asyncio.Event()
        """Set when nothing of it is left."""
        self._raised = asyncio.Event()

    @property
    def placed(self) -> bool:
        """It takes up memory, or is about to; what runs elsewhere takes none of this machine."""
        return self.state in PLACED and not self.run.elsewhere

    @property
    def serves(self) -> bool:
        """It is ready, and told nothing else."""
        return self.state is State.READY and self.order is Order.GO_ON

    def park(self, app: str) -> None:
        """Release its VRAM for that app."""
        self.parks_for = app
        self._raise(Order.PARK)

    def end(self, reason: StopReason, text: str, app: str = "", order: Order = Order.STOP) -> None:
        """Stop. ``app``: it makes room for that."""
        if self.why is None:
            self.why = LastStop(reason=reason, text=text, app=app, at=time.time())
        self._raise(order)

    async def told(self, order: Order) -> None:
        """Return once it has this order, or a greater one."""
        while self.order < order:
            await self._raised.wait()

    def park_no_more(self) -> None:
        """It has released its VRAM, or cannot."""
        if self.order is Order.PARK:
            self.order = Order.GO_ON

    def _raise(self, order: Order) -> None:
        if order > self.order:
            self.order = order
            self._raised.set()
            self._raised = asyncio.Event()
