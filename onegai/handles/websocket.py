"""A WebSocket to an app, for functions on the event loop: messages are JSON, or bytes."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from onegai.errors import ErrorAnswer, reason
from onegai.handles.context import CallContext
from onegai.handles.http import Request, parsed
from onegai.handles.redirects import is_redirect

_UNLIMITED = 0
"""As aiohttp has it."""


class WebSocket:
    """An open one. Its methods raise as the requests of a handle do."""

    def __init__(
        self, app: str, context: CallContext, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._app = app
        self._context = context
        self._socket = socket

    async def send(self, value: Any) -> None:
        """Send a value as JSON."""
        await self._socket.send_str(json.dumps(value, ensure_ascii=False))

    async def receive(self) -> Any:
        """The next message: what its JSON says, or the bytes of a binary one.

        Raises ResultTooLarge, and why the app has closed it.
        """
        message = await self._socket.receive(self._context.remaining(self._app))
        if message.type is aiohttp.WSMsgType.BINARY:
            return message.data
        if message.type is aiohttp.WSMsgType.TEXT:
            try:
                return parsed(message.data)
            except ValueError as error:
                raise await self._lost(f"a message of its is not JSON: {error}") from None
        code = self._socket.close_code
        if code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG and math.isfinite(self._context.most_read):
            self._context.check_size(self._app, round(self._context.most_read) + 1)
        raise await self._lost(f"it closed the WebSocket, code {code or 'unknown'}")

    async def _lost(self, why: str) -> Exception:
        return await self._context.services.why_lost(self._app, why)


@asynccontextmanager
async def connected(
    context: CallContext, app: str, base: str, request: Request
) -> AsyncIterator[WebSocket]:
    """A WebSocket below this URL (http or https), open as long as the block.

    Raises ErrorAnswer where the app refuses it; the rest is aiohttp's to raise.
    """
    most = round(context.most_read) if math.isfinite(context.most_read) else _UNLIMITED
    target, headers = request.sent()
    connector = context.transport.asynchronous.connector
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, connector_owner=False, middlewares=(_not_sent_on,)
            ) as session,
            session.ws_connect(
                base + target,
                headers=headers,
                max_msg_size=most,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            ) as socket,
        ):
            yield WebSocket(app, context, socket)
    except aiohttp.WSServerHandshakeError as error:
        raise ErrorAnswer(
            app=app,
            upstream_status=error.status,
            reason=f"it refuses a WebSocket: {request.access.hidden(reason(error))}",
            place=request.access.place,
            detail={"upstream_status": error.status},
        ) from None


async def _not_sent_on(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp would show another origin what is for this one; browsers follow none either."""
    answer = await send(request)
    if is_redirect(answer.status, answer.headers.get("Location")):
        answer.close()
        raise ConnectionError("it redirects a WebSocket")
    return answer
