"""ASGI middleware in front of every route: who may come in, and with how much."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onegai import auth
from onegai.errors import (
    BodyTooLarge,
    ForbiddenOrigin,
    OneGAIError,
    Unauthorized,
    WrongContentType,
)
from onegai.routes.envelope import error_answer
from onegai.settings import Settings

WRONG_PASSWORD_SECONDS = 1.0
_READ_ON = 64 << 20
"""Bytes of a body that is too large that are read and dropped, so that its sender, who may not
look before all is sent, gets the answer."""
_POLICY_VIOLATION = 1008
"""WebSocket close code (RFC 6455, 7.4.1)."""


Current = Callable[[], Settings]
"""Gives the settings as they are now."""


class Cors:
    """CORS for the pages in ``cors_origins``, as they are now."""

    def __init__(self, app: ASGIApp, settings: Current) -> None:
        self._app = app
        self._settings = settings
        self._origins: tuple[str, ...] | None = None
        self._cors: CORSMiddleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer a preflight."""
        origins = self._settings().cors_origins
        if origins != self._origins:
            self._origins = origins
            self._cors = CORSMiddleware(
                self._app,
                allow_origins=origins,
                allow_credentials=True,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["ETag", "Location", "Retry-After"],
            )
        await self._cors(scope, receive, send)


class OriginGuard:
    """Refuses pages of other sites; outermost, so that nothing else answers them."""

    def __init__(self, app: ASGIApp, settings: Current) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 403."""
        if scope["type"] in ("http", "websocket"):
            origin = auth.foreign_origin(_head(scope), self._settings())
            if origin is not None:
                await _refuse(scope, receive, send, ForbiddenOrigin(origin=origin))
                return
        await self._app(scope, receive, send)


class CredentialsGuard:
    """Asks for the password. A wrong one is answered slowly, a right one never is."""

    def __init__(self, app: ASGIApp, settings: Current) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401."""
        if scope["type"] in ("http", "websocket"):
            head = _head(scope)
            reason = auth.refusal(head, self._settings())
            if reason is not None:
                if "authorization" in head.headers or "x-api-key" in head.headers:
                    await asyncio.sleep(WRONG_PASSWORD_SECONDS)
                await _refuse(scope, receive, send, Unauthorized(reason=reason))
                return
        await self._app(scope, receive, send)


class JsonBodies:
    """Reads the body of a request: JSON only, ``max_json`` bytes at most."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit = settings.max_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with the whole body in one message, or answer 413 or 415."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except OneGAIError as error:
            await _refuse(scope, receive, send, error)
            return
        if body is None:
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when the client left before it was sent."""
        headers = _head(scope).headers
        too_large = BodyTooLarge(limit_mib=round(self._limit / (1 << 20), 1))
        pieces, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._limit + _READ_ON:
                raise too_large
            if size <= self._limit:
                pieces.append(piece)
            else:
                pieces.clear()
            if not message.get("more_body"):
                break
        if size > self._limit:
            raise too_large
        kind = headers.get("content-type", "none").partition(";")[0].strip().lower()
        if size and kind != "application/json":
            raise WrongContentType(got=kind)
        return b"".join(pieces)


def _head(scope: Scope) -> auth.Head:
    return auth.Head.from_asgi(scope.get("method", "GET"), scope["path"], scope["headers"])


async def _refuse(scope: Scope, receive: Receive, send: Send, error: OneGAIError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.code})
    else:
        answer = error_answer(error)
        # What is still being sent is not read, so the connection cannot be used again.
        answer.headers["Connection"] = "close"
        await answer(scope, receive, send)
