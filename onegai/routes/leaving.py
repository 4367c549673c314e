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

    The body must have been read. Work that is done by then wins.
    """
    task = asyncio.ensure_future(work)
    try:
        # Most work ends before it is worth watching.
        await asyncio.wait({task}, timeout=WATCH_SECONDS)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    if task.done():
        return task.result()
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Response(status_code=_CLIENT_LEFT)
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
