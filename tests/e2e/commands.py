"""Commands as people run them, on a terminal of their own too."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Sequence

from harness import ROOT, Server


def environment(server: Server, **more: str) -> dict[str, str]:
    return {**os.environ, "ONEGAI_HOME": str(server.home), **more}


def command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "onegai", *words]


def on_terminal(server: Server, *words: str, until_seen: str = "", **more: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; with ``until_seen`` press Ctrl-C once it is there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe(sys.executable, command(words), environment(server, TERM="xterm", **more))
    seen, pressed = b"", False
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # how a terminal says that nobody is left
            break
        if not piece:
            break
        seen += piece
        if until_seen and not pressed and until_seen.encode() in seen:
            os.write(terminal, b"\x03")
            pressed = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()
