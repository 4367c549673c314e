"""/job: work that outlives its request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from onegai.engine import Engine
from onegai.routes.envelope import envelope
from onegai.routes.stream import event, event_stream


def router(engine: Engine) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/job", tags=["jobs"])

    @routes.get("", summary="All jobs of this server's run, newest first")
    async def list_jobs() -> Response:
        return envelope(await engine.jobs())

    @routes.get("/{job}", summary="One job")
    async def get_job(job: str) -> Response:
        return envelope(await engine.job(job))

    @routes.get("/{job}/events", summary="Its events until it ends; resumes by Last-Event-ID")
    async def events(job: str, last_event_id: Annotated[int, Header()] = 0) -> Response:
        following = engine.events(job, after=last_event_id)
        return event_stream(event(item.event, item.data, item.id) async for item in following)

    @routes.delete("/{job}", summary="Cancel it; answers when it has ended")
    async def cancel(job: str) -> Response:
        return envelope(await engine.cancel(job))

    return routes
