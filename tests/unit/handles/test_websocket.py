"""WebSockets to an app that wants credentials."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from onegai.config.credentials import NO_ACCESS, Access
from onegai.errors import ErrorAnswer
from onegai.handles.context import CallContext, open_transport
from onegai.handles.http import build
from onegai.handles.websocket import connected

ACCESS = Access({"x-key": "sk-12345678"}, {"key": "sk-12345678"}, ("sk-12345678",), "my_key")
Seen = list[tuple[Any, Any]]


@asynccontextmanager
async def there(seen: Seen, sends_on_to: str = "") -> AsyncIterator[str]:
    """Lets in who shows ``ACCESS``; gives its URL."""

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("x-key"), request.query.get("key")))
        if sends_on_to:
            raise web.HTTPFound(f"{sends_on_to}/join?{request.query_string}")
        if seen[-1] != ("sk-12345678", "sk-12345678"):
            raise web.HTTPUnauthorized
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(await socket.receive_json())
        return socket

    app = web.Application()
    app.router.add_get("/join", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def echoed(url: str, access: Access) -> Any:
    request = replace(build("GET", "/join"), access=access)
    async with open_transport() as transport:
        facts = SimpleNamespace(transport=transport, most_read=math.inf, remaining=lambda _app: 60)
        async with connected(cast(CallContext, facts), "a", url, request) as socket:
            await socket.send({"a": 1})
            return await socket.receive()


async def test_it_is_shown_them() -> None:
    seen: Seen = []
    async with there(seen) as url:
        assert await echoed(url, ACCESS) == {"a": 1}
        with pytest.raises(ErrorAnswer) as caught:
            await echoed(url, NO_ACCESS)
    assert caught.value.upstream_status == 401
    assert len(seen) == 2


async def test_nobody_else_is() -> None:
    seen: Seen = []
    async with there(seen) as other, there([], sends_on_to=other) as url:
        with pytest.raises(OSError, match="redirects"):
            await echoed(url, ACCESS)
    assert seen == []
