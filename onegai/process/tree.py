"""Which processes belong to a service: its group, its descendants, and what carries its tag.

Read from /proc (proc(5)); processes of other users are skipped.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

_PROC = Path("/proc")


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


def members(tag: Tag, group: int) -> list[int]:
    """Pids, zombies left out, of the process group ``group`` and of everything tagged."""
    wanted = {f"{key}={value}".encode() for key, value in tag.environment().items()}
    return [pid for pid in _own_pids() if _in_group(pid, group) or _is_tagged(pid, wanted)]


def _own_pids() -> list[int]:
    mine = os.getuid()
    found = []
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if entry.stat().st_uid == mine:
                        found.append(int(entry.name))
    return found


def _in_group(pid: int, group: int) -> bool:
    try:
        # The command's name may hold spaces and brackets; the fields after the last ) do not.
        state, _parent, pgrp = (_PROC / f"{pid}/stat").read_text().rsplit(")", 1)[1].split()[:3]
    except (OSError, ValueError):
        return False
    return int(pgrp) == group and state not in "ZX"


def _is_tagged(pid: int, wanted: set[bytes]) -> bool:
    try:
        # A zombie's environ is empty.
        return wanted <= set((_PROC / f"{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return False


def rss_mib(pids: list[int]) -> int:
    """Resident memory of these processes, MiB; shared pages count once per process."""
    total = 0
    for pid in pids:
        try:
            total += psutil.Process(pid).memory_info().rss
        except psutil.Error:
            continue
    return total >> 20
