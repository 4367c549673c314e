"""What a browser opens: the console at /, the docs with their assets, and /health."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from onegai.engine import Engine
from onegai.routes.envelope import envelope
from onegai.routes.openapi import describe

_OPENAPI = "/openapi.json"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8"}
_NO_FRAME = "frame-ancestors 'none'"
"""Another site's page must not lay ours, invisibly, under the visitor's clicks."""
_CONSOLE_POLICY = f"default-src 'self'; img-src data:; {_NO_FRAME}"


def router(app: FastAPI, engine: Engine, *, docs: bool) -> APIRouter:
    """The routes; ``docs`` False leaves out /docs and /openapi.json."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        return envelope("alive")

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def console() -> Response:
        page = _asset("onegai", "console/index.html")
        page.headers["Content-Security-Policy"] = _CONSOLE_POLICY
        return page

    @routes.get("/console/console.js")
    async def console_script() -> Response:
        return _asset("onegai", "console/console.js")

    @routes.get("/console/console.css")
    async def console_style() -> Response:
        return _asset("onegai", "console/console.css")

    if docs:

        @routes.get(_OPENAPI)
        async def openapi() -> dict[str, object]:
            return describe(app, engine)

        @routes.get("/docs")
        async def swagger() -> HTMLResponse:
            page = get_swagger_ui_html(
                openapi_url=_OPENAPI,
                title="OneGAI",
                swagger_js_url="/docs/swagger-ui.js",
                swagger_css_url="/docs/swagger-ui.css",
                swagger_favicon_url="data:,",
            )
            # With the origin: the page's own address may have user and password in it, and a
            # browser fetches no such address.
            shown = bytes(page.body).decode()
            shown = shown.replace(f"'{_OPENAPI}'", f"location.origin + '{_OPENAPI}'")
            return HTMLResponse(shown, headers={"Content-Security-Policy": _NO_FRAME})

        @routes.get("/docs/swagger-ui.js")
        async def swagger_script() -> Response:
            return _asset("fastapi_swagger", "resources/swagger-ui-bundle.js")

        @routes.get("/docs/swagger-ui.css")
        async def swagger_style() -> Response:
            return _asset("fastapi_swagger", "resources/swagger-ui.css")

    return routes


def _asset(package: str, name: str) -> Response:
    """A file that a package carries."""
    content = files(package).joinpath(name).read_bytes()
    kind = _TYPES[name[name.rindex(".") :]]
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})
