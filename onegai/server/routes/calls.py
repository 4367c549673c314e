"""/api/{app}/{function}: one catch-all route in front of every function."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from onegai.client.wire import PROBLEM
from onegai.engine.engine import Engine
from onegai.errors import BadArguments, BadJson
from onegai.files.workspace import Workspace
from onegai.functions.results import Outcome, envelope_parts
from onegai.server.body import MULTIPART
from onegai.server.envelope import content_type, envelope, send_body
from onegai.server.guards import HEAD
from onegai.server.leaving import Clients
from onegai.server.routes.apps import accepted
from onegai.server.routes.forms import as_arguments, decoded, read_parts
from onegai.server.routes.jobs import with_links
from onegai.server.routes.preferences import file_form, wants_job


def routes(engine: Engine, call: Call) -> tuple[Route, Route]:
    """To call a function, and what there is to know of one.

    They are not in OpenAPI's document: each function is, see routes.openapi.
    """

    async def describe(request: Request) -> Response:
        app, function = request.path_params["app"], request.path_params["function"]
        return envelope(await engine.function(app, function))

    path = "/api/{app}/{function}"
    return Route(path, call, methods=["POST"]), Route(path, describe, methods=["GET"])


def lists(engine: Engine) -> APIRouter:
    """What can be called."""
    listing = APIRouter(prefix="/api", tags=["functions"])

    @listing.get("", summary="The functions of all apps")
    async def list_all() -> Response:
        functions = await engine.functions()
        return await asyncio.to_thread(envelope, functions)

    @listing.get("/{app}", summary="The functions of an app")
    async def list_functions(app: str) -> Response:
        return envelope(await engine.functions_of(app))

    return listing


class Call:
    """The ASGI application behind POST /api/{app}/{function}; these are its path_params.

    Raises OneGAIError, and ClientDisconnect.
    """

    def __init__(self, engine: Engine, clients: Clients, *, max_text: int) -> None:
        """``max_text`` is the most bytes of a form's texts."""
        self._engine = engine
        self._clients = clients
        self._max_text = max_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the function, and send what it gives."""
        app, function = scope["path_params"]["app"], scope["path_params"]["function"]
        files = file_form(scope)
        workspace = self._engine.calls.workspace() if scope[HEAD].kind == MULTIPART else None
        try:
            if workspace is None:
                given = await _json(receive)
            else:
                given = await self._form(app, function, Request(scope, receive), workspace)
            if wants_job(scope):
                job = await self._engine.submit(
                    app, function, given, files=files, workspace=workspace
                )
                workspace = None  # now the job's end removes it
                answer = accepted(with_links(self._engine, job, files))
                answer.headers["Preference-Applied"] = "respond-async"
                await answer(scope, receive, send)
                return
            calling = self._engine.call(app, function, given, files=files, workspace=workspace)
            await _send(send, await self._clients.unless_left(receive, calling))
        finally:
            if workspace is not None:
                workspace.close()

    async def _form(self, app: str, function: str, request: Request, workspace: Workspace) -> Any:
        schema = (await self._engine.function(app, function)).arguments
        parts = await read_parts(request, workspace, self._max_text)
        return await asyncio.to_thread(as_arguments, parts, schema)


async def _json(receive: Receive) -> Any:
    """The arguments in a body of JSON, which the guard gives whole."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body = message["body"]
    if len(body) <= _SMALL:
        return parse_object(body)
    return await asyncio.to_thread(parse_object, body)


async def _send(send: Send, outcome: Outcome) -> None:
    parts: tuple[bytes, ...] = (outcome.body.content,)
    if outcome.envelope:
        parts = envelope_parts(outcome.body.content, outcome.detail_json)
    headers = [
        (b"content-length", b"%d" % sum(map(len, parts))),
        (b"content-type", content_type(outcome.body.media_type)),
    ]
    if outcome.problem is not None:
        told = quote(outcome.problem.in_words(), safe=" /:(),'")
        headers.append((PROBLEM.lower().encode(), told.encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send_body(send, parts)


class Shortcut:
    """ASGI middleware: answers calls without what FastAPI and Starlette put around a route.

    That is more than a small call takes. The apps that have routes of their own, and wrong methods,
    are left to the route ``call`` is of.
    """

    def __init__(self, app: ASGIApp, call: Call, extended: Collection[str]) -> None:
        self._app = app
        self._call = call
        self._extended = extended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, or pass on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            parts = scope["path"].split("/")
            if len(parts) == 4 and parts[1] == "api" and all(parts[2:]):
                app, function = parts[2:]
                if app not in self._extended:
                    scope["path_params"] = {"app": app, "function": function}
                    await self._call(scope, receive, send)
                    return
        await self._app(scope, receive, send)


_SMALL = 256 << 10
"""Bytes of JSON that are decoded on the event loop."""


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        value = decoded(body)
    except ValueError as error:
        raise BadJson(reason=str(error)) from None
    if not isinstance(value, dict):
        raise BadArguments(
            reason=f"body: must be a JSON object, not {_JSON_NAMES[type(value)]}",
            do='send the arguments by name, for example {"text": "hello"}',
            detail={"errors": [{"field": "", "message": "must be a JSON object"}]},
        )
    return value


_JSON_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
