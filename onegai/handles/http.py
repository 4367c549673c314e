"""Requests and responses of a handle, the same for threads and for the event loop."""

from __future__ import annotations

import codecs
import json as jsonlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import urllib3
from typing_extensions import TypedDict

from onegai.config.credentials import NO_ACCESS, Access
from onegai.errors import ErrorAnswer
from onegai.files.pieces import well_formed

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]
Files = Mapping[str, tuple[str, bytes, str] | bytes]
"""Multipart parts by name: (file name, content, media type), or the content alone."""

_SHOWN = 2000
_LOOKED_AT = 1 << 17
"""Characters of an error's answer in which there are words for people."""
_LONGEST_WAIT = 24 * 3600


class RequestOptions(TypedDict, total=False):
    """What every request takes. ``json``, ``data``, ``content`` and ``files`` make the body."""

    params: Params
    json: Any
    data: Mapping[str, Any]
    content: bytes
    files: Files
    headers: Mapping[str, str]


class SendOptions(RequestOptions, total=False):
    """``timeout`` in seconds, besides the call's own; ``check`` False: no error from 400 on."""

    timeout: float | None
    check: bool


class BuildOptions(RequestOptions, total=False):
    """``last``: its connection is not used again."""

    last: bool


@dataclass(frozen=True)
class Request:
    """A request below a service's base URL."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    access: Access = NO_ACCESS
    """What the app is shown besides."""

    def sent(self) -> tuple[str, Mapping[str, str]]:
        """Target and headers as they are sent. What the function itself gives wins."""
        target, access = self.target, self.access
        if access is NO_ACCESS:
            return target, self.headers
        path, _, query = target.partition("#")[0].partition("?")
        given = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
        added = urlencode({name: access.query[name] for name in access.query if name not in given})
        if added:
            target = f"{path}?{query}&{added}" if query else f"{path}?{added}"
        return target, {**access.headers, **self.headers}

    @property
    def is_last(self) -> bool:
        """Its connection is not to be used for another (RFC 9112, 9.6)."""
        return self.headers.get("connection", "").lower() == "close"


@dataclass(frozen=True)
class Response:
    """A whole answer. Header names are found in any case."""

    app: str
    status_code: int
    headers: Mapping[str, str]
    content: bytes
    _access: Access = NO_ACCESS
    """What the app was shown, which no error tells."""

    @property
    def ok(self) -> bool:
        """True below 400."""
        return self.status_code < 400

    @property
    def text(self) -> str:
        """The content as UTF-8 text, with replacement characters where it is none."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The content as JSON. Raises ErrorAnswer when it is not."""
        try:
            return parsed(self.content)
        except ValueError as error:
            raise self.error(f"its answer is not JSON: {error}") from None

    def error(self, reason: str) -> ErrorAnswer:
        """The error that says what this answer was, without the secrets that it may repeat."""
        wait = retry_after(self.headers)
        answer = self._access.hidden(self.text[:_LOOKED_AT])[:_SHOWN]
        return ErrorAnswer(
            app=self.app,
            upstream_status=self.status_code,
            reason=self._access.hidden(reason),
            place=self._access.place,
            retry_after=wait,
            detail={
                "upstream_status": self.status_code,
                "answer": answer,
                "retry_after": wait,
            },
        )

    def checked(self) -> Response:
        """Itself. Raises ErrorAnswer from 400 on, with the reason the app gives."""
        if self.ok:
            return self
        raise self.failure()

    def failure(self) -> ErrorAnswer:
        """The error with the reason that the app gives."""
        return self.error(_reason(self._access.hidden(self.text[:_LOOKED_AT])))


def parsed(text: str | bytes) -> Any:
    """What a text of an app's is as JSON. Raises ValueError, also where it is too deep."""
    try:
        return jsonlib.loads(text)
    except RecursionError:
        raise ValueError("its objects stand too deep inside each other") from None


class Incoming(AsyncIterator[bytes]):
    """The content of an answer as it comes; ``head`` is the rest of it."""

    def __init__(self, head: Response, pieces: AsyncIterator[bytes]) -> None:
        self.head = head
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)


