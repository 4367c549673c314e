"""A JSON file that a person edits: read with the place of an error, written atomically."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from onegai.config import private

_TEMPORARY = ".tmp"


class Unreadable(Exception):
    """The file exists and is no JSON object. ``line`` is 1-based, None when there is none."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def is_comment(key: str) -> bool:
    """True for keys that mean nothing to OneGAI: ``_…``, and ``$schema``, which is for editors."""
    return key.startswith("_") or key == "$schema"


def meant(key: str, known: Iterable[str]) -> str:
    """Which of the keys that there are a mistyped one may be, as the end of a sentence; or ""."""
    near = get_close_matches(key, sorted(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def content(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without comments."""
    return {key: value for key, value in values.items() if not is_comment(key)}


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen and not key.startswith("_"):
            raise Unreadable(f"the key {key!r} stands there twice")
        seen[key] = value
    return seen


def read(path: Path) -> dict[str, Any] | None:
    """The object in the file, or None when there is no file. A byte-order mark is allowed.

    Raises Unreadable, with line and column in the reason.
    """
    data = read_bytes(path)
    return None if data is None else parse(data)


def read_bytes(path: Path) -> bytes | None:
    """The file as it is, or None when there is none. Raises Unreadable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None


def parse(data: bytes) -> dict[str, Any]:
    """The object in a file with these bytes. Raises Unreadable as ``read``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 text (byte {error.start})") from None
    try:
        value = json.loads(text, object_pairs_hook=_refuse_duplicates)
    except json.JSONDecodeError as error:
        raise Unreadable(
            f"{error.msg} (line {error.lineno}, column {error.colno})", error.lineno
        ) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(str(error).partition(";")[0]) from None
    if not isinstance(value, dict):
        raise Unreadable("the file must hold one JSON object, {...}")
    return value


def write(path: Path, value: Any, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace the file by one that holds this; see ``write_text``."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text, mode, durable=durable)


def write_text(path: Path, text: str, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace the file in one step: a reader sees the old text or the new, never a part.

    Of a link, the file that it leads to. ``durable``: it outlives a power cut, which takes the disk
    some milliseconds. Raises OSError (a full disk, say), and then the old file is as it was.
    """
    path = Path(os.path.realpath(path))
    private.make_folder(path.parent)
    handle, name = tempfile.mkstemp(_TEMPORARY, f".{path.name}.", path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    if durable:
        with suppress(OSError):  # it is replaced, whatever a file system says to this
            _flush(path.parent)


def remove_left(folder: Path, name: str = "*") -> None:
    """Remove what writers of such files have left there that were killed. None may be at work."""
    with suppress(OSError):
        for left in folder.glob(f".{name}.????????{_TEMPORARY}"):
            left.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Have the disk know the names in it (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
