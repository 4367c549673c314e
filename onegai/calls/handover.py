"""Pieces on their way from the thread that makes them to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

AHEAD = 2
"""Pieces that a thread makes before the first of them has been taken."""


class Handover:
    """Pieces on their way from the thread that makes them to the loop; it waits for the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = threading.Semaphore(AHEAD)
        self._unwanted = False
        self._arrived: deque[Any] = deque()
        self._ended = False
        self._news = asyncio.Event()

    def give(self, taken: Any) -> None:
        """A piece, or None for one that nobody is to take. In the thread. Raises Unwanted."""
        if taken is not None:
            self._room.acquire()
        if self._unwanted:
            raise Unwanted
        if taken is not None:
            soon(self._loop, partial(self._arrive, taken))

    def end(self) -> None:
        """There are no more. In the thread."""
        soon(self._loop, self._end)

    def stop(self) -> None:
        """Want no more of them. On the loop."""
        self._unwanted = True
        self._room.release()

    def __aiter__(self) -> Handover:
        return self

    async def __anext__(self) -> Any:
        while not self._arrived:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._room.release()
        return self._arrived.popleft()

    def _arrive(self, taken: Any) -> None:
        self._arrived.append(taken)
        self._news.set()

    def _end(self) -> None:
        self._ended = True
        self._news.set()


class Unwanted(BaseException):
    """Nobody reads the pieces any more."""


def soon(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
    """Have the loop do it, from another thread, unless the loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(work)
