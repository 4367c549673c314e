"""How much of the disk an app takes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from onegai.apps.folder import BLOCK
from onegai.config.home import Home


class DiskUsage(NamedTuple):
    """MiB."""

    size: int
    shared: int
    """Of it: files that have links elsewhere too, so that an uninstall does not free them."""


def disk_usage(home: Home, app: str) -> DiskUsage:
    """What apps/{app} takes, hard links counted once, links not followed. Walks the folder."""
    links: dict[tuple[int, int], int] = {}
    total = shared = 0
    stack = [home.apps / app]
    while stack:
        folder = stack.pop()
        try:
            total += folder.lstat().st_blocks
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(facts.st_mode):
                stack.append(Path(entry.path))
                continue
            if facts.st_nlink > 1:
                key = facts.st_dev, facts.st_ino
                others = links[key] = links.get(key, facts.st_nlink) - 1
                first = others == facts.st_nlink - 1
                shared += facts.st_blocks * (first - (others == 0))
                if not first:
                    continue
            total += facts.st_blocks
    return DiskUsage(total * BLOCK >> 20, shared * BLOCK >> 20)
