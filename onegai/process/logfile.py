"""A child's log file: the child appends to it by itself, OneGAI reads its end."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

ROTATE_AT = 20 << 20
"""Bytes after which a log is copied to ``.1`` and truncated."""

_TAIL_BYTES = 256 << 10
_POLL_SECONDS = 0.2
# ECMA-48: CSI sequences, OSC strings, and the escapes of ECMA-35 (with or without intermediates).
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-Z\\^-~])"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class LogFile:
    """One log. Every read is of the end only, so a large file costs nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_for_child(self) -> int:
        """A file descriptor to hand to a child as stdout and stderr; the caller closes it.

        Opened for appending, so that it survives both rotation and OneGAI's own death.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rotate()
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def size(self) -> int:
        """Bytes written so far; 0 when there is no file."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def is_large(self) -> bool:
        """Is it time to rotate?"""
        return self.size > ROTATE_AT

    def rotate(self) -> None:
        """Copy to ``.1`` and truncate, once the file is over ROTATE_AT.

        Lines written between the copy and the truncation are lost; the writer is not disturbed.
        Where it cannot be copied (a full disk, say), it goes on as it is.
        """
        if not self.is_large:
            return
        copy = self.path.with_name(self.path.name + ".1")
        try:
            shutil.copyfile(self.path, copy)
            os.truncate(self.path, 0)
        except OSError as error:
            log.warning("%s is large and cannot be rotated: %s", self.path.name, error)
            with suppress(OSError):
                copy.unlink()

    def read_from(self, offset: int) -> str:
        """The text after ``offset`` bytes, at most the last 256 KiB of it."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(offset if offset <= size else 0, size - _TAIL_BYTES))
                return file.read(_TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def tail(self, lines: int, offset: int = 0) -> list[str]:
        """The last lines after ``offset``, cleaned for display."""
        return clean(self.read_from(offset)).splitlines()[-lines:] if lines > 0 else []

    async def follow(
        self, tail: int, until: asyncio.Event | None = None
    ) -> AsyncGenerator[str, None]:
        """The last ``tail`` lines, then every new one; ends after ``until`` is set, if ever."""
        offset = self.size
        start = max(0, offset - _TAIL_BYTES)
        *whole, rest = self._read(start, offset - start).split(b"\n")
        for part in whole[-tail:] if tail else []:
            yield clean(part.decode("utf-8", "replace"))
        while True:
            last = until is not None and until.is_set()
            if self.size < offset:
                offset, rest = 0, b""
            while chunk := self._read(offset, _TAIL_BYTES):
                offset += len(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                for part in whole:
                    yield clean(part.decode("utf-8", "replace"))
            if last:
                if rest:
                    yield clean(rest.decode("utf-8", "replace"))
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError:
            return b""


def clean(text: str) -> str:
    """Text without terminal escapes; of a progress bar's rewrites only the last one stays."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    return _CONTROLS.sub("", "\n".join(lines))
