"""Threads for files that come and go: however slow the disk is, it keeps nothing else waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

A = TypeVarTuple("A")
T = TypeVar("T")

WRITER = "write"
"""What the names of these threads begin with."""

_WRITERS = ThreadPoolExecutor(4, WRITER)


async def in_writer(work: Callable[[*A], T], *args: *A) -> T:
    """As ``asyncio.to_thread``, in a thread that writes files and nothing else."""
    return await asyncio.get_running_loop().run_in_executor(_WRITERS, work, *args)


def soon(work: Callable[[], object]) -> None:
    """Have it done in such a thread, where this one is an event loop's; else right here."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
    else:
        _WRITERS.submit(work)
