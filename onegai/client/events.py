"""Server-sent events (HTML Standard, 9.2.6), read from bytes that come cut anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

from onegai.schema import Event

_BOM = b"\xef\xbb\xbf"


class EventParser:
    """The events of one stream, in order. An event without an ``id`` has that of the one before."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._in_crlf = False
        self._first = True
        self._id = 0
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that this piece completes. ValueError: its data is no JSON object."""
        for line in self._lines(piece):
            if not line:
                if self._data:
                    yield Event(
                        id=self._id,
                        event=self._event or "message",
                        data=json.loads("\n".join(self._data)),
                    )
                self._event, self._data = "", []
            else:
                self._field(line.decode("utf-8", "replace"))

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and value.isascii() and value.isdecimal():
            self._id = int(value)

    def _lines(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece, without CR, LF or CRLF."""
        if self._in_crlf and piece:
            piece = piece.removeprefix(b"\n")
            self._in_crlf = False
        if b"\r" in piece:
            self._in_crlf = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line.clear()
            if self._first:
                lines[0] = lines[0].removeprefix(_BOM)
                self._first = False
        self._line.append(rest)
        return lines
