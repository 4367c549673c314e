"""Clients that leave: what they waited for ends with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

WATCH_SECONDS = 0.1
"""Most work ends before it is worth watching; what is there this often is watched."""

CUT = "onegai.cut"
"""Key of a request's state: what ends the connection in the middle of the answer."""

Outcome = TypeVar("Outcome")


class Clients:
    """Those that wait for answers. One timer serves all that have come since it was set."""

    def __init__(self) -> None:
        self._new: set[_Watch] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def unless_left(self, receive: Receive, work: Awaitable[Outcome]) -> Outcome:
        """The outcome of ``work``, which is cancelled when the client leaves.

        The body must have been read. Raises ClientDisconnect, when the work has ended.
        """
        task = asyncio.current_task()
        assert task is not None
        watch = _Watch(receive, task)
        self._new.add(watch)
        if self._timer is None:
            self._timer = task.get_loop().call_later(WATCH_SECONDS, self._begin)
        try:
            return await work
        except asyncio.CancelledError:
            if not watch.left or task.uncancel():
                raise
            raise ClientDisconnect from None
        finally:
            self._new.discard(watch)
            watch.end()

    def _begin(self) -> None:
        self._timer = None
        new, self._new = self._new, set()
        for watch in new:
            watch.begin()


class _Watch:
    """Cancels a task when the client has left."""

    __slots__ = ("_receive", "_task", "_watching", "left")

    def __init__(self, receive: Receive, task: asyncio.Task[Any]) -> None:
        self.left = False
        self._receive = receive
        self._task = task
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._task.cancel()
