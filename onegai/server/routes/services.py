"""/service: processes, their state and their logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from onegai.engine.engine import Engine
from onegai.server.envelope import envelope
from onegai.server.leaving import Clients
from onegai.server.sse import EventStream, event
from onegai.supervisor.leases import Lease


class StartRequest(BaseModel):
    """POST /service/start."""

    app: str
    restart: bool = Field(default=False, description="stop it first, if it runs")
    wait: bool = Field(default=True, description="answer only when it is ready, or has failed")


class StopRequest(BaseModel):
    """POST /service/stop."""

    app: str = Field(description='the app\'s name, or "*" for all')
    force: bool = Field(default=False, description="do not wait for the calls that use it")


def router(engine: Engine, clients: Clients) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/service", tags=["services"])

    @routes.post("/start", summary="Start a service; nothing happens to one that is ready")
    async def start(request: StartRequest) -> Response:
        status = await engine.start(request.app, restart=request.restart, wait=request.wait)
        return envelope(status)

    @routes.post("/stop", summary="Stop a service, or all of them")
    async def stop(request: StopRequest) -> Response:
        return envelope(await engine.stop(request.app, force=request.force))

    @routes.get("/status", summary="States, leases, memory, problems")
    async def status() -> Response:
        return envelope(await engine.status())

    @routes.get("/plan", summary="What a start would do now; changes nothing")
    async def plan(app: str) -> Response:
        return envelope(await engine.plan(app))

    @routes.get("/{app}/logs", summary="The service's log as text, or as events with follow=1")
    async def logs(
        app: str, tail: Annotated[int, Query(ge=0, le=100_000)] = 200, follow: bool = False
    ) -> Response:
        if follow:
            lines = engine.log_follow(app, tail)
            return EventStream(clients, (event("line", {"line": line}) async for line in lines))
        return PlainTextResponse(await engine.logs(app, tail))

    @routes.post("/{app}/hold", summary="Start it and hold it for as long as this stays open")
    async def hold(app: str, request: Request) -> Response:
        await request.body()  # it has none, but clients may send {}
        return await clients.unless_left(request.receive, held(app))

    async def held(app: str) -> Response:
        return _Held(clients, await engine.hold(app))

    return routes


class _Held(EventStream):
    """The lease ends with the answer, even if that never begins: its client may have left."""

    def __init__(self, clients: Clients, lease: Lease) -> None:
        super().__init__(clients, _holding(lease))
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        with self._lease:
            await super().__call__(scope, receive, send)


async def _holding(lease: Lease) -> AsyncGenerator[bytes, None]:
    """``ready`` with the URL, then silence, then ``ending`` when it should be given back."""
    yield event("ready", {"url": lease.url})
    await lease.ending.wait()
    yield event("ending", {})
    # Until the client hangs up: only then has it really let go.
    await asyncio.Event().wait()
