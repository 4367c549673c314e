"""The arguments of a call, from the words of a command."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from onegai.cli.backend import WRONG, Failure

_ARGUMENT = re.compile(r"(?P<key>[^=:@\s]+)(?P<kind>:=|=@|=|@)(?P<value>.*)", re.DOTALL)
_HEAD = 1 << 16


@dataclass(frozen=True)
class FromFile:
    """What is in a file that an argument names."""

    path: Path


def parse(words: Iterable[str], until_answered: ExitStack) -> dict[str, Any]:
    """The arguments that the words say; those of files as FromFile. Raises Failure.

    What stdin and other pipes give is in a temporary file, which ``until_answered`` removes.
    """
    arguments: dict[str, Any] = {}
    for word in words:
        if (found := _ARGUMENT.fullmatch(word)) is None:
            raise Failure(
                f"{word!r} is no argument", "write key=text, key:=JSON or key=@FILE", status=WRONG
            )
        key, value = found["key"], found["value"]
        if key in arguments:
            raise Failure(f"{key} stands there twice", "name it once", status=WRONG)
        match found["kind"]:
            case "=":
                arguments[key] = value
            case ":=":
                arguments[key] = _json(key, value)
            case _:
                arguments[key] = _from_file(key, value, until_answered)
    return arguments


def argument_names(schema: Mapping[str, Any]) -> set[str] | None:
    """What a JSON Schema of an object lets its keys be; None: anything."""
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    names: set[str] = set()
    pending = [schema]
    while pending:
        part = pending.pop()
        if (reference := part.get("$ref")) is not None:
            pending.append(definitions[reference.rpartition("/")[2]])
            continue
        choices = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
        if choices:
            pending += choices
        elif part.get("additionalProperties", "properties" not in part):
            return None
        names |= set(part.get("properties", ()))
    return names


def check_names(function: str, arguments: Iterable[str], schema: Mapping[str, Any]) -> None:
    """A function ignores keys that it does not know; a mistyped one had better be said."""
    names = argument_names(schema)
    unknown = [key for key in arguments if names is not None and key not in names]
    if unknown:
        raise Failure(
            f"{function} has no argument {', '.join(map(repr, unknown))}",
            f"it takes {', '.join(sorted(names or ())) or 'none'}",
            status=WRONG,
        )


def _json(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(
            f"{key}: {text!r} is not JSON: {error}", f"a text is written {key}=TEXT", status=WRONG
        ) from None


def sent(
    arguments: Mapping[str, Any],
    files: Collection[str] | None,
    kinds: Callable[[str], set[str]] = lambda _name: set(),
) -> dict[str, Any]:
    """The arguments of the call: FromFile is a file where its key is in ``files``, else text.

    Where ``files`` is not known, it is a file if it is no text. A text is what it means for the
    ``kinds`` of its argument: a number, say.
    """
    from onegai.functions.texts import from_text

    def given(key: str, path: Path) -> str | Path:
        if files is not None and key in files:
            return path
        if (text := _text(path)) is not None:
            return text
        return path if files is None else base64.b64encode(path.read_bytes()).decode()

    return {
        key: from_text(found, kinds(key)) if isinstance(found, str) else found
        for key, value in arguments.items()
        for found in [given(key, value.path) if isinstance(value, FromFile) else value]
    }


def _text(path: Path) -> str | None:
    """What is in a file; None if that is no text in UTF-8."""
    with path.open("rb") as file:
        if b"\0" in file.read(_HEAD):
            return None
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _from_file(key: str, name: str, until_answered: ExitStack) -> FromFile:
    from onegai.files.local import readable_size

    try:
        if name == "-":
            return FromFile(_spooled(sys.stdin.buffer, until_answered))
        if not name:
            raise ValueError("there is no name of a file behind @")
        path = Path(name).absolute()
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("rb") as pipe:
                return FromFile(_spooled(pipe, until_answered))
        readable_size(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None)
        raise Failure(
            f"{key}: cannot read {name}: {reason}" if reason else f"{key}: {error}",
            f"a text that begins with @ is written {key}:='\"@…\"'",
            status=WRONG,
        ) from None
    return FromFile(path)


def _spooled(pipe: BinaryIO, until_answered: ExitStack) -> Path:
    """A file with all that comes from a pipe, named by what it is."""
    from onegai.files.file import File, suffix_of

    folder = until_answered.enter_context(tempfile.TemporaryDirectory(prefix="onegai-"))
    path = Path(folder, "file")
    with path.open("wb") as copy:
        shutil.copyfileobj(pipe, copy)
    return path.rename(path.with_suffix(suffix_of(File(path).media_type)))
