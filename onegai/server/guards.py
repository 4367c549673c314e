"""ASGI middleware in front of every route: who may come in, and with how much."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onegai import auth
from onegai.config.settings import MIB, Settings
from onegai.errors import (
    BodyTooLarge,
    FileTooLarge,
    ForbiddenOrigin,
    OneGAIError,
    ShuttingDown,
    SignatureRefused,
    TooManyWrongPasswords,
    Unauthorized,
    WrongContentType,
)
from onegai.files.links import Links
from onegai.server.envelope import error_answer

WRONG_PASSWORD_SECONDS = 1.0
WRONG_PASSWORDS = 4
"""Of one address that are answered at the same time."""
WELCOME = "onegai.welcome"
"""Key of a request's state: what to call when its password, or its link's signature, is right."""
_READ_ON = 64 << 20
"""Bytes of a body that is too large that are read and dropped, so that its sender, who may not
look before all is sent, gets the answer."""
_JSON = "application/json"
_MULTIPART = "multipart/form-data"
_POLICY_VIOLATION = 1008
"""WebSocket close code (RFC 6455, 7.4.1)."""


_SIGNED = "onegai.signed"
"""Key of a scope: the request is for a file, and its link is signed."""
_HEAD = "onegai.head"
"""Key of a scope: the auth.Head of its request."""
_SIGNABLE = re.compile(r"/file/[^/]+/[^/]+|/job/[^/]+/result")

Current = Callable[[], Settings]
"""Gives the settings as they are now."""


class Cors:
    """CORS (Fetch Standard, 3.3) for the pages in ``cors_origins``, as they are now."""

    def __init__(self, app: ASGIApp, settings: Current) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer a preflight."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = _head(scope)
        origin = head.headers.get("origin")
        added = _VARY
        if origin is not None and origin in self._settings().cors_origins:
            allowed = {
                "Vary": "Origin",
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
                "Access-Control-Expose-Headers": _EXPOSED,
            }
            if head.is_preflight:
                await Response(headers=allowed | _allowed(head))(scope, receive, send)
                return
            added = Headers(allowed).raw

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self._app(scope, receive, adding)


_VARY = [(b"vary", b"Origin")]
"""What a cache must know: with another Origin, the answer would be another."""
_EXPOSED = "ETag, Location, Retry-After, Preference-Applied"
_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


def _allowed(head: auth.Head) -> dict[str, str]:
    """What a preflight of a listed page is told: all that it asks for."""
    told = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": "600"}
    if (asked := head.headers.get("access-control-request-headers")) is not None:
        told["Access-Control-Allow-Headers"] = asked
    for network in ("Private-Network", "Local-Network"):
        if f"access-control-request-{network.lower()}" in head.headers:
            told[f"Access-Control-Allow-{network}"] = "true"
    return told


class LastWords:
    """Answers what the end of the server cuts off; outermost of all.

    uvicorn cancels the requests that last longer than its grace, and would answer in words of its
    own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; 503 for what is cancelled before its answer begins."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if begun or scope["type"] != "http":
                raise
            await _refuse(scope, receive, send, ShuttingDown())


class SignedLinks:
    """Lets reading of files through where the link is signed; before the other guards.

    Such a link is for pages that have no password, of whatever site: ``<audio src>``.
    """

    def __init__(self, app: ASGIApp, links: Links) -> None:
        self._app = app
        self._links = links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, marked if the link is right, or answer 403 for one that is not."""
        if (
            scope["type"] == "http"
            and scope["method"] in ("GET", "HEAD")
            and _SIGNABLE.fullmatch(scope["path"])
        ):
            query = scope.get("query_string", b"").decode("latin-1")
            right = self._links.check(scope["path"], query)
            if right is False:
                await _refuse(scope, receive, send, SignatureRefused())
                return
            if right:
                scope = {**scope, _SIGNED: True}
                _welcome(scope)
        await self._app(scope, receive, send)


class OriginGuard:
    """Refuses pages of other sites; outside of all that answers."""

    def __init__(self, app: ASGIApp, settings: Current) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 403."""
        if scope["type"] in ("http", "websocket") and _SIGNED not in scope:
            origin = auth.foreign_origin(_head(scope), self._settings())
            if origin is not None:
                await _refuse(scope, receive, send, ForbiddenOrigin(origin=origin))
                return
        await self._app(scope, receive, send)


