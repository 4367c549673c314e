"""What a route reads of a request's body: JSON only, ``max_json`` bytes at most.

A call may also have multipart/form-data, of ``max_upload`` bytes at most; the route reads it piece
by piece. What no route asks for is not read.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Message, Receive

from onegai.auth import Head
from onegai.config.settings import MIB
from onegai.errors import BodyTooLarge, FileTooLarge, WrongContentType

_READ_ON = 64 << 20
"""Bytes of a body that is too large that are read and dropped, so that its sender, who may not
look before all is sent, gets the answer."""
_JSON = "application/json"
MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class Limits:
    """The most bytes of a body of JSON, and of one of parts."""

    json: int
    upload: int


async def limited(head: Head, receive: Receive, limits: Limits) -> Receive:
    """What the route is to read with instead of ``receive``.

    JSON comes whole, in one message. Reading raises BodyTooLarge, FileTooLarge, WrongContentType.
    Raises FileTooLarge for an upload that says so before it comes.
    """
    if head.method in ("GET", "HEAD", "OPTIONS"):
        return receive
    if not (_is_call(head) and head.kind == MULTIPART):
        return _Whole(head, receive, limits.json)
    length = head.headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limits.upload:
        if b"expect" not in head.headers:
            await _read_on(receive)
        raise _too_large(limits.upload)
    return _Counted(receive, limits.upload)


class _Whole:
    """The whole body in the first message, of which it knows that it is JSON."""

    def __init__(self, head: Head, receive: Receive, limit: int) -> None:
        self._head = head
        self._receive = receive
        self._limit = limit
        self._asked = False

    async def __call__(self) -> Message:
        """The body, or that the client left before it was sent."""
        message = await self._receive()
        if self._asked:
            return message
        self._asked = True
        if message["type"] == "http.disconnect":
            return message
        if message.get("more_body") or len(message.get("body", b"")) > self._limit:
            message = await self._rest(message)
        if message.get("body"):
            self._check_kind()
        return message

    async def _rest(self, message: Message) -> Message:
        pieces, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                return message
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._limit + _READ_ON:
                break
            if size <= self._limit:
                pieces.append(piece)
            else:
                pieces.clear()
            if not message.get("more_body"):
                break
            message = await self._receive()
        if size > self._limit:
            raise BodyTooLarge(limit_mib=round(self._limit / MIB, 1))
        return {"type": "http.request", "body": b"".join(pieces), "more_body": False}

    def _check_kind(self) -> None:
        if self._head.kind != _JSON:
            read = f"{_JSON} (or {MULTIPART})" if _is_call(self._head) else _JSON
            raise WrongContentType(got=self._head.kind or "none", read=read)


class _Counted:
    """The pieces as they come, up to the limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0

    async def __call__(self) -> Message:
        """The next one."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size <= self._limit:
            return message
        if message.get("more_body"):
            await _read_on(self._receive)
        raise _too_large(self._limit)


async def _read_on(receive: Receive) -> None:
    """Drop what is still being sent, up to _READ_ON."""
    size = 0
    while size <= _READ_ON:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return


def _is_call(head: Head) -> bool:
    return head.method == "POST" and head.path.startswith("/api/")


def _too_large(limit: int) -> FileTooLarge:
    return FileTooLarge(what="the upload", limit_mib=round(limit / MIB, 1))
