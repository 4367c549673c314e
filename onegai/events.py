"""A bounded ring of events with ids, which any number of readers can follow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

from onegai.schema import Event

MOST_BYTES = 1 << 20
"""Of all stored events of one source; the newest is stored however large it is."""

Tell = Callable[[str, dict[str, Any]], None]
"""Takes one event, its name and its data, on the event loop; raises nothing."""

Data = dict[str, Any] | Callable[[], dict[str, Any]]
"""Of an event; what is large is read when it is asked for, in a thread."""


def tell_nobody(_event: str, _data: dict[str, Any]) -> None:
    """Of what nobody looks at while it runs."""


class _Stored(NamedTuple):
    id: int
    event: str
    data: Data
    size: int


class Ring:
    """The last ``size`` events of one source. All methods belong to the event loop's thread."""

    def __init__(self, size: int = 1000, most_bytes: int = MOST_BYTES) -> None:
        self._events: deque[_Stored] = deque()
        self._size = size
        self._most_bytes = most_bytes
        self._bytes = 0
        self._last_id = 0
        self._lost = 0
        """The id of the last one that is stored no more."""
        self._closed = False
        self._news = asyncio.Event()

    def emit(self, event: str, data: Data, size: int = 0) -> None:
        """Add an event, whose data takes ``size`` bytes, and wake the readers; not once closed.

        Of ``progress`` events without others in between only the newest is stored.
        """
        if self._closed:
            return
        self._last_id += 1
        if event == "progress" and self._events and self._events[-1].event == event:
            self._bytes -= self._events.pop().size
        self._events.append(_Stored(self._last_id, event, data, size))
        self._bytes += size
        while len(self._events) > self._size or (
            self._bytes > self._most_bytes and len(self._events) > 1
        ):
            self._lose()
        self._wake()

    def forget(self) -> None:
        """Store no more than how it has ended: its last two events."""
        while len(self._events) > 2:
            self._lose()

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
            lost, stored = self._lost, [one for one in self._events if one.id > seen]
            if lost > seen:
                yield Event(id=lost, event="gap", data={"missed": lost - seen})
                seen = lost
            for one in stored:
                seen = one.id
                data = one.data
                if not isinstance(data, dict):
                    data = await asyncio.to_thread(data)
                yield Event(id=one.id, event=one.event, data=data)
            if closed:
                return
            await news.wait()

    def _lose(self) -> None:
        lost = self._events.popleft()
        self._lost = lost.id
        self._bytes -= lost.size

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
