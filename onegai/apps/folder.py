"""The folder of one app: what is kept, what goes, and the old one beside the new one of an update.

install/app_folder.py has the machine's own Python do this, too: it uses the standard library only
and works on Python 3.9.

Beside apps/APP, all on its file system, so that each step is one rename:

    .APP.old        during an install or update: what was there before, less its data folders once
                    the new one has them; ``KEPT`` in it names them
    .APP.gone       rubbish on its way out; whoever sees it may delete it
    .APP.downloads  files that app_download has begun
    APP.by-hand     what somebody had made by hand before the install script made the app

An update ends, or is undone, by ``recover`` alone, which looks at nothing but the disk and can
itself be interrupted anywhere: with the complete marker in apps/APP the old one is rubbish (or
kept, where it was made by hand), without it the old one comes back. The lock file .APP.lock must
be held by whoever changes any of this; its text is described in install/lib.sh.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARKER = ".onegai-installed"
KEPT = ".onegai-kept"
LOCK_SECONDS = 0.5
BLOCK = 512
"""Bytes of st_blocks (stat(2))."""


class Interrupted(Exception):
    """``stop`` said so; what was begun stays as it is."""


class Refused(Exception):
    """It cannot be done, and nothing was changed."""


def kept_folders(data: Iterable[str]) -> list[str]:
    """Data folders in normal form, those inside another left out. Raises Refused."""
    found = set()
    for folder in data:
        normal = os.path.normpath(str(folder))
        if Path(normal).parts[:1] in ((), ("/",), ("//",), ("..",)):
            raise Refused(f"the data folder {folder!r} is not inside the app's folder")
        found.add(normal)
    return sorted(
        folder for folder in found if not any(folder.startswith(other + os.sep) for other in found)
    )


def script_digest(home: Path, app: str) -> str:
    """Tells one state of install/{app}.sh and of its lock file from another."""
    digest = hashlib.sha256()
    for name in (f"{app}.sh", f"{app}.lock"):
        with suppress(OSError):
            digest.update((home / "install" / name).read_bytes())
    return digest.hexdigest()[:16]


class AppPaths:
    """apps/{app}, and what lies beside it: names, and what can be seen without changing it."""

    def __init__(self, apps: Path, app: str) -> None:
        self.app = app
        self.path = apps / app
        self.marker = self.path / MARKER
        self.lock = apps / f".{app}.lock"
        self.old = apps / f".{app}.old"
        self.gone = apps / f".{app}.gone"
        self.downloads = apps / f".{app}.downloads"

    @property
    def complete(self) -> bool:
        """The marker is there."""
        return not self.path.is_symlink() and self.marker.is_file()

    def holds_only(self, keep: Iterable[str]) -> bool:
        """Nothing is there but folders to keep; also when there is nothing at all."""
        if not os.path.lexists(self.path):
            return True
        try:
            return not any(True for _ in _others(self.path, list(keep)))
        except OSError:
            return False


class AppFolder(AppPaths):
    """The same, to be changed. ``apps`` may be a link to a larger disk, as it is now."""

    def __init__(self, apps: Path, app: str) -> None:
        super().__init__(Path(os.path.realpath(apps)), app)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock file. Raises BlockingIOError when somebody else does."""
        self.lock.parent.mkdir(exist_ok=True)
        deadline = time.monotonic() + LOCK_SECONDS
        with self.lock.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # An engine that looks whether it is held has it for a moment.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            yield

    def say(self, state: str) -> None:
        """Write the lock file's word, in place, so that it can be done on a full disk; "" ends."""
        if not state:
            with suppress(FileNotFoundError):
                os.truncate(self.lock, 0)
            return
        descriptor = os.open(self.lock, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, f"{state:<10}\n".encode())
        finally:
            os.close(descriptor)

    # --- removing --------------------------------------------------------------------------

    def clear(
        self, keep: Iterable[str] = (), stop: Callable[[], bool] = lambda: False
    ) -> tuple[int, list[str]]:
        """Delete all but ``keep``; the bytes that were freed, and the folders that were kept.

        Links are removed, not followed. A file counts when its last link goes, so what uv's cache
        or another app has too is not counted. Raises Refused, Interrupted, OSError.
        """
        keep = list(keep)
        self._check_removable(keep)
        if not os.path.lexists(self.path):
            return 0, []
        remover = _Remover(os.lstat(self.path).st_dev, stop)
        for name in list(_others(self.path, keep)) if self.path.is_dir() else []:
            remover.remove(self.path / name)
        left = [folder for folder in keep if os.path.lexists(self.path / folder)]
        if not left:
            remover.remove(self.path)
        return remover.freed, left

    def uninstall(
        self, keep: Iterable[str] = (), stop: Callable[[], bool] = lambda: False
    ) -> tuple[int, list[str]]:
        """``clear``, with the marks of it. The lock must be held. Raises as ``clear`` does.

        Interrupted or failed, it counts as broken: to be installed or uninstalled again.
        """
        keep = list(keep)
        if stop():
            raise Interrupted
        self._check_removable(keep)
        self.recover()
        with suppress(OSError):  # a full disk must not keep anybody from making room
            self.say("removing")
        self.marker.unlink(missing_ok=True)
        try:
            with suppress(OSError):  # the marker's block is free now
                self.say("removing")
            freed, left = self.clear(keep, stop)
            freed += self._sweep(self.downloads)
        except BaseException:
            with suppress(OSError):
                self.say("broken")
            raise
        self.say("")
        return freed, left

    def _check_removable(self, keep: list[str]) -> None:
        if self.path.is_symlink():
            raise Refused(f"apps/{self.app} is a symbolic link, and nothing is removed through one")
        for mount in map(Path, _mounts_below(self.path)):
            if not any(folder in (mount, *mount.parents) for folder in map(Path, keep)):
                raise Refused(f"apps/{self.app}/{mount} is a mounted file system: unmount it first")

    def _sweep(self, path: Path) -> int:
        """Delete a path beside the app; what resists is left for the next time."""
        if not os.path.lexists(path):
            return 0
        remover = _Remover(os.lstat(path).st_dev, lambda: False)
        with suppress(OSError):
            remover.remove(path)
        return remover.freed

    # --- updating --------------------------------------------------------------------------

    def aside(self, keep: Iterable[str]) -> None:
        """Begin: what is there becomes ``.APP.old``, which notes what ``bring`` is to bring."""
        with (self.path / KEPT).open("w") as file:
            json.dump(list(keep), file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the renames without it
        self.path.rename(self.old)

    def bring(self) -> None:
        """Give the new app the data folders of the old one. Where both have one, it becomes one:
        files of the old one win.
        """
        for folder in self._noted():
            item = _up_to_a_link(self.old, folder)
            if os.path.lexists(self.old / item):
                self._make_way(item)
                _join(self.path / item, self.old / item)
                (self.old / item).rename(self.path / item)

    def _make_way(self, item: Path) -> None:
        """Have real folders on the way to it: nothing is moved or removed through a link."""
        for folder in reversed([self.path / parent for parent in item.parents]):
            if os.path.lexists(folder) and not _is_folder(folder):
                folder.unlink()
            folder.mkdir(exist_ok=True)

    def recover(self) -> str | None:
        """End or undo what is not under way. Says in a word which: restored, updated, or the name
        of the folder in apps/ that keeps what was made by hand.
        """
        done = None
        if os.path.lexists(self.old):
            self._empty_gone()
            if not self.complete:
                self._restore()
                done = "restored"
            elif (self.old / MARKER).is_file() or not _has_files(self.old):
                self.old.rename(self.gone)
                done = "updated"
            else:
                done = self._keep_by_hand()
            self.say("")
        (self.path / KEPT).unlink(missing_ok=True)
        self._sweep(self.gone)
        return done

    def _noted(self) -> list[str]:
        """The data folders of what was set aside."""
        record = self.old / KEPT
        return list(json.loads(record.read_text())) if record.is_file() else []

    def _keep_by_hand(self) -> str:
        names = (
            self.path.with_name(f"{self.app}.by-hand{number or ''}") for number in itertools.count()
        )
        kept = next(path for path in names if not os.path.lexists(path))
        self.old.rename(kept)
        (kept / KEPT).unlink(missing_ok=True)
        return kept.name

    def _restore(self) -> None:
        if os.path.lexists(self.path):
            for folder in self._noted():
                if not os.path.lexists(self.old / folder):
                    _move(self.path, self.old, folder)
            self.path.rename(self.gone)
        self.old.rename(self.path)

    def _empty_gone(self) -> None:
        """The name must be free before something goes there."""
        if os.path.lexists(self.gone):
            _Remover(os.lstat(self.gone).st_dev, lambda: False).remove(self.gone)


def _others(folder: Path, keep: list[str], prefix: str = "") -> Iterator[str]:
    """Every topmost path below folder, relative to it, that is not to be kept."""
    with os.scandir(folder) as items:
        found = sorted(items, key=lambda item: item.name)
    for item in found:
        name = prefix + item.name
        if name in keep:
            continue
        if any(kept.startswith(name + os.sep) for kept in keep):
            if item.is_dir(follow_symlinks=False):
                yield from _others(Path(item.path), keep, name + os.sep)
        else:
            yield name


def _up_to_a_link(base: Path, folder: str) -> Path:
    """The folder's path below base, or of the link on the way to it."""
    parts = Path(folder).parts
    for count in range(1, len(parts)):
        if base.joinpath(*parts[:count]).is_symlink():
            return Path(*parts[:count])
    return Path(folder)


def _move(source: Path, target: Path, folder: str) -> None:
    """Move a folder if it is there; a link on the way to it is what is moved instead."""
    item = _up_to_a_link(source, folder)
    here, there = source / item, target / item
    if os.path.lexists(here) and not os.path.lexists(there):
        there.parent.mkdir(parents=True, exist_ok=True)
        here.rename(there)


def _join(new: Path, old: Path) -> None:
    """Move into the old folder what only the new one has; then nothing is left of the new one.

    Nothing to do unless both are there. Links are files here: what is old stays as it is.
    """
    if not (os.path.lexists(new) and os.path.lexists(old)):
        return
    if _is_folder(new) and _is_folder(old):
        for name in sorted(os.listdir(new)):  # noqa: PTH208 - names only
            if os.path.lexists(old / name):
                _join(new / name, old / name)
            else:
                (new / name).rename(old / name)
    _Remover(os.lstat(new).st_dev, lambda: False).remove(new)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _has_files(folder: Path) -> bool:
    """Something besides ``KEPT`` and empty folders."""
    return any(not _is_folder(path) and path.name != KEPT for path in folder.rglob("*"))


def _mounts_below(folder: Path) -> Iterator[str]:
    """What is mounted inside, relative to folder; bind mounts too (proc_pid_mountinfo(5))."""
    base = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - ends with a slash
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
            point = line.split()[4]
            for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
                point = point.replace(code, letter)
            if point.startswith(base):
                yield point[len(base) :]


class _Remover:
    """Deletes trees, following no link, entering no other file system, counting what is freed."""

    def __init__(self, device: int, stop: Callable[[], bool]) -> None:
        self.freed = 0
        self._device = device
        self._stop = stop

    def remove(self, path: Path) -> None:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._remove(parent, path.name)
        finally:
            os.close(parent)

    def _remove(self, parent: int, name: str) -> None:
        if self._stop():
            raise Interrupted
        facts = os.lstat(name, dir_fd=parent)
        if stat.S_ISDIR(facts.st_mode):
            self._empty(parent, name, facts)
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
        if stat.S_ISDIR(facts.st_mode) or facts.st_nlink == 1:
            self.freed += facts.st_blocks * BLOCK

    def _empty(self, parent: int, name: str, facts: os.stat_result) -> None:
        if facts.st_dev != self._device:
            raise OSError(errno.EXDEV, "another file system is mounted there", name)
        if facts.st_mode & 0o700 != 0o700:  # some caches are read-only folders
            os.chmod(name, 0o700, dir_fd=parent)
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            for item in os.listdir(folder):  # noqa: PTH208 - a descriptor
                self._remove(folder, item)
        finally:
            os.close(folder)
