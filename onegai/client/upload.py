"""Files of the caller: those that a ``Path`` among a call's arguments names."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onegai.client.wire import Attached, Form
from onegai.config import private
from onegai.config.settings import MIB
from onegai.errors import BadArguments, FileTooLarge
from onegai.files.file import FORMS, File, Workspace, full_disk

PIECE = 1 << 16


class Upload:
    """The body of a request that is a form: ``size`` bytes, read from the disk as they are sent.

    A file is sent as long as it was at first: what is added to it meanwhile is left out, and one
    that has become shorter is an error. Raises BadArguments, which names file and argument.
    """

    def __init__(self, form: Form) -> None:
        self._parts = [(part, _size(part)) for part in form.parts]
        self.size = sum(size for _part, size in self._parts)

    def pieces(self) -> Iterator[bytes]:
        """All of it in order. Raises BadArguments."""
        for part, size in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from _content(part, size)


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
        attached = Attached(field, value)
        if _size(attached) > limit:
            raise FileTooLarge(what=f"{field}: the file", limit_mib=round(limit / MIB, 1))
        path = _expanded(attached).absolute()
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


def _size(part: bytes | Attached) -> int:
    if isinstance(part, bytes):
        return len(part)
    try:
        return readable_size(_expanded(part))
    except ValueError as error:
        raise unusable(part.field, str(error)) from None


def _expanded(attached: Attached) -> Path:
    try:
        return attached.path.expanduser()
    except RuntimeError as error:
        raise unusable(attached.field, f"cannot read {attached.path}: {error}") from None


def _content(attached: Attached, size: int) -> Iterator[bytes]:
    """So many bytes of a file."""
    path = _expanded(attached)
    left = size
    try:
        with path.open("rb") as source:
            while left:
                piece = source.read(min(left, PIECE))
                if not piece:
                    message = f"{path} has become shorter while it was sent"
                    raise unusable(attached.field, message)
                left -= len(piece)
                yield piece
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror}"
        raise unusable(attached.field, reason) from None
