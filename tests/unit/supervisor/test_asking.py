"""What the supervisor shows an app when it asks it, and whom else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from onegai.config.credentials import NO_ACCESS, Access
from onegai.config.entry import AppSpec
from onegai.errors import KeyMissing, ReleaseFailed, Unreachable
from onegai.supervisor.asking import Asking
from onegai.supervisor.hooks import Hooks, release
from onegai.supervisor.readiness import check_remote

ACCESS = Access({"x-key": "sk-12345678"}, {"key": "sk-12345678"}, ("sk-12345678",), "my_key")
Seen = list[tuple[str, Any, Any]]


@asynccontextmanager
async def there(seen: Seen, sends_on_to: str = "") -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.StreamResponse:
        shown = request.headers.get("x-key"), request.query.get("key")
        seen.append((f"{request.method} {request.path}", *shown))
        if sends_on_to:
            raise web.HTTPTemporaryRedirect(f"{sends_on_to}/other?{request.query_string}")
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(access: Access) -> AsyncIterator[Asking]:
    async with aiohttp.ClientSession() as session:
        yield Asking(session, lambda _app: access)


def spec(url: str) -> AppSpec:
    entry = {"app": "a", "type": "webapi", "url": url, "release": {"post": "/free"}}
    return AppSpec.model_validate(entry)


async def test_both_questions_show_them() -> None:
    seen: Seen = []
    async with there(seen) as url, asking(ACCESS) as one:
        await check_remote(spec(f"{url}/v1"), one)
        await release(spec(url), url, cast(Hooks, None), one)
    shown = ("sk-12345678", "sk-12345678")
    assert seen == [("GET /v1", *shown), ("POST /free", *shown)]


async def test_nobody_else_is_shown_them() -> None:
    first: Seen = []
    other: Seen = []
    async with (
        there(other) as elsewhere,
        there(first, sends_on_to=elsewhere) as url,
        asking(ACCESS) as one,
    ):
        await check_remote(spec(url), one)
        with pytest.raises(ReleaseFailed):
            await release(spec(url), url, cast(Hooks, None), one)
    assert len(first) == 2
    assert other == []


async def test_a_release_without_any_may_be_sent_on() -> None:
    other: Seen = []
    async with (
        there(other) as elsewhere,
        there([], sends_on_to=elsewhere) as url,
        asking(NO_ACCESS) as one,
    ):
        await release(spec(url), url, cast(Hooks, None), one)
    assert other == [("POST /other", None, None)]


async def test_a_key_that_is_not_there() -> None:
    def missing(app: str) -> Access:
        raise KeyMissing(app=app, key="my_key")

    async with aiohttp.ClientSession() as session:
        one = Asking(session, missing)
        with pytest.raises(KeyMissing):
            await check_remote(spec("http://127.0.0.1:9"), one)


async def test_nobody_there() -> None:
    async with asking(ACCESS) as one:
        async with there([]) as url:
            pass
        with pytest.raises(Unreachable) as caught:
            await check_remote(spec(url), one)
    assert "sk-1234" not in str(caught.value.data)
