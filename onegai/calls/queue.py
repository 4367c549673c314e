"""How many calls of an app run at once; the rest wait for their turn, in order."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onegai.config.entry import AppSpec
from onegai.errors import QueueFull, QueueTimeout
from onegai.events import Tell, tell_nobody

_WEIGHT = 0.2
"""Of the newest call in the running mean of how long a call takes."""


class Turns:
    """One app's calls. Belongs to the event loop."""

    def __init__(self) -> None:
        self.running = 0
        self._waiting: deque[_Waiting] = deque()
        self._at_once = 1
        self._stalled = 0
        self._places = 0
        self._mean = 0.0

    @property
    def queued(self) -> int:
        """Calls that wait: for their turn, or for the service."""
        return self._places - self.running

    def adopt(self, spec: AppSpec) -> None:
        """Let as many run as the entry says now; those that wait may come in at once."""
        self._at_once = spec.calls_at_once
        self._let_in()

    def place(self, spec: AppSpec) -> Place:
        """A place in the queue, to be left. Raises QueueFull when ``queue`` calls wait."""
        if self._places >= spec.calls_at_once + spec.queue:
            seconds = self._mean * (self.queued + 1) / spec.calls_at_once
            retry_after = min(max(math.ceil(seconds), 1), 60)
            raise QueueFull(app=spec.app, waiting=self.queued, retry_after=retry_after)
        if not self._places:
            self._at_once = spec.calls_at_once
        self._places += 1
        return Place(self, spec)

    async def _turn(self, spec: AppSpec, give_back: Callable[[], None], tell: Tell) -> None:
        if self.running < self._at_once and not self._waiting:
            self.running += 1
            return
        mine = asyncio.get_running_loop().create_future()
        waiting = _Waiting(mine, give_back, tell)
        self._waiting.append(waiting)
        tell("queued", {"place": len(self._waiting)})
        self._give_back()
        try:
            async with asyncio.timeout(spec.queue_timeout):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._next()
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
                self._tell_places()
            if isinstance(error, TimeoutError):
                raise QueueTimeout(
                    app=spec.app, seconds=spec.queue_timeout, running=self.running
                ) from None
            raise

    def _leave(self, seconds: float | None) -> None:
        self._places -= 1
        if seconds is not None:
            self._mean += _WEIGHT * (seconds - self._mean)
            self._next()

    def _next(self) -> None:
        """A turn is over: hand it on. ``running`` counts it until nobody takes it."""
        self.running -= 1
        self._let_in()

    def _let_in(self) -> None:
        before = len(self._waiting)
        while self._waiting and self.running < self._at_once:
            first = self._waiting.popleft().turn
            if not first.done():
                first.set_result(None)
                self.running += 1
        if len(self._waiting) < before:
            self._tell_places()
        self._give_back()

    def _tell_places(self) -> None:
        for place, one in enumerate(self._waiting, 1):
            one.tell("queued", {"place": place})

    def _give_back(self) -> None:
        """If all that run wait for services, these may have to wait for what the queue holds."""
        if self._stalled >= self.running:
            for one in self._waiting:
                one.give_back()


@dataclass(eq=False)
class _Waiting:
    turn: asyncio.Future[None]
    give_back: Callable[[], None]
    tell: Tell


class Place:
    """One call's place; ``turn`` waits for its turn, which leaving ends."""

    def __init__(self, turns: Turns, spec: AppSpec) -> None:
        self._turns = turns
        self._spec = spec
        self._begun: float | None = None
        self._waits = 0

    def leave(self) -> None:
        """The call has ended; so has its turn, if it had one."""
        begun = self._begun
        self._turns._leave(None if begun is None else time.monotonic() - begun)

    async def turn(
        self, give_back: Callable[[], None] = lambda: None, tell: Tell = tell_nobody
    ) -> None:
        """Return when it is this call's turn. Raises QueueTimeout.

        ``give_back`` is called meanwhile if those whose turn it is may wait for what this one has;
        ``tell`` hears ``queued``, with its place, whenever that changes.
        """
        await self._turns._turn(self._spec, give_back, tell)
        self._begun = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the call has its turn and waits for a service."""
        self._waits += 1
        if self._waits == 1:
            self._turns._stalled += 1
            self._turns._give_back()
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                self._turns._stalled -= 1
