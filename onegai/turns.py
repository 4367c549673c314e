"""How many calls of an app run at once; the rest wait for their turn, in order."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from types import TracebackType
from typing import Self

from onegai.catalog import AppSpec
from onegai.errors import QueueFull, QueueTimeout

_WEIGHT = 0.2
"""Of the newest call in the running mean of how long a call takes."""


class Turns:
    """One app's calls. Belongs to the event loop."""

    def __init__(self) -> None:
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._places = 0
        self._mean = 0.0

    @property
    def queued(self) -> int:
        """Calls that wait: for their turn, or for the service."""
        return self._places - self.running

    def in_line(self, spec: AppSpec) -> int:
        """The number in line of a call that asks for its turn now; 0: it need not wait."""
        free = self.running < spec.calls_at_once and not self._waiting
        return 0 if free else len(self._waiting) + 1

    def place(self, spec: AppSpec) -> Place:
        """A place in the queue, to be entered. Raises QueueFull when ``queue`` calls wait."""
        if self._places >= spec.calls_at_once + spec.queue:
            seconds = self._mean * (self.queued + 1) / spec.calls_at_once
            retry_after = min(max(math.ceil(seconds), 1), 60)
            raise QueueFull(app=spec.app, waiting=self.queued, retry_after=retry_after)
        return Place(self, spec)

    def _enter(self) -> None:
        self._places += 1

    async def _turn(self, spec: AppSpec) -> None:
        if self.running < spec.calls_at_once and not self._waiting:
            self.running += 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(spec.queue_timeout):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._next(spec)
            elif mine in self._waiting:
                self._waiting.remove(mine)
            if isinstance(error, TimeoutError):
                raise QueueTimeout(
                    app=spec.app, seconds=spec.queue_timeout, running=self.running
                ) from None
            raise

    def _leave(self, spec: AppSpec, seconds: float | None) -> None:
        self._places -= 1
        if seconds is not None:
            self._mean += _WEIGHT * (seconds - self._mean)
            self._next(spec)

    def _next(self, spec: AppSpec) -> None:
        """A turn is over: hand it on. ``running`` counts it until nobody takes it."""
        self.running -= 1
        while self._waiting and self.running < spec.calls_at_once:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                self.running += 1


class Place:
    """One call's place, a context manager; ``turn`` waits for its turn, which leaving ends."""

    def __init__(self, turns: Turns, spec: AppSpec) -> None:
        self._turns = turns
        self._spec = spec
        self._begun: float | None = None

    def __enter__(self) -> Self:
        self._turns._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        begun = self._begun
        seconds = None if begun is None else time.monotonic() - begun
        self._turns._leave(self._spec, seconds)

    @property
    def in_line(self) -> int:
        """Its number in line, if it asked for its turn now; 0: it would not have to wait."""
        return self._turns.in_line(self._spec)

    async def turn(self) -> None:
        """Return when it is this call's turn. Raises QueueTimeout."""
        await self._turns._turn(self._spec)
        self._begun = time.monotonic()
