"""Clients that leave: what they waited for ends with them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import Request, Response

_CLIENT_LEFT = 499
"""For the access log alone; nobody reads the answer."""


async def unless_left(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The outcome of ``work``, which is cancelled when the client leaves.

    The body must have been read. Work that is done by then wins.
    """
    task = asyncio.ensure_future(work)
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
