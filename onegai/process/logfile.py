"""A child's log file: the child appends to it by itself, OneGAI reads it and keeps it small."""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import stat
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from onegai.config import private
from onegai.process.escapes import clean

log = logging.getLogger(__name__)

ROTATE_AT = 20 << 20
"""Bytes after which a log is moved to ``.1``."""
KEPT = 4 << 20
"""Bytes of its end that are there then."""
LOOK_SECONDS = 0.1
"""How often it is seen whether a log is that large."""
LINE = 64 << 10
"""Characters after which a line is cut."""

_TAIL = 256 << 10
_PIECE = 64 << 10
_MOST_BEHIND = 4 << 20
_TURN_LINES = 100
_POLL_SECONDS = 0.2


class LogFile:
    """One log. Every read is of a piece, so a large file costs nothing. From any thread.

    Positions count its bytes through all rotations of this object: what was in the file at the
    first of them begins at 0, what was in ``.1`` before is below.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.old = path.with_name(path.name + ".1")
        self._moved = 0  # the position where the file begins, and where ``.1`` ends
        self._old_end = 0
        self._lock = threading.Lock()  # held while positions change
        self._rotating = threading.Lock()

    def open_for_child(self) -> int:
        """A file descriptor to hand to a child as stdout and stderr; the caller closes it.

        Opened for appending, so that it survives both rotation and OneGAI's own death.
        """
        private.make_folder(self.path.parent)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def clear(self) -> None:
        """Begin anew, before there is a writer."""
        for path in (self.path, self.old):
            path.unlink(missing_ok=True)

    @property
    def end(self) -> int:
        """The position behind its last byte."""
        with self._lock:
            return self._moved + _size(self.path)

    @contextmanager
    def kept_small(self) -> Iterator[None]:
        """Rotate it for as long as this lasts, from a thread of its own.

        It then takes up ROTATE_AT, twice KEPT, and what is written to it in twice LOOK_SECONDS.
        """
        over = threading.Event()

        def look() -> None:
            told = False
            while True:
                try:
                    self.rotate()
                except OSError as error:
                    if not told:
                        log.warning("%s cannot be rotated: %s", self.path.name, error)
                    told = True
                if over.wait(LOOK_SECONDS):
                    return

        threading.Thread(target=look, name=f"rotation of {self.path.name}", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def rotate(self) -> None:
        """Over ROTATE_AT: copy its end to ``.1`` and truncate it. The writer is not disturbed.

        Lines written between the copy and the truncation are lost. Raises OSError; what cannot be
        copied (to a full disk, say) is truncated all the same.
        """
        with self._rotating:
            if _size(self.path) <= ROTATE_AT:
                return
            copy, end = self.path.with_name(self.path.name + ".part"), None
            try:
                end = self._copy_end(copy)
            finally:
                try:
                    self._cut(copy, end)
                finally:
                    copy.unlink(missing_ok=True)

    def _copy_end(self, copy: Path) -> int:
        """To which position it was copied."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        target = os.open(copy, flags, 0o600)
        try:
            with self.path.open("rb") as source:
                size = os.fstat(source.fileno()).st_size
                at, end = max(0, size - KEPT), size + KEPT
                # Up to the very end, but no quick writer is run after for ever. In few steps: of
                # each the interpreter's lock may have to be waited for.
                while at < end and (sent := os.sendfile(target, source.fileno(), at, end - at)):
                    at += sent
        finally:
            os.close(target)
        return self._moved + at

    def _cut(self, copy: Path, end: int | None) -> None:
        with self._lock:
            size = _size(self.path)
            os.truncate(self.path, 0)
            self._moved += size
            if end is not None:
                copy.replace(self.old)
                self._old_end = end

    def read(self, position: int, length: int) -> tuple[int, bytes]:
        """What is there from the position on, and where it begins: further on, if that is gone."""
        with self._lock:
            path, begin, size = self.path, self._moved, _size(self.path)
            if position < begin:
                old = _size(self.old)
                if old and position < self._old_end:
                    path, begin, size = self.old, self._old_end - old, old
                position = max(position, begin)
            elif position > begin + size:
                position = begin  # somebody else has truncated it
            try:
                with path.open("rb") as file:
                    file.seek(position - begin)
                    return position, file.read(min(length, begin + size - position))
            except OSError:
                return position, b""

    def tail(self, lines: int, since: int | None = None) -> list[str]:
        """The last lines, at most 256 KiB of them, after the position; cleaned for display."""
        at = self.end - _TAIL
        if since is not None:
            at = max(at, since)
        data = b""
        while len(data) < _TAIL:
            at, piece = self.read(at, _TAIL - len(data))
            if not piece:
                break
            data += piece
            at += len(piece)
        text = clean(data.decode("utf-8", "replace")).removesuffix("\n")
        return text.split("\n")[-lines:] if text and lines > 0 else []

    async def follow(
        self, tail: int, until: asyncio.Event | None = None
    ) -> AsyncGenerator[str, None]:
        """The last ``tail`` lines, then every new one; ends after ``until`` is set, if ever.

        Of a progress bar's rewrites the last one is given at each look. A reader that falls
        4 MiB behind is told how much it does not get.
        """
        end = self.end
        reader = Reader(self, self.read(end - _TAIL, 0)[0])
        before = await asyncio.to_thread(lambda: list(reader.lines(end)))
        for line in before[-tail:] if tail else []:
            yield line
        while True:
            last = until is not None and until.is_set()
            pieces = reader.pieces()
            while (lines := await asyncio.to_thread(next, pieces, None)) is not None:
                for count, line in enumerate(lines):
                    yield line
                    if count % _TURN_LINES == 0:
                        await asyncio.sleep(0)
            if last:
                if reader.rest:
                    yield reader.rest
                return
            await asyncio.sleep(_POLL_SECONDS)


