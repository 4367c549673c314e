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


async def first(**works: Awaitable[object]) -> str:
    """The name of the work that is done first; of several, the first named. The rest is cancelled.

    Raises what that work raises. Nothing is left running.
    """
    tasks = {name: asyncio.ensure_future(work) for name, work in works.items()}
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        name, task = next((name, task) for name, task in tasks.items() if task.done())
        task.result()
        return name
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
