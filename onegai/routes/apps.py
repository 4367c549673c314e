"""/app: what there is, and installing it."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from onegai.engine import Engine
from onegai.errors import Stopped
from onegai.routes.envelope import envelope, error_answer, failure
from onegai.schema import Job, JobState


class InstallRequest(BaseModel):
    """POST /app/install."""

    app: str = Field(description="the app's name in services.json")
    wait: bool = Field(default=False, description="answer only when the install has ended")


class UpdateRequest(InstallRequest):
    """POST /app/update."""

    wait: bool = Field(default=False, description="answer only when the update has ended")
    force: bool = Field(default=False, description="do not wait for the calls that use its service")


class UninstallRequest(UpdateRequest):
    """POST /app/uninstall."""

    wait: bool = Field(default=False, description="answer only when the app is gone")
    purge: bool = Field(default=False, description="remove its data folders (models, voices) too")


def router(engine: Engine) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/app", tags=["apps"])

    @routes.get("/list", summary="All apps: installed, active, state, size, functions, problems")
    async def list_apps() -> Response:
        return envelope(await engine.apps())

    @routes.post("/install", status_code=202, summary="Install an app, as a job")
    async def install(request: InstallRequest) -> Response:
        return await answered(engine.install(request.app), request.wait)

    @routes.post("/update", status_code=202, summary="Install an app anew; undone if that fails")
    async def update(request: UpdateRequest) -> Response:
        return await answered(engine.update(request.app, force=request.force), request.wait)

    @routes.post("/uninstall", status_code=202, summary="Remove an app; its data folders stay")
    async def uninstall(request: UninstallRequest) -> Response:
        job = engine.uninstall(request.app, purge=request.purge, force=request.force)
        return await answered(job, request.wait)

    async def answered(job: Job, wait: bool) -> Response:
        return ended(await engine.jobs.wait(job.id)) if wait else accepted(job)

    return routes


def accepted(job: Job) -> Response:
    """202: the job goes on; where to look is in Location."""
    answer = envelope(job, status=202)
    answer.headers["Location"] = f"/job/{job.id}"
    return answer


def ended(job: Job) -> Response:
    """The end of a job that somebody waited for; a failed one is an error answer."""
    if job.state is JobState.CANCELLED:
        return error_answer(Stopped(app=f"the {job.kind} of {job.app}"))
    if job.error is not None:
        detail = {k: v for k, v in job.error.items() if k not in ("message", "status")}
        return failure(job.error["message"], detail, job.error["status"])
    return envelope(job)
