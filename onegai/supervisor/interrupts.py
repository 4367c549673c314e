"""Waiting for work that an event may cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The event came before the work was done; the work has been cancelled."""


async def unless(event: asyncio.Event, work: Awaitable[T]) -> T:
    """The outcome of ``work``. Raises Interrupted when the event is set first.

    Work that is done when the event comes wins. Either way nothing is left running.
    """
    task = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Interrupted
    finally:
        for one in (task, waiting):
            one.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
