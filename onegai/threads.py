"""The threads of this program: who has some, and which of them it waits for at its end.

    pool       what runs there                                       may hang
    --------   ---------------------------------------------------   --------
    call       functions of the user's                               yes
    import     func files, as they are imported                      yes
    probe      readings of the memory: a driver is asked             yes
    look       readings of /proc: a process may be stuck in its own  yes
    edits      looks for edits of the home's files, on its disk      yes
    removal    the files of an app go                                no
    write      files that come and go                                no

Besides these there are asyncio's own common threads (``asyncio.to_thread``), for what is short.
Python waits at its end for the threads of every pool, daemons or not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor  # noqa: TID251 - here they are made
from typing import TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

A = TypeVarTuple("A")
T = TypeVar("T")

log = logging.getLogger(__name__)

END_SECONDS = 1.0
"""How long the end of the program waits for what may hang."""


class Pool(ThreadPoolExecutor):
    """Threads for one kind of work, so that it keeps no other kind waiting."""

    def __init__(self, name: str, size: int = 1, *, may_hang: bool = False) -> None:
        """``may_hang``: what runs there may never return, so the program's end leaves it behind."""
        super().__init__(size, name, initializer=_join, initargs=(may_hang,))


def _join(may_hang: bool) -> None:
    _may_hang[threading.current_thread()] = may_hang


_may_hang = WeakKeyDictionary[threading.Thread, bool]()
"""Every thread of a pool."""
_WRITERS = Pool("write", 4)


async def in_writer(work: Callable[[*A], T], *args: *A) -> T:
    """As ``asyncio.to_thread``, in a thread that writes files: however slow the disk is, nothing
    else waits for it.
    """
    return await asyncio.get_running_loop().run_in_executor(_WRITERS, work, *args)


def write_soon(work: Callable[[], object]) -> None:
    """Have it done in such a thread, where this one is an event loop's; else right here."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
    else:
        _WRITERS.submit(work)


async def leave_stuck_tasks() -> None:
    """Cancel all other tasks of this loop, and have its end wait for none that goes on.

    A function of the user's does that takes a cancel for an error of its own.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if not others:
        return
    _, stuck = await asyncio.wait(others, timeout=END_SECONDS)
    for task in stuck:
        log.warning("a function is still running; leaving it")
        asyncio._unregister_task(task)


def leave_stuck_threads(status: int = 0) -> None:
    """End the program where threads that hang would keep it from ending; else return.

    Python waits for all threads before what ``atexit`` knows, so that must be done by now.
    """
    deadline = time.monotonic() + END_SECONDS
    while any(map(_hangs, threading.enumerate()[1:])):
        if time.monotonic() > deadline:
            log.warning("a function is still running; leaving it")
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)
        time.sleep(0.01)


def _hangs(thread: threading.Thread) -> bool:
    """It may. One of no pool may be the user's, or one of asyncio's own."""
    return _may_hang.get(thread, not thread.daemon)