class Lines:
    """The lines of a text in UTF-8 that comes cut anywhere, without their ends: LF or CRLF."""

    def __init__(self) -> None:
        self.waiting = 0
        """Characters of the line that has not ended yet."""
        self._line: list[str] = []
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, piece: bytes) -> list[str]:
        """Those that end in this piece."""
        *lines, rest = self._decode(piece).split("\n")
        if lines:
            lines[0] = "".join((*self._line, lines[0]))
            self._line.clear()
            self.waiting = 0
        self._line.append(rest)
        self.waiting += len(rest)
        return [line.removesuffix("\r") for line in lines]

    def end(self) -> list[str]:
        """The last one, if the text does not end with the end of a line."""
        last = "".join((*self._line, self._decode(b"", True)))
        return [last] if last else []


def build(
    method: str,
    path: str,
    *,
    params: Params | None = None,
    json: Any = None,
    data: Mapping[str, Any] | None = None,
    content: bytes | None = None,
    files: Files | None = None,
    headers: Mapping[str, str] | None = None,
    last: bool = False,
) -> Request:
    """Put a request together. ``data`` is a form, or the plain fields beside ``files``."""
    sent = {key.lower(): value for key, value in (headers or {}).items()}
    if last:
        sent["connection"] = "close"
    body = content
    if json is not None:
        body = _encoded(jsonlib.dumps(json, ensure_ascii=False))
        sent.setdefault("content-type", "application/json")
    elif files is not None:
        fields: dict[str, Any] = {key: _encoded(str(value)) for key, value in (data or {}).items()}
        fields |= {
            key: (key, value, "application/octet-stream")
            if isinstance(value, bytes)
            else (_encoded(value[0]).decode(), *value[1:])
            for key, value in files.items()
        }
        body, sent["content-type"] = urllib3.encode_multipart_formdata(fields)
    elif data is not None:
        body = urlencode(data, doseq=True, errors="replace").encode()
        sent.setdefault("content-type", "application/x-www-form-urlencoded")
    target = path if path.startswith("/") else f"/{path}"
    if params:
        target += ("&" if "?" in target else "?") + urlencode(params, doseq=True, errors="replace")
    return Request(method.upper(), _encoded(target).decode(), sent, body)


def _encoded(text: str) -> bytes:
    """UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return well_formed(text).encode()


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds until the same may be asked again, if the app tells (RFC 9110, 10.2.3)."""
    said = headers.get("Retry-After", "").strip()
    try:
        left = float(said) if said[:1].isdigit() else _until(said)
    except (ValueError, OverflowError):
        return None
    return min(max(math.ceil(left), 0), _LONGEST_WAIT) if math.isfinite(left) else None


def _until(date: str) -> float:
    """Seconds. Raises ValueError."""
    moment = parsedate_to_datetime(date)
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _field(item: Any) -> str:
    """One of the fields that FastAPI refuses."""
    if not isinstance(item, dict) or not isinstance(item.get("msg"), str):
        return ""
    place = item.get("loc")
    at = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{at}: {item['msg']}" if at else item["msg"]


def _reason(text: str) -> str:
    """The sentence inside an app's error answer: FastAPI, OpenAI and the runner have their own."""
    try:
        answer = parsed(text)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        for key in ("error", "detail", "message"):
            value = answer.get(key)
            if isinstance(value, list) and value:
                value = _invalid(value[0])
            if isinstance(value, dict):
                value = value.get("message")
            if isinstance(value, list):
                value = "; ".join(filter(None, map(_field, value)))
            if isinstance(value, str) and value:
                return value[:500]
    first = text.strip().partition("\n")[0]
    return first[:200] or "without a text"


def _invalid(problem: Any) -> Any:
    """What FastAPI says of one argument: where it is, and what is wrong with it."""
    if not isinstance(problem, dict) or not isinstance(problem.get("msg"), str):
        return None
    place = problem.get("loc")
    names = [str(name) for name in place] if isinstance(place, list) else []
    return f"{'.'.join(names)}: {problem['msg']}" if names else problem["msg"]
