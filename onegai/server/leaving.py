"""Clients that leave: what they waited for ends with them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import Request, Response

WATCH_SECONDS = 0.1
_CLIENT_LEFT = 499
"""For the access log alone; nobody reads the answer."""


async def unless_left(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The outcome of ``work``, which is cancelled when the client leaves.

    The body must have been read.
    """
    task = asyncio.current_task()
    assert task is not None
    watch = _Watch(request, task)
    # Most work ends before it is worth watching.
    timer = asyncio.get_running_loop().call_later(WATCH_SECONDS, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.left or task.uncancel():
            raise
        return Response(status_code=_CLIENT_LEFT)
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    """Cancels a task when the client has left."""

    def __init__(self, request: Request, task: asyncio.Task[Any]) -> None:
        self.left = False
        self._request = request
        self._task = task
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._task.cancel()
