"""/api/{app}/{function}: one catch-all route in front of every function."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Collection
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from onegai.calls.calls import Streamed
from onegai.client.wire import PROBLEM
from onegai.engine.engine import Engine
from onegai.errors import BadArguments, BadJson, OneGAIError, ShuttingDown
from onegai.files.workspace import Workspace
from onegai.functions.results import Outcome, envelope_parts
from onegai.functions.texts import decoded
from onegai.schema import Event, Problem
from onegai.server.body import MULTIPART
from onegai.server.envelope import content_type, envelope, send_body, send_part
from onegai.server.guards import HEAD
from onegai.server.leaving import CUT, Clients
from onegai.server.routes.apps import accepted
from onegai.server.routes.forms import as_arguments, read_parts
from onegai.server.routes.jobs import with_links
from onegai.server.routes.preferences import file_form, wants_events, wants_job
from onegai.server.sse import encoded, send_events

log = logging.getLogger(__name__)


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

    Raises OneGAIError, before the answer begins.
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
            if wants_events(scope):
                events = self._engine.stream(app, function, given, files=files, workspace=workspace)
                sending = _send_call(send, events)
            else:
                answering = self._engine.respond(
                    app, function, given, files=files, workspace=workspace
                )
                sending = _send_answer(send, answering)
            await self._clients.unless_left(receive, sending)
        except ClientDisconnect:
            pass  # nobody reads what could be said
        except _CutOff:
            if (cut := scope["state"].get(CUT)) is not None:
                cut()
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


async def _send_call(send: Send, events: AsyncGenerator[Event, None]) -> None:
    """Its events. Raises what is wrong with it before the first of them."""
    async with aclosing(events):
        first = await anext(events)
        await send_events(send, encoded(_to_the_end(first, events)))


async def _to_the_end(first: Event, others: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """All of them. Where the server ends before the call, that is the last one."""
    last = first
    yield last
    try:
        async for last in others:
            yield last
    except asyncio.CancelledError:
        yield Event(id=last.id + 1, event="error", data=ShuttingDown().data)


async def _send_answer(send: Send, answering: Awaitable[Outcome | Streamed]) -> None:
    """Its answer, as it comes where it comes in parts."""
    answer = await answering
    if isinstance(answer, Streamed):
        await _send_parts(send, answer)
        return
    parts: tuple[bytes, ...] = (answer.body.content,)
    if answer.envelope:
        parts = envelope_parts(answer.body.content, answer.detail_json)
    length = (b"content-length", b"%d" % sum(map(len, parts)))
    await _start(send, answer.body.media_type, answer.problem, length)
    await send_body(send, parts)


async def _send_parts(send: Send, answer: Streamed) -> None:
    """Raises _CutOff for what goes wrong on the way."""
    async with aclosing(answer):
        await _start(send, answer.media_type, answer.problem, _NOT_BUFFERED)
        try:
            async for part in answer:
                await send_part(send, part)
        except OneGAIError as error:
            log.warning("an answer was cut off: %s", error.message)
            raise _CutOff from None
    await send({"type": "http.response.body", "body": b""})


class _CutOff(Exception):
    """The answer does not end as one that is whole; so its reader sees that."""


async def _start(
    send: Send, media_type: str, problem: Problem | None, header: tuple[bytes, bytes]
) -> None:
    headers = [header, (b"content-type", content_type(media_type))]
    if problem is not None:
        told = quote(problem.in_words(), safe=" /:(),'")
        headers.append((PROBLEM.lower().encode(), told.encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


_NOT_BUFFERED = (b"x-accel-buffering", b"no")


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
