"""The end of a program whose threads do not all end."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, threading, time
from onegai.threads import Pool, in_writer, leave_stuck_tasks, leave_stuck_threads

asyncio.run(in_writer(len, "x"))
{more}
leave_stuck_threads(7)
print("here")
"""
DAEMON = """
def have_it_run():
    Pool("call", may_hang=True).submit(time.sleep, 60)
    begun.set()
begun = threading.Event()
threading.Thread(target=have_it_run, daemon=True).start()
begun.wait()
"""
STUBBORN = """
async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
async def main():
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await leave_stuck_tasks()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ("", 0, "here\n"),
        ("threading.Thread(target=time.sleep, args=(60,)).start()", 7, ""),
        ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", 0, "here\n"),
        ("Pool('call', may_hang=True).submit(time.sleep, 60)", 7, ""),
        # Python would wait for it, though it is a daemon as the thread that has made it.
        (DAEMON, 7, ""),
        (STUBBORN, 0, "here\n"),
        ("Pool('call', may_hang=True).submit(time.sleep, 0.1)", 0, "here\n"),
        ("Pool('write').submit(lambda: (time.sleep(2), print('written')))", 0, "here\nwritten\n"),
    ],
)
def test_only_what_never_returns_is_left(more: str, status: int, said: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(more=more)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (status, said)
