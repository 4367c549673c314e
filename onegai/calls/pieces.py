"""What a function yields: parts of one text or file, or values of their own."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from onegai.files.file import File, is_media_type
from onegai.files.pieces import utf8
from onegai.functions.function import Form
from onegai.functions.results import Keep, Outcome, TooLong, json_bytes, outcome_of

TEXT = "text/plain; charset=utf-8"
_BYTES = (bytes, bytearray, memoryview)


class Joined:
    """Tells what the pieces of one call are together; the first of them decides.

    Pieces of bytes, or of text, are parts of one file or text, but not in ``main``.
    """

    def __init__(self, form: Form) -> None:
        self.media_type = ""
        """Of that file or text; empty: each piece is a value of its own."""
        self._kind: type | None = None
        self._undecided = form != "main"

    def takes(self, piece: Any) -> bool:
        """Is it a part of the whole? Raises TypeError where it is none, and those before are."""
        kind = self._kind
        if self._undecided:
            self._undecided = False
            self.media_type = _media_type(piece)
            self._kind = _kind(piece)
        elif kind is not None and _kind(piece) is not kind:
            name = type(piece).__name__
            raise TypeError(f"it yielded {name} after {kind.__name__}; all must be of one kind")
        return self._kind is not None

    def result(self, parts: list[Any]) -> Any:
        """The whole, as a function returns it."""
        if self._kind is str:
            return "".join(parts)
        return b"".join(map(content_of, parts)), self.media_type


def content_of(part: Any) -> bytes:
    """A part as it is sent."""
    if isinstance(part, str):
        return utf8(part)
    return bytes(part[0] if isinstance(part, tuple) else part)


def _kind(piece: Any) -> type | None:
    if isinstance(piece, str):
        return str
    if isinstance(piece, tuple) and len(piece) == 2 and isinstance(piece[1], str):
        piece = piece[0]
    return bytes if isinstance(piece, _BYTES) else None


def _media_type(piece: Any) -> str:
    """What it is if it is a part; bytes are what they say, unless their type stands beside."""
    kind = _kind(piece)
    if kind is str:
        return TEXT
    if kind is None:
        return ""
    if not isinstance(piece, tuple):
        return File(bytes(piece)).media_type
    media_type: str = piece[1]
    if not is_media_type(media_type):
        raise ValueError(f"{media_type!r} is no media type like 'audio/wav'")
    return media_type


class Output(NamedTuple):
    """The data of the event ``output``, and about how many bytes that takes."""

    data: dict[str, Any]
    size: int


def output(piece: Any, keep: Keep, most: float, *, replaces: bool = False) -> Output:
    """A piece as an event has it. Raises TooLong for more than ``most`` bytes.

    ``replaces``: it stands for the whole result so far.
    """
    found = _output(piece, keep, most)
    return Output({**found.data, "replaces": True}, found.size) if replaces else found


def _output(piece: Any, keep: Keep, most: float) -> Output:
    if isinstance(piece, str):
        if len(piece) > most:
            raise TooLong
        return Output({"result": piece}, len(piece))
    if _kind(piece) is bytes:
        given = piece[1] if isinstance(piece, tuple) else ""
        entry = keep(File(content_of(piece), media_type=given))
        size = sum(len(value) for value in entry.values() if isinstance(value, str))
        if size > most:
            raise TooLong
        return Output({"result": entry}, size)
    encoded = json_bytes(piece, keep)
    if len(encoded) > most:
        raise TooLong
    return Output({"result": json.loads(encoded)}, len(encoded))


def as_main(result: Any, keep: Keep, most: float) -> Outcome:
    """What a function returned as ``main``'s envelope has it. Raises TooLong."""
    return outcome_of("main", result, keep, most)


def done(outcome: Outcome) -> dict[str, Any]:
    """The data of the event ``done``."""
    result = json.loads(outcome.body.content)
    return {"result": result, "detail": json.loads(outcome.detail_json)}
