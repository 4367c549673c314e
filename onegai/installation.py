"""Is an app installed? Read from disk each time, since people install by hand too.

The marks are left by install/lib.sh: a complete marker inside the app's folder, and beside the
folder a lock file that is held while an install runs.
"""

from __future__ import annotations

import fcntl
import os
import stat
from enum import StrEnum
from pathlib import Path

from onegai.catalog import AppSpec
from onegai.errors import InstallBroken, Installing, NotInstalled
from onegai.home import Home

MARKER = ".onegai-installed"


class InstallState(StrEnum):
    """What the disk says."""

    ABSENT = "absent"
    INSTALLING = "installing"
    BROKEN = "broken"
    INSTALLED = "installed"


_ERRORS = {
    InstallState.ABSENT: NotInstalled,
    InstallState.INSTALLING: Installing,
    InstallState.BROKEN: InstallBroken,
}


def install_state(home: Home, spec: AppSpec) -> InstallState:
    """Installed is what has a ``url``, needs no install script, or carries the marker."""
    if spec.url is not None or not home.install_script(spec.app).is_file():
        return InstallState.INSTALLED
    folder, lock = home.apps / spec.app, home.apps / f".{spec.app}.lock"
    if (folder / MARKER).is_file():
        return InstallState.INSTALLED
    if _is_held(lock):
        return InstallState.INSTALLING
    return InstallState.BROKEN if folder.exists() or _says(lock) else InstallState.ABSENT


def check_installed(home: Home, spec: AppSpec) -> None:
    """Raises NotInstalled, Installing or InstallBroken."""
    error = _ERRORS.get(install_state(home, spec))
    if error is not None:
        raise error(app=spec.app)


def _says(lock: Path) -> bool:
    """The lock file names a state (installing, broken) until an install has succeeded."""
    try:
        return lock.stat().st_size > 0
    except OSError:
        return False


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def disk_usage(home: Home, app: str) -> int:
    """MiB that apps/{app} takes, hard links counted once, links not followed. Walks the folder."""
    seen: set[tuple[int, int]] = set()
    total = 0
    stack = [home.apps / app]
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
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
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                total += facts.st_blocks * 512
    return total >> 20