class CredentialsGuard:
    """Asks for the password. A wrong one is answered slowly, a right one never is.

    Of one address a few wrong ones are answered so, and the others at once with 429: they must not
    hold connections for nothing.
    """

    def __init__(self, app: ASGIApp, settings: Current) -> None:
        self._app = app
        self._settings = settings
        self._slow: Counter[str] = Counter()
        """Wrong passwords under way, by address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401 or 429."""
        if scope["type"] in ("http", "websocket") and _SIGNED not in scope:
            head = _head(scope)
            reason = auth.refusal(head, self._settings())
            if reason is not None:
                await _refuse(scope, receive, send, await self._refusal(scope, reason))
                return
            if not head.is_open:
                _welcome(scope)
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope, reason: str) -> OneGAIError:
        headers = _head(scope).headers
        if "authorization" in headers or "x-api-key" in headers:
            address = (scope.get("client") or ("",))[0]
            if self._slow[address] >= WRONG_PASSWORDS:
                return TooManyWrongPasswords(retry_after=math.ceil(WRONG_PASSWORD_SECONDS))
            self._slow[address] += 1
            try:
                await asyncio.sleep(WRONG_PASSWORD_SECONDS)
            finally:
                self._slow[address] -= 1
                self._slow += Counter()  # which drops the addresses that have none
        return Unauthorized(reason=reason)


def _welcome(scope: Scope) -> None:
    """Tell the connection, which is stricter with strangers."""
    welcome = scope.get("state", {}).pop(WELCOME, None)
    if welcome is not None:
        welcome()


class Bodies:
    """What a route reads of a body: JSON only, ``max_json`` bytes at most.

    A call may also have multipart/form-data, of ``max_upload`` bytes at most; the route reads it
    piece by piece. What no route asks for is not read.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit = settings.max_json
        self._upload_limit = settings.max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; who reads gets the whole body in one message, or an error of 413 or 415."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        if _is_upload(scope):
            if self._announced_too_large(scope):
                if "expect" not in _head(scope).headers:
                    await self._read_on(receive)
                await _refuse(scope, receive, send, self._too_large())
                return
            await self._app(scope, self._counted(receive), send)
            return
        asked = False

        async def whole() -> Message:
            nonlocal asked
            if asked:
                return await receive()
            asked = True
            return await self._read(scope, receive)

        await self._app(scope, whole, send)

    async def _read(self, scope: Scope, receive: Receive) -> Message:
        """The whole body, or that the client left before it was sent."""
        pieces, size = [], 0
        while True:
            message = await receive()
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
        if size > self._limit:
            raise BodyTooLarge(limit_mib=round(self._limit / MIB, 1))
        kind = _kind(scope)
        if size and kind != _JSON:
            read = f"{_JSON} (or {_MULTIPART})" if _is_call(scope) else _JSON
            raise WrongContentType(got=kind or "none", read=read)
        return {"type": "http.request", "body": b"".join(pieces), "more_body": False}

    def _announced_too_large(self, scope: Scope) -> bool:
        length = _head(scope).headers.get("content-length", "")
        return length.isdecimal() and int(length) > self._upload_limit

    def _too_large(self) -> FileTooLarge:
        return FileTooLarge(what="the upload", limit_mib=round(self._upload_limit / MIB, 1))

    def _counted(self, receive: Receive) -> Receive:
        """Raises FileTooLarge in the route that reads, beyond the limit."""
        size = 0

        async def counting() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size <= self._upload_limit:
                return message
            if message.get("more_body"):
                await self._read_on(receive)
            raise self._too_large()

        return counting

    async def _read_on(self, receive: Receive) -> None:
        """Drop what is still being sent, up to _READ_ON."""
        size = 0
        while size <= _READ_ON:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                return


def _is_upload(scope: Scope) -> bool:
    return _is_call(scope) and _kind(scope) == _MULTIPART


def _is_call(scope: Scope) -> bool:
    return scope["method"] == "POST" and str(scope["path"]).startswith("/api/")


def _kind(scope: Scope) -> str:
    """The media type of the body, without its parameters."""
    return _head(scope).headers.get("content-type", "").partition(";")[0].strip().lower()


def _head(scope: Scope) -> auth.Head:
    """Of this request; decoded once for all guards."""
    head: auth.Head | None = scope.get(_HEAD)
    if head is None:
        method = scope.get("method", "GET")
        head = scope[_HEAD] = auth.Head.from_asgi(method, scope["path"], scope["headers"])
    return head


async def _refuse(scope: Scope, receive: Receive, send: Send, error: OneGAIError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.code})
    else:
        answer = error_answer(error)
        # What is still being sent is not read, so the connection cannot be used again.
        answer.headers["Connection"] = "close"
        await answer(scope, receive, send)
