"""The ASGI application: guards around routes around an engine."""

from __future__ import annotations

from fastapi import FastAPI

from onegai import __version__
from onegai.config.settings import Settings
from onegai.engine.engine import Engine
from onegai.server.envelope import handle_errors
from onegai.server.guards import Bodies, Cors, CredentialsGuard, LastWords, OriginGuard, SignedLinks
from onegai.server.routes import apps, calls, config, files, jobs, pages, services
from onegai.server.routes.extensions import Extensions


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """Put the server together. The engine must be entered by the caller.

    ``settings`` are those of the start; what can change later is asked of the engine.
    """
    app = FastAPI(
        title="OneGAI",
        version=__version__,
        description="One polite Web API in front of every generative AI app on your machine.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    extensions = Extensions(engine)
    for router in extensions.routers:
        app.include_router(router)  # they win over functions
    called = calls.routes(engine, max_text=settings.max_json)
    app.router.routes.extend(called)
    routers = (
        apps.router(engine),
        calls.lists(engine),
        services.router(engine),
        config.router(engine),
        jobs.router(engine),
        files.router(engine),
        pages.router(app, engine, docs=not settings.disable_docs),
    )
    for router in routers:
        app.include_router(router)
    handle_errors(
        app,
        [
            *called,
            *(route for router in (*extensions.routers, *routers) for route in router.routes),
        ],
    )

    def refreshed() -> Settings:
        engine.refresh()
        return engine.settings

    # The last one added is the outermost: last words, signed links, origin, CORS, password, body,
    # calls.
    app.add_middleware(calls.Shortcut, call=called[0].endpoint, extended=extensions.apps)
    app.add_middleware(Bodies, settings=settings)
    app.add_middleware(CredentialsGuard, settings=lambda: engine.settings)
    app.add_middleware(Cors, settings=lambda: engine.settings)
    app.add_middleware(OriginGuard, settings=refreshed)
    app.add_middleware(SignedLinks, links=engine.links)
    app.add_middleware(LastWords)
    return app
