"""Is an app installed? Read from disk each time, since people install by hand too.

The marks are left by install/lib.sh, which runs every install script: a complete marker inside the
app's folder, and beside the folder a lock file that is held while an install runs. A folder without
any of them that holds what it takes to run was made by hand, and counts as installed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from onegai.apps.folder import AppFolder, AppPaths, kept_folders, script_digest
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.errors import InstallBroken, Installing, NotInstalled
from onegai.schema import Problem


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


class Listing(NamedTuple):
    """The files in install/ and the names in apps/, for a look at many apps: most need no more."""

    scripts: frozenset[str]
    apps: frozenset[str]

    @classmethod
    def of(cls, home: Home) -> Listing | None:
        """As they are now; None where they cannot be listed."""
        try:
            scripts = [entry.name for entry in _entries(home.root / "install") if entry.is_file()]
            return cls(frozenset(scripts), frozenset(entry.name for entry in _entries(home.apps)))
        except OSError:
            return None

    def has_script(self, app: str) -> bool:
        """There is an install script."""
        return f"{app}.sh" in self.scripts

    def has_traces(self, app: str) -> bool:
        """There may be something of the app, or of its install."""
        return not self.apps.isdisjoint((app, f".{app}.lock", f".{app}.old"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Raises OSError, but not for a folder that is not there."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def install_state(home: Home, spec: AppSpec, listing: Listing | None = None) -> InstallState:
    """Installed is what has a ``url``, needs no install script, or carries the marker.

    A ``listing`` of this moment spares most of the looks.
    """
    if spec.url is not None:
        return InstallState.INSTALLED
    app = spec.app
    has_script = home.install_script(app).is_file() if listing is None else listing.has_script(app)
    if not has_script:
        return InstallState.INSTALLED
    if listing is not None and not listing.has_traces(app):
        return InstallState.ABSENT
    folder = _paths(home, app)
    if folder.marker.is_file():
        return InstallState.INSTALLED
    if _is_held(folder.lock):
        return InstallState.INSTALLING
    if _says(folder.lock) or os.path.lexists(folder.old):
        return InstallState.BROKEN
    if folder.holds_only(data_folders(spec)):
        return InstallState.ABSENT
    real = AppFolder(home.apps, app).path
    return InstallState.INSTALLED if _can_run(real, spec) else InstallState.BROKEN


def data_folders(spec: AppSpec) -> list[str]:
    """The folders that survive an update and an uninstall."""
    return kept_folders(spec.data)


def made_by_hand(home: Home, spec: AppSpec) -> bool:
    """It is installed, though not by its install script."""
    return (
        spec.url is None
        and home.install_script(spec.app).is_file()
        and not _paths(home, spec.app).marker.is_file()
        and install_state(home, spec) is InstallState.INSTALLED
    )


def remarks(home: Home, spec: AppSpec) -> list[Problem]:
    """What is unusual about an installed app, and may well be meant so."""
    folder = home.apps / spec.app
    said = []
    if made_by_hand(home, spec):
        said.append(
            f"it was installed by hand; the next install or update by install/{spec.app}.sh takes "
            f"its place and keeps it as apps/{spec.app}.by-hand"
        )
    if _is_outdated(home, spec.app):
        said.append(
            f"install/{spec.app}.sh or its lock has changed since: an update installs by that"
        )
    if (
        spec.has_service
        and spec.exec is not None
        and folder.is_dir()
        and install_state(home, spec) is InstallState.INSTALLED
        and not (folder / "venv").is_dir()
    ):
        said.append("it has no venv/ of its own, which is right for a plain binary only")
    return [
        Problem(app=spec.app, file=home.relative(folder), reason=text, remark=True) for text in said
    ]


def _is_outdated(home: Home, app: str) -> bool:
    """It was installed by another state of its script; False where that is not known."""
    try:
        made_by = json.loads(_paths(home, app).marker.read_bytes()).get("script")
    except (OSError, ValueError, AttributeError):
        return False
    return (
        made_by not in (None, script_digest(home.root, app)) and home.install_script(app).is_file()
    )


def _can_run(folder: Path, spec: AppSpec) -> bool:
    """A venv is there, or a file that ``exec`` names: the program, or the script it is given."""
    if (folder / "venv").is_dir():
        return True
    words = shlex.split((spec.exec or "").replace("{app_dir}", str(folder)))
    inside = (folder / spec.cwd / word for word in words)
    return any(path.is_relative_to(folder) and path.is_file() for path in inside)


def is_installed(home: Home, spec: AppSpec) -> bool:
    """Can it be started, as far as its installation is concerned?"""
    return install_state(home, spec) not in _ERRORS


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


@lru_cache(maxsize=4096)
def _paths(home: Home, app: str) -> AppPaths:
    """The same object each time: status asks for those of every app."""
    return AppPaths(home.apps, app)
