"""What a function returned, as what goes out: a media type with bytes, a file or a stream."""

from __future__ import annotations

import base64
import dataclasses
import json
import mimetypes
import os
import pathlib
import re
from typing import Any, BinaryIO, Dict, Iterator, Optional

from . import media

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
LINES = "application/x-ndjson"
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;.*)?\Z", re.ASCII)


class RequestError(Exception):
    """A request that is refused or failed: HTTP status, a sentence, and facts for programs."""

    def __init__(
        self, status: int, error: str, headers: Optional[Dict[str, str]] = None, **detail: Any
    ) -> None:
        """The detail must have a JSON form."""
        super().__init__(error)
        self.status = status
        self.headers = headers or {}
        self.detail = detail

    def body(self) -> bytes:
        """The JSON document that tells it."""
        return to_json({"error": str(self), "detail": self.detail})


class Pieces:
    """The pieces of a stream as bytes. Whoever takes it closes it, also if it never was begun."""

    def __init__(self, first: Any, rest: Iterator[Any]) -> None:
        """First is the piece that was already taken from rest."""
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        """Run the function from piece to piece."""
        yield _piece(self._first)
        for piece in self._rest:
            yield _piece(piece)

    def close(self) -> None:
        """Close the function's generator."""
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()


@dataclasses.dataclass
class Answer:
    """Exactly one of body, file and pieces is set. file is open and at its beginning."""

    media_type: str
    body: Optional[bytes] = None
    file: Optional[BinaryIO] = None
    pieces: Optional[Pieces] = None


def of(result: Any) -> Answer:
    """Turn a function's result into an answer.

    For an iterator this runs the function up to its first piece, so that a failure before it still
    gets a status of its own, and the media type can be told from the bytes. TypeError if something
    has no JSON form.
    """
    media_type = None
    if _is_typed(result):
        result, media_type = result
    if isinstance(result, (bytes, bytearray, memoryview)):
        body = bytes(result)
        return Answer(media_type or media.sniff(body[: media.HEAD]), body=body)
    if isinstance(result, pathlib.Path):
        return _of_file(result, media_type)
    if isinstance(result, str):
        return Answer(TEXT, body=result.encode("utf-8", "replace"))
    if isinstance(result, Iterator):
        return _of_pieces(result, media_type)
    return Answer(JSON, body=to_json(result))


def to_json(value: Any) -> bytes:
    """Compact UTF-8 JSON, also of dataclasses, models, numpy, sets, paths and bytes (base64)."""
    try:
        return _dumps(value, ascii_only=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can write
        return _dumps(value, ascii_only=True).encode()


def _dumps(value: Any, ascii_only: bool) -> str:
    try:
        return json.dumps(
            value,
            ensure_ascii=ascii_only,
            allow_nan=False,
            separators=(",", ":"),
            default=_plain,
        )
    except (
        ValueError
    ) as error:  # NaN, or a value inside itself: the function's fault, not the caller's
        raise TypeError("the result has no JSON form: " + str(error)) from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    raise TypeError("the result has no JSON form: it holds a " + type(value).__name__)


def _is_typed(result: Any) -> bool:
    """Whether it is (bytes, file or stream, media type). Two texts are a JSON array, as ever."""
    return (
        isinstance(result, tuple)
        and len(result) == 2
        and isinstance(result[0], (bytes, bytearray, memoryview, pathlib.Path, Iterator))
        and isinstance(result[1], str)
        and _MEDIA_TYPE.match(result[1]) is not None
    )


def _of_file(path: pathlib.Path, media_type: Optional[str]) -> Answer:
    file = path.open("rb")  # opened while the function has its turn, sent after it
    if media_type is None:
        media_type = media.sniff(file.read(media.HEAD))
        file.seek(0)
        if media_type == media.BINARY:
            media_type = mimetypes.guess_type(path.name)[0] or media.BINARY
    return Answer(media_type, file=file)


def _of_pieces(pieces: Iterator[Any], media_type: Optional[str]) -> Answer:
    first = next(pieces, b"")
    if isinstance(first, (bytes, bytearray, memoryview)):
        media_type = media_type or media.sniff(bytes(first[: media.HEAD]))
    elif isinstance(first, str):
        media_type = media_type or TEXT
    else:
        media_type = media_type or LINES
    return Answer(media_type, pieces=Pieces(first, pieces))


def _piece(piece: Any) -> bytes:
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    if isinstance(piece, str):
        return piece.encode("utf-8", "replace")
    return to_json(piece) + b"\n"
