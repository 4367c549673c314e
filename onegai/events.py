"""A bounded ring of events with ids, which any number of readers can follow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

from onegai.schema import Event

Tell = Callable[[str, dict[str, Any]], None]
"""Takes one event, its name and its data, on the event loop; raises nothing."""


class Ring:
    """The last ``size`` events of one source. All methods belong to the event loop's thread."""

    def __init__(self, size: int = 1000) -> None:
        self._events: deque[Event] = deque(maxlen=size)
        self._next_id = 1
        self._closed = False
        self._news = asyncio.Event()

    def emit(self, event: str, data: dict[str, Any]) -> None:
        """Add an event and wake the readers."""
        self._events.append(Event(id=self._next_id, event=event, data=data))
        self._next_id += 1
        self._wake()

    def close(self) -> None:
        """Say that no event will follow; readers end after the last one."""
        self._closed = True
        self._wake()

    async def follow(self, after: int = 0) -> AsyncGenerator[Event, None]:
        """Events with an id greater than ``after``, the stored ones first, until closed.

        Where some are stored no more, a ``gap`` says how many; its id is that of the last of them.
        """
        seen = max(0, after)
        while True:
            news, closed = self._news, self._closed
            for event in [event for event in self._events if event.id > seen]:
                if missed := event.id - seen - 1:
                    yield Event(id=event.id - 1, event="gap", data={"missed": missed})
                seen = event.id
                yield event
            if closed:
                return
            await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
