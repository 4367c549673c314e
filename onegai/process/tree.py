"""Which processes belong to a service: its group, its descendants, and what carries its tag.

Read from /proc (proc(5)); processes of other users are skipped.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Tag:
    """What every child carries in its environment, and so do all its descendants."""

    app: str
    home: Path
    role: Literal["service", "install"] = "service"

    def environment(self) -> dict[str, str]:
        """The variables that make up the tag."""
        return {
            "ONEGAI_APP": self.app,
            "ONEGAI_HOME": str(self.home),
            "ONEGAI_ROLE": self.role,
        }


@dataclass(frozen=True)
class _Process:
    """What /proc says of one process; ``started`` (clock ticks) tells a pid's lives apart."""

    pid: int
    zombie: bool
    parent: int
    group: int
    session: int
    started: int


class Census:
    """Every process of the machine but this one, at one moment. Some milliseconds, in any thread.

    Raises OSError when no more files can be opened.
    """

    def __init__(self) -> None:
        self.processes = _processes()
        self._variables: dict[int, frozenset[bytes]] = {}

    def carries(self, pid: int, wanted: frozenset[bytes]) -> bool:
        """Does it have all of these in its environment?"""
        if pid not in self._variables:
            try:
                variables = _content(f"/proc/{pid}/environ").split(b"\0")
            except OSError:
                variables = []
            mine = (one for one in variables if one.startswith(b"ONEGAI_"))
            self._variables[pid] = frozenset(mine)
        return wanted <= self._variables[pid]


class Family:
    """The processes of one service: its group, what is tagged, and the descendants of these.

    One that was seen once stays a member for life, even if it leaves the group, clears its
    environment and outlives its parent (its new parent is then a subreaper, this process).
    """

    def __init__(self, tag: Tag, group: int | None) -> None:
        """``group`` is the pid of its leader; None: only what is tagged belongs to it."""
        tagged = (f"{key}={value}".encode() for key, value in tag.environment().items())
        self._wanted = frozenset(tagged)
        self._group = group
        self._since = 0
        self._seen: dict[int, int] = {}
        if group is not None:
            with suppress(OSError, ValueError, IndexError):
                self._since = self._seen[group] = _read(group).started

    def pids(self, census: Census | None = None) -> list[int]:
        """All that are alive, zombies left out. Some milliseconds, unless there is a ``census``.

        Where this process can open no more files, those seen before that are still there.
        """
        try:
            return self._look(census or Census())
        except OSError:
            return [pid for pid in self.seen if is_there(pid)]

    def oldest(self) -> int | None:
        """The one of ``pids`` that was made first; None: none is left."""
        return min(self.pids(), key=lambda pid: self._seen[pid], default=None)

    def _look(self, census: Census) -> list[int]:
        # Whoever was there before the first of them cannot be one of them.
        alive = {
            one.pid: one
            for one in census.processes
            if not one.zombie and one.started >= self._since
        }
        found = {pid for pid, one in alive.items() if self._is_member(one, census)}
        children: dict[int, list[int]] = {}
        for one in alive.values():
            children.setdefault(one.parent, []).append(one.pid)
        pending = list(found)
        while pending:
            fresh = set(children.get(pending.pop(), ())) - found
            found |= fresh
            pending += fresh
        self._seen |= {pid: alive[pid].started for pid in found}
        return sorted(found)

    @property
    def seen(self) -> list[int]:
        """All members that were seen so far; some may be gone."""
        return list(self._seen)

    def reap(self) -> None:
        """Let the zombies of adopted members go; nobody else waits for them.

        Some ended before anybody saw them, and whose they were cannot be told any more: of these
        go all that surely were adopted. What this process has made itself, a func file too, is in
        its own session or leads one.
        """
        try:
            everybody = _processes()
        except OSError:
            return
        own = os.getsid(0)
        for one in everybody:
            if one.zombie and one.parent == os.getpid() and one.pid != self._group:
                seen = self._seen.get(one.pid) == one.started
                if seen or one.session not in (own, one.pid):
                    with suppress(ChildProcessError):
                        os.waitpid(one.pid, os.WNOHANG)

    def _is_member(self, one: _Process, census: Census) -> bool:
        if one.group == self._group or self._seen.get(one.pid) == one.started:
            return True
        return census.carries(one.pid, self._wanted)


def started(pid: int) -> int:
    """When the process was made, in clock ticks since the boot. Raises OSError when it is gone."""
    try:
        return _read(pid).started
    except (ValueError, IndexError):
        raise ProcessLookupError(pid) from None


def tagged(home: Path) -> dict[str, list[int]]:
    """Per app: the processes of its service that carry this home's tag, zombies left out.

    This process and those that it descends from are none of them, whatever they carry.
    """
    wanted = {f"ONEGAI_HOME={home}".encode(), b"ONEGAI_ROLE=service"}
    everybody = {one.pid: one for one in _processes()}
    ancestors, pid = set(), os.getppid()
    while pid in everybody and pid not in ancestors:
        ancestors.add(pid)
        pid = everybody[pid].parent
    found: dict[str, list[int]] = {}
    for one in everybody.values():
        if one.zombie or one.pid in ancestors:
            continue
        with suppress(OSError):
            variables = _content(f"/proc/{one.pid}/environ").split(b"\0")
            if wanted <= set(variables):
                name = next((v for v in variables if v.startswith(b"ONEGAI_APP=")), b"")
                app = name.partition(b"=")[2].decode("utf-8", "replace")
                found.setdefault(app, []).append(one.pid)
    return found


def become_subreaper() -> None:
    """Have orphaned descendants adopted by this process instead of by init (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(patience: float = 1.0) -> list[int]:
    """End all that descends from this process: SIGTERM, after ``patience`` seconds SIGKILL.

    For the very end, when no service has a process any more: what has left its service's group and
    environment before anybody looked, and was adopted by this process, is found only here.
    """
    found = psutil.Process().children(recursive=True)
    left = found
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.Error):
                end(process)
        left = psutil.wait_procs(left, timeout=patience)[1]
    return [process.pid for process in found]


def _processes() -> list[_Process]:
    """All but this one. Raises OSError when no more files can be opened."""
    me = os.getpid()
    found = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and int(entry.name) != me:
                try:
                    found.append(_read(int(entry.name)))
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE):
                        raise
                except (ValueError, IndexError):
                    continue
    return found


def is_there(pid: int) -> bool:
    """There is such a process, or a zombie of it. Opens no file."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _read(pid: int) -> _Process:
    """From /proc/{pid}/stat. Raises OSError when it is gone."""
    # The command's name may hold spaces and brackets; the fields after the last ) do not.
    fields = _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    parent, group, session = map(int, fields[1:4])
    return _Process(pid, fields[0] in b"ZX", parent, group, session, int(fields[19]))


def _content(path: str) -> bytes:
    """A file of /proc, with as few system calls as there can be: many are read in a row."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def rss_mib(pids: list[int]) -> int:
    """Resident memory of these processes, MiB; shared pages count once per process."""
    pages = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            pages += int(_content(f"/proc/{pid}/statm").split()[1])
    return pages * _PAGE >> 20
