"""What functions give: sorted into value and detail, encoded, put into envelopes."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from onegai.files import pieces
from onegai.files.file import File, as_argument, find, is_media_type
from onegai.functions.function import Form
from onegai.schema import Problem

Keep = Callable[[File], dict[str, Any]]
"""Keeps a file of a result, and gives what stands for it in JSON."""

_JSON = "application/json"
_FILES = (File, bytes, bytearray, Path)


class TooLong(Exception):
    """A result is more than may leave."""


@dataclass(frozen=True)
class Binary:
    """Bytes with their media type."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Outcome:
    """What a call gave, as objects and encoded (what has no JSON form is the function's fault).

    With ``envelope``, ``body`` is the value's JSON and goes into one; else it is all there is.
    ``file`` are the bytes that stand as base64 in that JSON, where they are the whole result.
    """

    value: Any
    detail: Mapping[str, Any]
    envelope: bool
    body: Binary
    detail_json: bytes = b"{}"
    file: Binary | None = None
    problem: Problem | None = None
    """Why this is not what the func file says now."""

    def despite(self, problem: Problem) -> Outcome:
        """The same, beside the problem: in ``detail``, unless the function has one of that name."""
        if "problem" in self.detail:
            return replace(self, problem=problem)
        told = problem.model_dump(exclude_defaults=True)
        rest = self.detail_json[1:]
        parts = (b'{"problem":', json_bytes(told), b"" if rest == b"}" else b",", rest)
        return replace(
            self,
            detail={"problem": told} | {**self.detail},
            detail_json=b"".join(parts),
            problem=problem,
        )


def outcome_of(
    form: Form, result: Any, keep: Keep | None = None, most: float = math.inf
) -> Outcome:
    """Sort what a function gave into value and detail by the rules of docs/functions.

    Files inside of it go through ``keep``; without it they are base64. Raises TooLong for more
    than ``most`` bytes.
    """
    value, detail = _sort(result, most)
    file = None
    if form == "main" and isinstance(value, Binary):
        file = value
        detail = {"media_type": value.media_type, "size": len(value.content), **detail}
        value = pieces.to_base64(value.content).decode()
    if isinstance(value, str) and len(value) > most:
        raise TooLong
    if form == "raw" or isinstance(value, Binary):
        outcome = Outcome(value, detail, envelope=False, body=_bare(value, keep))
    else:
        body = Binary(json_bytes(value, keep), _JSON)
        detail_json = json_bytes(detail, keep) if detail else b"{}"
        outcome = Outcome(value, detail, True, body, detail_json, file)
    if len(outcome.body.content) + len(outcome.detail_json) > most:
        raise TooLong
    return outcome


def json_bytes(value: Any, keep: Keep | None = None) -> bytes:
    """JSON of results: models, dataclasses, paths and dates too; NaN as null.

    Files, bytes and paths of files go through ``keep``; without it bytes are base64.
    """

    def plain(value: Any) -> Any:
        return _plain(value, keep)

    if isinstance(value, str) and len(value) > pieces.PIECE:
        return pieces.json_of_text(value)
    try:
        text = json.dumps(
            value, default=plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (ValueError, TypeError):
        if keep is not None and any(find(value, _FILES)):
            value = _without_files(value, keep)
        return to_json(value, bytes_mode="base64", inf_nan_mode="null", fallback=str)
    return pieces.utf8(text)


def enveloped(result: bytes, detail: bytes) -> bytes:
    """The envelope of a success whose parts are JSON already."""
    return b"".join(envelope_parts(result, detail))


def envelope_parts(result: bytes, detail: bytes) -> tuple[bytes, bytes, bytes]:
    """The same, not put together."""
    head = b'{"status":0,"servertime":%f,"result":' % time.time()
    return head, result, b"".join((b',"detail":', detail, b"}"))


def _without_files(value: Any, keep: Keep) -> Any:
    """As ``_plain``, all the way down: for what the json module gives up at."""
    if isinstance(value, Mapping):
        return {key: _without_files(one, keep) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_files(one, keep) for one in value]
    if any(find(value, _FILES)):
        plain = _plain(value, keep)
        return plain if isinstance(value, _FILES) else _without_files(plain, keep)
    return value


def _plain(value: Any, keep: Keep | None) -> Any:
    """What the json module does not know, in terms that it knows."""
    if isinstance(value, File):
        return keep(value) if keep else as_argument(value)
    if isinstance(value, bytes | bytearray):
        return keep(File(bytes(value))) if keep else base64.b64encode(value).decode()
    if isinstance(value, Path):
        return keep(File(value)) if keep and value.is_file() else str(value)
    if keep is not None and any(find(value, _FILES)):
        # One step down; what lies there comes here again.
        if isinstance(value, BaseModel):
            return value.model_dump()
        if isinstance(value, set | frozenset):
            return list(value)
        if dataclasses.is_dataclass(value):
            return dict(vars(value))
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    return to_jsonable_python(value, bytes_mode="base64", fallback=str)


def _bare(value: Any, keep: Keep | None) -> Binary:
    """Bytes as they are, text as text/plain, everything else as JSON."""
    if isinstance(value, Binary):
        return value
    if isinstance(value, str):
        return Binary(pieces.utf8(value), "text/plain; charset=utf-8")
    return Binary(json_bytes(value, keep), _JSON)


def _sort(result: Any, most: float) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(result, tuple) and len(result) == 2:
        first, second = result
        if isinstance(second, dict):
            return _sort(first, most)[0], second
        if isinstance(first, _FILES) and isinstance(second, str):
            if not is_media_type(second):
                raise ValueError(f"{second!r} is no media type like 'audio/wav'")
            return Binary(_file(first, most).read(), second), {}
    if isinstance(result, _FILES):
        file = _file(result, most)
        return Binary(file.read(), file.media_type), {}
    return result, {}


def _file(value: File | bytes | bytearray | Path, most: float) -> File:
    """Raises TooLong, before anything of it is read."""
    if not isinstance(value, File):
        value = File(value if isinstance(value, Path) else bytes(value))
    if value.size > most:
        raise TooLong
    return value
