"""/app: what there is, and installing it."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from onegai.engine.engine import Engine
from onegai.schema import Job
from onegai.server.envelope import envelope


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
        return envelope(list((await engine.apps()).values()))

    @routes.post("/install", status_code=202, summary="Install an app, as a job")
    async def install(asked: InstallRequest) -> Response:
        return _answered(await engine.install(asked.app, wait=asked.wait), asked)

    @routes.post("/update", status_code=202, summary="Install an app anew; undone if that fails")
    async def update(asked: UpdateRequest) -> Response:
        job = await engine.update(asked.app, force=asked.force, wait=asked.wait)
        return _answered(job, asked)

    @routes.post("/uninstall", status_code=202, summary="Remove an app; its data folders stay")
    async def uninstall(asked: UninstallRequest) -> Response:
        job = await engine.uninstall(
            asked.app, purge=asked.purge, force=asked.force, wait=asked.wait
        )
        return _answered(job, asked)

    return routes


def _answered(job: Job, asked: InstallRequest) -> Response:
    return envelope(job) if asked.wait else accepted(job)


def accepted(job: Job) -> Response:
    """202: the job goes on; where to look is in Location."""
    answer = envelope(job, status=202)
    answer.headers["Location"] = f"/job/{job.id}"
    return answer
