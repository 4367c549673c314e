"""Where the files of a call lie while it runs, and what a file may be named there."""

from __future__ import annotations

import errno
import functools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from onegai.config import private
from onegai.errors import DiskFull
from onegai.threads import write_soon

_NAME_LENGTH = 120
"""Bytes."""


class Workspace:
    """A folder for the files of one call, made when the first one needs it, removed by ``close``.

    Its name begins with this process's id, so that what a killed process left can be told.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._used = False
        self.closed = False

    @functools.cached_property
    def folder(self) -> Path:
        """Where its files are, once there are any."""
        return self._parent / f"{os.getpid()}-{secrets.token_hex(8)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def new(self, name: str) -> Path:
        """A path that nothing has, ending in the name so that its suffix tells. Raises DiskFull."""
        self._used = True
        with full_disk(self.folder):
            inside = self.folder / secrets.token_hex(4)
            private.make_folder(inside)
        return inside / safe_name(name)

    def close(self) -> None:
        """Remove the folder, soon; twice is harmless."""
        self.closed = True
        if self._used:
            write_soon(functools.partial(shutil.rmtree, self.folder, ignore_errors=True))


def sweep(parent: Path) -> None:
    """Remove the workspaces of processes that are no more."""
    for folder in parent.glob("*-*"):
        number = folder.name.partition("-")[0]
        if number == str(os.getpid()) or not Path("/proc", number).exists():
            shutil.rmtree(folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """A file name without folders, control characters, leading dots or great length."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[\x00-\x1f\x7f]", "", last.encode("utf-8", "ignore").decode()).lstrip(". ")
    if len(plain.encode()) > _NAME_LENGTH:
        suffix = Path(plain).suffix[:20]
        kept = plain.encode()[: _NAME_LENGTH - len(suffix.encode())].decode("utf-8", "ignore")
        plain = kept + suffix
    return plain or "file"


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Make a full disk (or quota) the error that says so. Raises DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(folder=path.parent) from None
