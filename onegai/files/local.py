"""Files of the caller: those that a ``Path`` among a call's arguments names."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onegai.config import private
from onegai.config.settings import MIB
from onegai.errors import BadArguments, FileTooLarge
from onegai.files.file import FORMS, File
from onegai.files.workspace import Workspace, full_disk


def has_paths(arguments: Mapping[str, Any]) -> bool:
    """Is there a file of the caller's among a call's arguments, or in a list there?"""
    return any(isinstance(one, Path) for value in arguments.values() for one in parts_of(value))


def parts_of(value: Any) -> Sequence[Any]:
    """The parts of a form that an argument becomes; a list without a Path is one."""
    several = isinstance(value, list | tuple) and any(isinstance(one, Path) for one in value)
    return value if several else [value]


def readable_size(path: Path) -> int:
    """Bytes of an ordinary file that can be read. Raises ValueError with the reason."""
    try:
        about = path.stat()
        if ordinary := stat.S_ISREG(about.st_mode):
            path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"cannot read {path}: {reason}") from None
    if stat.S_ISDIR(about.st_mode):
        raise ValueError(f"{path} is a folder")
    if not ordinary:
        raise ValueError(f"{path} is no ordinary file")
    return about.st_size


def unusable(field: str, message: str) -> BadArguments:
    """The error for an argument that gives no file."""
    return BadArguments(
        reason=f"{field}: {message}",
        do=FORMS,
        detail={"errors": [{"field": field, "message": message}]},
    )


def as_files(
    arguments: Mapping[str, Any], limit: int, workspace: Workspace | None = None
) -> dict[str, Any]:
    """The arguments as a server gets them: a File where they have a Path.

    ``limit``: most bytes of a file. With a workspace the files are there, too, and stay when the
    caller removes its own. Raises BadArguments, FileTooLarge, DiskFull.
    """

    def file(field: str, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        if size_of(field, value) > limit:
            raise FileTooLarge(what=f"{field}: the file", limit_mib=round(limit / MIB, 1))
        path = expanded(field, value).absolute()
        return File(path if workspace is None else linked(path, workspace, path.name))

    return {
        key: [file(key, one) for one in value]
        if isinstance(value, list | tuple)
        else file(key, value)
        for key, value in arguments.items()
    }


def linked(path: Path, workspace: Workspace, name: str) -> Path:
    """It inside of the workspace: a link where that is possible, else a copy. Raises DiskFull."""
    inside = workspace.new(name)
    try:
        inside.hardlink_to(path.resolve())
    except OSError:
        with full_disk(inside):
            shutil.copyfile(path, private.make_file(inside))
    return inside


def size_of(field: str, path: Path) -> int:
    """Bytes of the file that an argument names. Raises BadArguments, which names both."""
    try:
        return readable_size(expanded(field, path))
    except ValueError as error:
        raise unusable(field, str(error)) from None


def expanded(field: str, path: Path) -> Path:
    """The path with its ``~`` resolved. Raises BadArguments."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise unusable(field, f"cannot read {path}: {error}") from None
