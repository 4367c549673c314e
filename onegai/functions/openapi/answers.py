"""What an app answers, as the result of a function: JSON, text, bytes, or pieces as they come."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from onegai.errors import ErrorAnswer
from onegai.files.file import BINARY, is_media_type
from onegai.functions.function import Result
from onegai.functions.openapi.document import EVENTS, LINES, is_json, is_text
from onegai.handles.http import Lines, Response, parsed

_END = "[DONE]"
"""What OpenAI's streams end with."""


def kind_of(headers: Mapping[str, str]) -> tuple[str, str]:
    """Media type and charset of an answer; empty where it says none."""
    whole = headers.get("content-type", "")
    kind, _, rest = whole.partition(";")
    charset = ""
    for part in rest.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return kind.strip().lower(), charset


def whole(response: Response) -> Any:
    """The result that a whole answer is. Raises ErrorAnswer."""
    content = response.content
    kind, charset = kind_of(response.headers)
    if kind == EVENTS or kind in LINES:
        lines, reader = Lines(), _reader(kind, response)
        every = (*lines.feed(content), *lines.end(), "")
        return [value for line in every for value in reader.feed(line)]
    if not content:
        return b"" if _is_bytes(kind) else "" if is_text(kind) else None
    if is_json(kind):
        return response.json()
    if is_text(kind):
        return content.decode(_known(charset), "replace")
    if not kind:
        return _unsaid(content)
    return (content, said) if (said := _said(response)) else content


def _said(response: Response) -> str:
    """The media type that bytes have by their answer; empty where their own head tells more."""
    kind, said = kind_of(response.headers)[0], response.headers["content-type"]
    return said if kind != BINARY and is_media_type(said) else ""


async def pieces(
    response: Response, content: AsyncIterator[bytes], check_size: Callable[[int], None]
) -> AsyncIterator[Any]:
    """An answer that may be large or endless, as a function yields it: ``response`` is its head.

    What is JSON is one Result. ``check_size`` raises for too many bytes of what must be kept
    until it is complete. Raises ErrorAnswer.
    """
    kind, charset = kind_of(response.headers)
    if kind == EVENTS or kind in LINES:
        async for value in _values(_reader(kind, response), content, check_size):
            yield value
    elif is_text(kind):
        decode = codecs.getincrementaldecoder(_known(charset))("replace").decode
        async for piece in content:
            if text := decode(piece):
                yield text
        if text := decode(b"", True):
            yield text
    elif _is_bytes(kind):
        said = _said(response)
        async for piece in content:
            yield (piece, said) if said else piece
    else:
        yield Result(whole(replace(response, content=await _everything(content, check_size))))


async def _everything(content: AsyncIterator[bytes], check_size: Callable[[int], None]) -> bytes:
    found, size = [], 0
    async for piece in content:
        size += len(piece)
        check_size(size)
        found.append(piece)
    return b"".join(found)


async def _values(
    reader: Events | Values, content: AsyncIterator[bytes], check_size: Callable[[int], None]
) -> AsyncIterator[Any]:
    lines = Lines()
    async for piece in content:
        for line in lines.feed(piece):
            for value in reader.feed(line):
                yield value
        check_size(lines.waiting + reader.waiting)
        if reader.ended:
            return
    for line in (*lines.end(), ""):
        for value in reader.feed(line):
            yield value


def _reader(kind: str, response: Response) -> Events | Values:
    return Events(response) if kind == EVENTS else Values()


class Values:
    """Lines of JSON; what is none is a text."""

    ended = False
    waiting = 0

    def feed(self, line: str) -> list[Any]:
        """The value of a line."""
        return [_value(line)] if line.strip() else []


class Events:
    """Server-sent events as values, line by line.

    The first event decides: is its data text, all data are text, parts of one; is it a text in
    JSON, all are such; else each is the value that it is as JSON, and one with a name is
    ``{"event": name, "data": value}``. One that is named ``error`` is the end. Raises ErrorAnswer.
    """

    def __init__(self, response: Response) -> None:
        self.ended = False
        self.waiting = 0
        """Characters of the event that has not ended yet."""
        self._response = response
        self._data: list[str] = []
        self._name = ""
        self._first: tuple[str, str] | None = None
        """How data are read (``value``, ``quoted``, ``text``), and the name of the first event."""

    def feed(self, line: str) -> list[Any]:
        """What is complete with this line."""
        if line:
            self._field(line.removeprefix("\ufeff"))
            return []
        data, name = self._data, self._name
        self._data, self._name, self.waiting = [], "", 0
        if not data:
            return []
        return self._event(name, "\n".join(data))

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self.waiting += len(value) + 1
        elif name == "event":
            self._name = "" if value == "message" else value

    def _event(self, name: str, data: str) -> list[Any]:
        if data.strip() == _END:
            self.ended = True
        if self.ended:
            return []
        if name == "error":
            raise _failed(self._response, data)
        value = _value(data)
        if self._first is None:
            mode = "value" if not isinstance(value, str) else "text" if value == data else "quoted"
            self._first = (mode, name)
        mode, first = self._first
        if mode == "value":
            return [{"event": name, "data": value} if name else value]
        if name != first:  # it is no part of the text
            return []
        return [value if mode == "quoted" and isinstance(value, str) else data]


def _failed(response: Response, data: str) -> ErrorAnswer:
    value = _value(data)
    if isinstance(value, Mapping):
        inner = value.get("error", value)
        told = inner.get("message", data) if isinstance(inner, Mapping) else inner
    else:
        told = data
    return response.error(f"an event tells of an error: {str(told)[:500]}")


def _value(text: str) -> Any:
    """What a text is as JSON; else the text."""
    try:
        return parsed(text)
    except ValueError:
        return text


def _unsaid(content: bytes) -> Any:
    """An answer without a Content-Type."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    return _value(text) if "\0" not in text else content


def _is_bytes(kind: str) -> bool:
    return bool(kind) and not (is_json(kind) or is_text(kind) or kind in LINES or kind == EVENTS)


def _known(charset: str) -> str:
    try:
        return codecs.lookup(charset or "utf-8").name
    except LookupError:
        return "utf-8"
