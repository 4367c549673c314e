"""Folders and files that their owner alone can read: data/ holds what people said and sent."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

OTHERS = 0o077
"""What a mode allows anybody but the owner."""


def make_folder(path: Path) -> None:
    """The folder, and those above it that are missing."""
    if not path.parent.is_dir():
        make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def make_file(path: Path) -> Path:
    """An empty file, unless there is one."""
    path.touch(mode=0o600)
    return path


def close(folder: Path, but: frozenset[str] = frozenset()) -> None:
    """Take from others what they may do with a folder and all below it, if it is open to them.

    Left alone are the names ``but`` in it, links (a file with several names is one, too: the other
    name may be the user's own), and what is not ours.
    """
    if not folder.stat().st_mode & OTHERS:
        return
    for inside, folders, files in os.walk(folder, topdown=True):
        if inside == str(folder):
            folders[:] = [name for name in folders if name not in but]
        for name in (*folders, *files):
            with suppress(OSError):
                _close(Path(inside, name))
    with suppress(OSError):
        _close(folder)


def _close(path: Path) -> None:
    facts = path.lstat()
    is_folder = stat.S_ISDIR(facts.st_mode)
    if is_folder or (stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1):
        path.chmod(stat.S_IMODE(facts.st_mode) & ~OTHERS)
