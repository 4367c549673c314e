"""A child process in a group of its own: start, notice its end, stop it with all it started."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from onegai.errors import ExecNotFound
from onegai.process import tree
from onegai.process.logfile import LogFile

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_NO_FILES_SECONDS = 0.25
"""Between two tries to watch a process while this one can open no more files."""
KILL_SECONDS = 30.0


class Child:
    """A running child. ``ended`` is set once the child and all it started are gone."""

    def __init__(
        self,
        pid: int | None,
        tag: tree.Tag,
        end: Coroutine[Any, Any, int | None],
        *,
        handed_over: bool = False,
    ) -> None:
        """``end`` gives the exit status of the process that leads; None: nobody knows it."""
        self.pid = pid
        """Of the process that was started, or what goes on for it. None: it is gone."""
        self.handed_over = handed_over
        """The process that was started has ended, and has left others that go on for it."""
        self.moved: Callable[[], None] = lambda: None
        """Called when ``pid`` has changed."""
        self.exit_status: int | None = None
        """None while it runs, or if it is not known; negative: killed by that signal."""
        self._tag = tag
        self._group = None if handed_over else pid
        self._family = tree.Family(tag, self._group)
        self.ended = asyncio.Event()
        self.leader_ended = asyncio.Event()
        """The process that was started is gone; what it started may live."""
        self._watcher = asyncio.create_task(self._watch(end))

    @classmethod
    async def spawn(
        cls,
        arguments: list[str],
        folder: Path,
        environment: Mapping[str, str],
        log: LogFile,
        tag: tree.Tag,
    ) -> Child:
        """Start a process in a session of its own, writing to ``log`` by itself.

        Raises ExecNotFound when the system refuses to run it.
        """
        output = log.open_for_child()

        def start() -> subprocess.Popen[bytes]:
            # asyncio's own way copies this process first; this one does not (vfork(2)).
            return subprocess.Popen(
                arguments,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        making = asyncio.ensure_future(asyncio.to_thread(start))
        try:
            process = await asyncio.shield(making)
        except asyncio.CancelledError:
            with suppress(OSError):
                os.killpg((await making).pid, signal.SIGKILL)
                making.result().wait()
            raise
        except OSError as error:
            raise ExecNotFound(app=tag.app, reason=f"{arguments[0]}: {error.strerror}") from None
        finally:
            os.close(output)
        return cls(process.pid, tag, _end_of_child(process))

    @classmethod
    def adopted(cls, pid: int | None, tag: tree.Tag, *, handed_over: bool = False) -> Child:
        """One that an earlier OneGAI has started. Of ``pid`` None only tagged processes are left.

        Raises ProcessLookupError when it has ended by now.
        """
        if pid is None:
            return cls(pid, tag, _nothing())
        return cls(pid, tag, _end_of(pid, _pidfd(pid)), handed_over=handed_over)

    def leave(self) -> None:
        """Watch it no more."""
        self._watcher.cancel()

    def pids(self, census: tree.Census | None = None) -> list[int]:
        """Everything alive that belongs to this child. Some milliseconds without a ``census``."""
        return self._family.pids(census)

    @property
    def seen(self) -> list[int]:
        """What ``pids`` has given so far."""
        return self._family.seen

    @property
    def how_it_ended(self) -> str:
        """The exit status in words."""
        code = self.exit_status
        if self.handed_over:
            return (
                "what its launcher had left has ended" if self.ended.is_set() else "still running"
            )
        if code is None:
            over = self.leader_ended.is_set()
            return "an earlier OneGAI had started it" if over else "still running"
        if code < 0:
            try:
                return f"killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"killed by signal {-code}"
        return f"exit status {code}"

    async def stop(self, timeout: float) -> None:
        """SIGTERM to all that belongs to it, wait, SIGKILL to what is left, wait.

        Returns when everything is gone. ``timeout`` is the seconds between the two signals. What
        even SIGKILL cannot end (stuck in the kernel, signal(7)) is given up after KILL_SECONDS.
        """
        self._signal(signal.SIGTERM)
        if not await self._all_gone(timeout):
            self._signal(signal.SIGKILL)
            if not await self._all_gone(KILL_SECONDS, again=signal.SIGKILL):
                log.error("%s: cannot be killed: pids %s", self._tag.app, self.pids())
                return
        await self.ended.wait()

    def kill(self) -> None:
        """SIGKILL to all that belongs to it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Before the first of them ends: who its children are can only be seen while it lives.
        family = self.pids()
        if self._group is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)
        for pid in family:
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != self._group:
                    os.kill(pid, number)

    async def _all_gone(self, seconds: float, again: signal.Signals | None = None) -> bool:
        """Wait until nothing is left; False: something still is, after so long.

        Without asyncio.timeout, which in a task that has been cancelled, as an install may be,
        ends as another cancellation before Python 3.11.4.
        """
        deadline = time.monotonic() + seconds
        pause = _POLL_SECONDS
        while True:
            ended = asyncio.ensure_future(self.leader_ended.wait())
            try:
                await asyncio.wait({ended}, timeout=pause)
            finally:
                ended.cancel()
            left = self.pids()
            # At each look: who waits for its own descendants (install/lib.sh) sees zombies, too.
            self.reap()
            if self.leader_ended.is_set() and not left:
                return True
            if time.monotonic() > deadline:
                return False
            if self.leader_ended.is_set():
                await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)
            if again is not None:
                self._signal(again)

    def reap(self) -> None:
        """Let the zombies go that the subreaper has adopted from it. Some milliseconds."""
        self._family.reap()

    async def _watch(self, end: Coroutine[Any, Any, int | None]) -> None:
        self.exit_status = await end
        self.leader_ended.set()
        # A launcher that succeeded may have left the real service behind it.
        if self.exit_status == 0 or self.pid is None or self.handed_over:
            while (pid := await asyncio.to_thread(self._oldest_left)) is not None:
                if self.pid is not None:
                    self.pid, self.handed_over = pid, True
                    self.moved()
                await _end_of(pid)
        self.ended.set()

    def _oldest_left(self) -> int | None:
        """Is anything left? Asked twice: one look can miss a process that is just forking."""
        if (pid := self._family.oldest()) is None:
            time.sleep(_POLL_SECONDS)
            pid = self._family.oldest()
        return pid


async def _end_of_child(process: subprocess.Popen[bytes]) -> int:
    await _end_of(process.pid)
    return process.wait()


async def _nothing() -> None:
    """The end of a process that is gone already."""


def _pidfd(pid: int) -> int | None:
    """A descriptor by which its end is noticed; None: this process can open no more.

    Raises ProcessLookupError when it is gone.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None


def _has_ended(pid: int) -> bool:
    """Asked of the kernel without opening a file."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return not tree.is_there(pid)


async def _end_of(pid: int, descriptor: int | None = None) -> None:
    """Return once the process has ended (pidfd_open(2), Linux 5.3)."""
    while descriptor is None:
        if _has_ended(pid):
            return
        with suppress(ProcessLookupError):
            descriptor = _pidfd(pid)
        if descriptor is None:
            await asyncio.sleep(_NO_FILES_SECONDS)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
