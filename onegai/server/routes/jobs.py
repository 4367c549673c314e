"""/job: work that outlives its request."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Response

from onegai.engine.engine import Engine
from onegai.schema import FileForm, Job
from onegai.server.envelope import encoded_envelope, envelope
from onegai.server.leaving import Clients
from onegai.server.routes.files import file_answer
from onegai.server.sse import EventStream, encoded


def router(engine: Engine, clients: Clients) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/job", tags=["jobs"])

    @routes.get("", summary="All jobs of this server's run, newest first")
    async def list_jobs() -> Response:
        return envelope(await engine.jobs())

    @routes.get("/{job}", summary="One job; with files=signed its result_url needs no password")
    async def get_job(job: str, files: FileForm = "url") -> Response:
        return envelope(with_links(engine, await engine.job(job), files))

    async def result(job: str) -> Response:
        found = engine.results.of(job)
        if found is None:
            return envelope(await engine.job(job))
        if found.detail is None:
            return file_answer(engine, engine.files.find(found.kept.id, found.kept.name))
        content = await asyncio.to_thread(engine.results.content, found)
        return encoded_envelope(content, found.detail)

    summary = "What the call would have answered, for an hour after its end"
    routes.get("/{job}/result", summary=summary)(result)
    routes.head("/{job}/result", include_in_schema=False)(result)

    @routes.get("/{job}/events", summary="Its events until it ends; resumes by Last-Event-ID")
    async def events(job: str, last_event_id: Annotated[int, Header()] = 0) -> Response:
        following = engine.events(job, after=last_event_id)
        return EventStream(clients, encoded(following))

    @routes.delete("/{job}", summary="Cancel it; answers when it has ended")
    async def cancel(job: str) -> Response:
        return envelope(await engine.cancel(job))

    return routes


def with_links(engine: Engine, job: Job, files: FileForm) -> Job:
    """The job with the links to files that were asked for."""
    if job.result_url is None or files != "signed":
        return job
    return job.model_copy(update={"result_url": engine.links.signed(job.result_url)})
