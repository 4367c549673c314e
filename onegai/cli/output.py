"""What the commands write: plain lines anywhere; on a terminal a live line and colours, too.

Results go to stdout, everything about the way there to stderr.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Sequence
from typing import IO, Self

import click

from onegai.process.escapes import clean

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
ERASE_LINE, ERASE_BELOW, HOME = "\r\x1b[2K", "\x1b[J", "\x1b[H"
_COLOURS = {"ok": "32", "note": "36", "warn": "33", "fail": "31"}
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def is_live(stream: IO[str]) -> bool:
    """May the stream be drawn on? A terminal that understands it, and NO_COLOR is not set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


class PlainTerminal(io.TextIOWrapper):
    """A terminal on which all text is plain: what apps and servers say cannot control it."""

    def write(self, text: str) -> int:
        """Show the text, without its escapes."""
        super().write(clean(text))
        return len(text)

    def draw(self, text: str) -> None:
        """Write our own escapes."""
        super().write(text)
        self.flush()


def protect_terminals() -> None:
    """Make stdout and stderr plain, where they are terminals; files and programs get all bytes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream.isatty() and isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding
            plain = PlainTerminal(
                stream.detach(), encoding=encoding, errors="replace", line_buffering=True
            )
            setattr(sys, name, plain)


def draw(text: str, stream: IO[str]) -> None:
    """Write what has escapes of our own in it."""
    if isinstance(stream, PlainTerminal):
        stream.draw(text)
    else:
        stream.write(text)
        stream.flush()


def marked(word: str, text: str, *, err: bool = False) -> None:
    """A line that begins with ok, note, warn or fail, in its colour where colours are shown."""
    stream = sys.stderr if err else sys.stdout
    draw(f"\x1b[{_COLOURS[word]}m{word}\x1b[0m" if is_live(stream) else word, stream)
    click.echo(" " * (6 - len(word)) + text, err=err)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns wide enough for what is in them; the last one is not padded."""
    lines = [head, *rows]
    widths = [max(width(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell + " " * (size - width(cell)) for cell, size in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def size(mib: float | None) -> str:
    """MiB for people."""
    if mib is None:
        return "–"
    return f"{mib / 1024:.1f} GB" if mib >= 1024 else f"{mib:.0f} MB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def width(text: str) -> int:
    """Columns that a text takes."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def cut(text: str, columns: int) -> str:
    """As much of the text as fits, without control characters."""
    fits, used = "", 0
    for sign in text:
        if not sign.isprintable():
            continue
        used += width(sign)
        if used > columns:
            break
        fits += sign
    return fits


class Progress:
    """A line that says what goes on and for how long; plain lines where nothing can be drawn.

    It is erased at the end, and the cursor comes back, however the end comes. ``plain`` False: what
    is usually short needs no plain lines.
    """

    def __init__(self, what: str, *, plain: bool = True) -> None:
        self._what = what
        self._plain = plain
        self._line = ""
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._live = is_live(sys.stderr)

    def __enter__(self) -> Self:
        if self._live:
            self._write(HIDE_CURSOR)
            self._thread.start()
        elif self._plain:
            click.echo(f"{self._what} …", err=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Erase it; what is said now is not shown. Twice is harmless."""
        if self._live and not self._over.is_set():
            self._over.set()
            self._thread.join()
            self._write(ERASE_LINE + SHOW_CURSOR)

    @property
    def elapsed(self) -> str:
        """How long it has been, for people."""
        return duration(time.monotonic() - self._begun)

    @property
    def keeps_lines(self) -> bool:
        """What is said stays to be read."""
        return self._plain and not self._live

    def say(self, line: str) -> None:
        """A line of what is going on."""
        if self._live:
            self._line = line.strip()
        elif self.keeps_lines:
            click.echo(f"    {line}", err=True)

    def _draw(self) -> None:
        count = 0
        while not self._over.wait(0.1):
            frame = _FRAMES[count % len(_FRAMES)]
            text = f"{frame} {self._what} {self.elapsed}  {self._line}"
            self._write(ERASE_LINE + cut(text, shutil.get_terminal_size().columns - 1))
            count += 1

    @staticmethod
    def _write(text: str) -> None:
        draw(text, sys.stderr)
