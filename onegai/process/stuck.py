"""The end of a program in which a function of the user's never returns."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

from onegai.process.writing import WRITER

log = logging.getLogger(__name__)

CALLS = "call"
"""What the names of the threads that run functions begin with; Python waits even for daemons."""


def leave_stuck_threads(status: int = 0) -> None:
    """End the program where other threads would keep it from ending; else return.

    Python waits for all threads before what ``atexit`` knows, so that must be done by now.
    """
    deadline = time.monotonic() + 1
    while any(map(_is_waited_for, threading.enumerate()[1:])):
        if time.monotonic() > deadline:
            log.warning("a function is still running; leaving it")
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)
        time.sleep(0.01)


def _is_waited_for(thread: threading.Thread) -> bool:
    if thread.name.startswith(WRITER):  # its work is ours, and ends
        return False
    return not thread.daemon or thread.name.startswith(CALLS)
