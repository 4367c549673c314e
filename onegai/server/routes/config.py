"""/config and /service get_json and set_json: the files, read and replaced as a whole."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from onegai.engine.engine import Engine
from onegai.schema import Applied, Document
from onegai.server.envelope import envelope

IfMatch = Annotated[str | None, Header(include_in_schema=False)]
_EXTRA = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "description": "the ETag of what was read, or *",
            "schema": {"type": "string"},
        }
    ]
}
"""Where it is missing, the answer is 428 instead of FastAPI's 422."""
Content = Annotated[dict[str, Any], Body(description="all of it, not only what is new")]


def router(engine: Engine) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["config"])

    @routes.get("/config/get_json", summary="config.json without its secrets, with an ETag")
    async def get_config() -> Response:
        return _shown(await engine.config_document())

    @routes.post("/config/set_json", summary="Replace config.json", openapi_extra=_EXTRA)
    async def set_config(content: Content, if_match: IfMatch = None) -> Response:
        return _applied(await engine.replace_config(content, if_match))

    @routes.get("/service/get_json", summary="The entries of all apps, with an ETag")
    async def get_services() -> Response:
        return _shown(await engine.services_document())

    @routes.post(
        "/service/set_json", summary="Replace the entries of all apps", openapi_extra=_EXTRA
    )
    async def set_services(content: Content, if_match: IfMatch = None) -> Response:
        return _applied(await engine.replace_services(content, if_match))

    return routes


def _shown(document: Document) -> Response:
    answer = envelope(document.content)
    answer.headers["ETag"] = document.etag
    answer.headers["Cache-Control"] = "no-cache"
    return answer


def _applied(applied: Applied) -> Response:
    answer = envelope(applied)
    answer.headers["ETag"] = applied.etag
    return answer
