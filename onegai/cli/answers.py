"""What a call gives, as it comes: to the terminal, into a pipe, into a file."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import click

from onegai.cli.backend import WRONG, Failure

_BINARY_HINT = "save it with -o FILE, or send it to another program"
_TEXTS = ("text/", "application/json")
_FILE = {"name", "media_type", "size", "url", "base64"}
"""What stands for a file in JSON, if it was asked for with its bytes."""


class Screen:
    """Text and JSON on stdout, for people and programs; bytes only to where they belong.

    ``bare``: programs get the result without a line break behind it. ``links``: files in JSON are
    shown without their bytes. ``begin`` is called before anything is written to a terminal.
    """

    def __init__(self, *, bare: bool, links: bool, begin: Callable[[], None]) -> None:
        self._terminal = sys.stdout.isatty()
        self._bare = bare
        self._links = links
        self._begin = begin
        self._pieces = self._joined = self._in_line = False

    def piece(self, piece: Any) -> None:
        """Show it at once: text in the line where it comes, JSON as a line."""
        self._start()
        is_first, self._pieces = not self._pieces, True
        content, media_type = _file_of(piece)
        if is_first:
            self._joined = content is not None or isinstance(piece, str)
        if content is not None:
            self._bytes(content, media_type)
        elif isinstance(piece, str):
            self._text(piece)
        else:
            self._end_line()
            self._text(_line(piece, links=self._links) + "\n")

    def end(self, result: Any, detail: Mapping[str, Any]) -> None:
        """Show the result, unless its pieces are all there is to it."""
        self._start()
        if not self._joined and (not self._pieces or result is not None):
            if _is_base64(result, detail):
                self._bytes(base64.b64decode(result), detail["media_type"])
            elif self._bare:
                self._text(result if isinstance(result, str) else _line(result))
            else:
                self._text((result if isinstance(result, str) else pretty(result)) + "\n")
        if self._terminal or not self._bare:
            self._end_line()

    def _start(self) -> None:
        if self._terminal:
            self._begin()

    def _end_line(self) -> None:
        if self._in_line:
            self._text("\n")

    def _text(self, text: str) -> None:
        click.echo(text, nl=False)
        self._in_line = not text.endswith("\n") if text else self._in_line

    def _bytes(self, content: bytes, media_type: str) -> None:
        """Raises Failure on a terminal."""
        if not self._terminal:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        elif media_type.startswith(_TEXTS):
            self._text(content.decode("utf-8", "replace"))
        else:
            what = f"{len(content)} bytes of {media_type}"
            raise Failure(f"the answer is {what}: not for a terminal", _BINARY_HINT, status=WRONG)


class Written:
    """The answer in a file, or on stdout (``-``): bytes and text as they are, JSON as lines.

    The file has its name when it is complete. What is no file, a pipe for example, is written to
    directly, and so is a file of a folder that is not to be changed. ``bare`` and
    ``links`` as in Screen.
    """

    def __init__(self, output: str, *, bare: bool, links: bool) -> None:
        self.size = 0
        """Bytes that have been written."""
        self._output = output
        self._bare = bare
        self._links = links
        self._pieces = self._joined = False
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Raises Failure where nothing could be written."""
        if self._output == "-":
            if sys.stdout.isatty():
                raise Failure("-o - wants stdout to be a file or a program", status=WRONG)
            self._stream = sys.stdout.buffer
            return self
        named = Path(self._output)
        if named.is_dir():
            raise self._unwritable("it is a folder")
        if not named.parent.is_dir():
            raise self._unwritable("there is no such folder")
        if not os.access(named if named.exists() else named.parent, os.W_OK):
            raise self._unwritable("not permitted")
        self._path = self._part = path = named.resolve()
        if os.access(path.parent, os.W_OK) and (path.is_file() or not path.exists()):
            self._part = path.with_name(f"{path.name[:50]}.{os.getpid()}.part")
        return self

    def __exit__(self, *error: object) -> None:
        if self._output != "-":
            if self._stream is not None:
                with suppress(OSError):
                    self._stream.close()
            if self._part != self._path:
                self._part.unlink(missing_ok=True)

    def piece(self, piece: Any) -> None:
        """Write it at once. Raises Failure."""
        is_first, self._pieces = not self._pieces, True
        content, _media_type = _file_of(piece)
        if is_first:
            self._joined = content is not None or isinstance(piece, str)
        if content is not None:
            self._write(content)
        elif isinstance(piece, str):
            self._write(_encoded(piece))
        else:
            self._write(_encoded(_line(piece, links=self._links) + "\n"))

    def end(self, result: Any, detail: Mapping[str, Any]) -> None:
        """Write the result, unless its pieces are all there is to it. Raises Failure."""
        if self._joined or (self._pieces and result is None):
            self._write(b"")
        elif _is_base64(result, detail):
            self._write(base64.b64decode(result))
        elif isinstance(result, str):
            self._write(_encoded(result))
        else:
            self._write(_encoded(_line(result) if self._bare else pretty(result)))
        if self._output != "-":
            try:
                self._name()
            except OSError as error:
                raise self._failed(error) from None

    def _write(self, content: bytes) -> None:
        """BrokenPipeError: nobody reads stdout any more."""
        try:
            if self._stream is None:
                self._stream = self._part.open("wb")
            self._stream.write(content)
            self._stream.flush()
        except OSError as error:
            if self._output == "-":
                raise
            raise self._failed(error) from None
        self.size += len(content)

    def _name(self) -> None:
        assert self._stream is not None
        self._stream.close()
        if self._part != self._path:
            if self._path.exists():
                shutil.copymode(self._path, self._part)
            self._part.replace(self._path)

    def _unwritable(self, reason: str) -> Failure:
        message = f"cannot write to {self._output}: {reason}"
        return Failure(message, "name another file", status=WRONG)

    def _failed(self, error: OSError) -> Failure:
        return Failure(f"cannot write to {self._output}: {error.strerror or error}")


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _line(value: Any, *, links: bool = False) -> str:
    value = _without_bytes(value) if links else value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _encoded(text: str) -> bytes:
    """JSON may have halves of characters (RFC 8259, 8.2)."""
    return text.encode("utf-8", "replace")


def _is_base64(result: Any, detail: Mapping[str, Any]) -> bool:
    """Bytes in JSON; ``detail`` says so."""
    return isinstance(result, str) and {"media_type", "size"} <= set(detail)


def _file_of(piece: Any) -> tuple[bytes | None, str]:
    """The bytes of a piece that is a file, and its media type; None: it is something else."""
    if isinstance(piece, dict) and piece.keys() >= _FILE:
        return base64.b64decode(piece["base64"]), str(piece["media_type"])
    return None, ""


def _without_bytes(value: Any) -> Any:
    """The same with files' links alone."""
    if isinstance(value, list):
        return [_without_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    hidden = {"base64"} if value.keys() >= _FILE else set()
    return {key: _without_bytes(item) for key, item in value.items() if key not in hidden}
