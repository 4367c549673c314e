"""The ASGI application: a guard around routes around an engine."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from onegai import __version__
from onegai.config.settings import Settings
from onegai.engine.engine import Engine
from onegai.server.body import Limits
from onegai.server.envelope import handle_errors
from onegai.server.guards import Guard
from onegai.server.leaving import Clients
from onegai.server.routes import apps, calls, config, files, jobs, pages, services
from onegai.server.routes.extensions import Extensions


class App:
    """The server put together: a guard, in it the calls, and FastAPI's ``api`` for all the rest.

    The engine must be entered by the caller. ``settings`` are those of the start; what can change
    later is asked of ``current``.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.api = FastAPI(
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
        clients = Clients()
        call = calls.Call(engine, clients, max_text=settings.max_json)
        called = calls.routes(engine, call)
        routers = (
            apps.router(engine),
            calls.lists(engine),
            services.router(engine, clients),
            config.router(engine),
            jobs.router(engine, clients),
            files.router(engine),
            pages.router(self.api, engine, docs=not settings.disable_docs),
        )
        for router in extensions.routers:
            self.api.include_router(router)  # they win over functions
        self.api.router.routes.extend(called)
        for router in routers:
            self.api.include_router(router)
        handle_errors(
            self.api,
            [
                *called,
                *(route for router in (*extensions.routers, *routers) for route in router.routes),
            ],
        )
        inside = calls.Shortcut(self.api, call, extensions.apps)
        limits = Limits(settings.max_json, settings.max_upload)
        self._guard = Guard(inside, engine.current, engine.links, limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._guard(scope, receive, send)
