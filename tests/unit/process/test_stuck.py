"""The end of a program whose threads do not all end."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, threading, time
from onegai.process.stuck import leave_stuck_threads
from onegai.process.writing import in_writer

asyncio.run(in_writer(len, "x"))
{more}
leave_stuck_threads(7)
print("here")
"""


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ("", 0, "here\n"),
        ("threading.Thread(target=time.sleep, args=(60,)).start()", 7, ""),
    ],
)
def test_only_what_never_returns_is_left(more: str, status: int, said: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(more=more)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (status, said)
