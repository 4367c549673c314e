"""What a browser opens: the console at /, the docs with their assets, and /health."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, FastAPI, Response

from onegai.engine.engine import Engine
from onegai.server.envelope import envelope
from onegai.server.routes.openapi import Description

_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8"}
_NO_FRAME = "frame-ancestors 'none'"
"""Another site's page must not lay ours, invisibly, under the visitor's clicks."""
_CONSOLE_POLICY = f"default-src 'self'; img-src data:; {_NO_FRAME}"
_DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    f"media-src blob:; {_NO_FRAME}"
)
"""What a blob holds (an app's answer) runs no scripts, wherever it is opened."""


def router(app: FastAPI, engine: Engine, *, docs: bool) -> APIRouter:
    """The routes; ``docs`` False leaves out /docs and /openapi.json."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        return envelope("alive")

    def asset(path: str, name: str, package: str = "onegai.server", policy: str = "") -> None:
        async def sent() -> Response:
            return _asset(package, name, policy)

        routes.add_api_route(path, sent, methods=["GET", "HEAD"])

    asset("/", "console/index.html", policy=_CONSOLE_POLICY)
    asset("/console/console.js", "console/console.js")
    asset("/console/view.js", "console/view.js")
    asset("/console/console.css", "console/console.css")
    if docs:
        description = Description(app, engine)

        @routes.get("/openapi.json")
        async def openapi() -> Response:
            return Response(await description.json(), media_type="application/json")

        asset("/docs", "console/docs.html", policy=_DOCS_POLICY)
        asset("/docs/docs.js", "console/docs.js")
        asset("/docs/swagger-ui.js", "resources/swagger-ui-bundle.js", "fastapi_swagger")
        asset("/docs/swagger-ui.css", "resources/swagger-ui.css", "fastapi_swagger")

    return routes


def _asset(package: str, name: str, policy: str) -> Response:
    """A file that a package carries; ``policy`` is its Content-Security-Policy."""
    content = files(package).joinpath(name).read_bytes()
    kind = _TYPES[name[name.rindex(".") :]]
    headers = {"Cache-Control": "no-cache"}
    if policy:
        headers["Content-Security-Policy"] = policy
    return Response(content, media_type=kind, headers=headers)