class Reader:
    """Reads a log onwards from a position, in pieces, and makes lines of them: clean ones.

    A line break ends a line, and so does a carriage return alone. A longer one than LINE comes in
    parts.
    """

    def __init__(self, log: LogFile, position: int) -> None:
        self._log = log
        self._position = position
        self._begin()

    @property
    def rest(self) -> str:
        """The line that has no end yet."""
        return clean(self._rest)

    def lines(self, end: int | None = None) -> Iterator[str]:
        """Those up to a position, without one up to where the log ends now. For a thread."""
        return chain.from_iterable(self.pieces(end))

    def pieces(self, end: int | None = None) -> Iterator[list[str]]:
        """The same in pieces: each ``next`` is a short work."""
        if end is None:
            end = self._log.end
        while self._position != end:
            yield self._piece(end)

    def _piece(self, end: int) -> list[str]:
        at = self._position
        if end - at > _MOST_BEHIND:
            at = end - _TAIL
        at, piece = self._log.read(at, min(_PIECE, abs(end - at)))
        lines = []
        if at != self._position:
            lines = [self.rest] if self._rest else []
            if at > self._position:
                lines.append(f"[{at - self._position} bytes of this log are left out here]")
            self._begin()
        self._position = at + len(piece) if piece else end
        return lines + self._ended_by(piece)

    def _begin(self) -> None:
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def _ended_by(self, piece: bytes) -> list[str]:
        text = self._rest + self._decoder.decode(piece)
        end = text.rfind("\n") + 1
        # The carriage return at the very end may be the first half of a line break.
        rewritten = text.rfind("\r", end, max(end, len(text) - 1)) + 1
        whole, self._rest = text[:end], text[end:]
        if rewritten:
            whole, self._rest = text[: rewritten - 1] + "\n", text[rewritten:]
        lines = [
            line[start : start + LINE]
            for line in clean(whole).split("\n")[:-1]
            for start in range(0, max(1, len(line)), LINE)
        ]
        while len(self._rest) > LINE:
            lines.append(clean(self._rest[:LINE]))
            self._rest = self._rest[LINE:]
        return lines


def _size(path: Path) -> int:
    """Bytes; 0 where there is no such file."""
    try:
        facts = path.stat()
    except OSError:
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0
