"""What a reader has not taken yet: bounded, so that who makes it waits for who reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from onegai.errors import SlowReader

T = TypeVar("T")

PIECES = 4
"""That wait for a slow reader; no more are made meanwhile."""
SLOW_SECONDS = 60.0
"""A reader that takes none of them for so long is given up: its call has a turn and a service."""


class Unread(Generic[T]):
    """Of one call, in order: pieces, which wait for room, and news. Belongs to the event loop."""

    def __init__(self) -> None:
        self._items: deque[tuple[T, bool]] = deque()
        self._pieces = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._items)

    def add_news(self, item: T, *, instead: bool) -> None:
        """It needs no room, and is left out after the end. ``instead``: of the newest, which nobody
        has read.
        """
        if self._ended:
            return
        if instead:
            self._items.pop()
        self._items.append((item, False))
        self._changed.set()

    async def add_piece(self, item: T) -> None:
        """As soon as there is room for it. Raises SlowReader."""
        if self._pieces >= PIECES:
            await self._has_room()
        self._pieces += 1
        self._items.append((item, True))
        self._changed.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._changed.set()

    @property
    def newest(self) -> T | None:
        """What came last, if it is unread."""
        return self._items[-1][0] if self._items else None

    async def wait(self) -> bool:
        """Return when there is something to read; False: nothing more will come."""
        while not self._items and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        return bool(self._items)

    def pop(self) -> T:
        """Read the oldest."""
        item, is_piece = self._items.popleft()
        if is_piece:
            self._pieces -= 1
            self._room.set()
        return item

    async def _has_room(self) -> None:
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                while self._pieces >= PIECES:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise SlowReader(seconds=SLOW_SECONDS) from None
