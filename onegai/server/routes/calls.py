"""/api/{app}/{function}: one catch-all route in front of every function."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import ExitStack
from typing import Any, get_args
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from onegai.client.wire import PROBLEM
from onegai.engine.engine import Engine
from onegai.errors import BadArguments, BadJson, BadRequest
from onegai.files.workspace import Workspace
from onegai.functions.results import Outcome
from onegai.schema import FileForm
from onegai.server.envelope import answer_of, encoded_envelope, envelope
from onegai.server.leaving import unless_left
from onegai.server.routes.apps import accepted
from onegai.server.routes.forms import as_arguments, decoded, read_parts
from onegai.server.routes.jobs import with_links


def routes(engine: Engine, *, max_text: int) -> tuple[Route, Route]:
    """To call a function, and what there is to know of one.

    They are not in OpenAPI's document: each function is, see routes.openapi. ``max_text`` is the
    most bytes of a form's texts.
    """

    async def call(request: Request) -> Response:
        app, function = request.path_params["app"], request.path_params["function"]
        files = _file_form(request)
        with ExitStack() as until_answered:
            workspace = engine.calls.workspace()
            until_answered.callback(workspace.close)
            try:
                given = await _given(app, function, request, workspace)
                if _wants_job(request):
                    job = await engine.submit(
                        app, function, given, files=files, workspace=workspace
                    )
                    until_answered.pop_all()  # now the job's end removes the workspace
                    answer = accepted(with_links(engine, job, files))
                    answer.headers["Preference-Applied"] = "respond-async"
                    return answer
                calling = engine.call(app, function, given, files=files, workspace=workspace)
                return await unless_left(request, _answered(calling))
            except ClientDisconnect:
                return Response(status_code=400)

    async def describe(request: Request) -> Response:
        app, function = request.path_params["app"], request.path_params["function"]
        found = await engine.described(app, function)
        schema = found.accepts.schema()
        return envelope({"name": function, "about": found.doc, "schema": schema})

    async def _given(app: str, function: str, request: Request, workspace: Workspace) -> Any:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            body = await request.body()
            if len(body) <= _SMALL:
                return parse_object(body)
            return await asyncio.to_thread(parse_object, body)
        schema = (await engine.function(app, function)).accepts.schema()
        parts = await read_parts(request, workspace, max_text)
        return await asyncio.to_thread(as_arguments, parts, schema)

    path = "/api/{app}/{function}"
    return Route(path, call, methods=["POST"]), Route(path, describe, methods=["GET"])


async def _answered(calling: Coroutine[Any, Any, Outcome]) -> Response:
    outcome = await calling
    if outcome.envelope:
        answer = encoded_envelope(outcome.body.content, outcome.detail_json)
    else:
        answer = answer_of([outcome.body.content], outcome.body.media_type)
    if outcome.problem is not None:
        answer.headers[PROBLEM] = quote(outcome.problem.in_words(), safe=" /:(),'")
    return answer


def lists(engine: Engine) -> APIRouter:
    """What can be called."""
    listing = APIRouter(prefix="/api", tags=["functions"])

    @listing.get("/{app}", summary="The functions of an app")
    async def list_functions(app: str) -> Response:
        return envelope(await engine.function_list(app))

    return listing


class Shortcut:
    """ASGI middleware: answers calls without what FastAPI and Starlette put around a route.

    That is, without half of what a small call takes. The apps that have routes of their own, and
    wrong methods, are left to the route ``call`` is of.
    """

    def __init__(
        self,
        app: ASGIApp,
        call: Callable[[Request], Awaitable[Response]],
        extended: Collection[str],
    ) -> None:
        self._app = app
        self._call = call
        self._extended = extended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, or pass on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            named = _CALL.fullmatch(scope["path"])
            if named is not None and named["app"] not in self._extended:
                scope["path_params"] = named.groupdict()
                answer = await self._call(Request(scope, receive))
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


_SMALL = 256 << 10
"""Bytes of JSON that are decoded on the event loop."""
_CALL = re.compile("/api/(?P<app>[^/]+)/(?P<function>[^/]+)")
_FILE_FORM: TypeAdapter[FileForm] = TypeAdapter(FileForm)


def _file_form(request: Request) -> FileForm:
    """``?files=``. Raises BadRequest."""
    if not request.scope["query_string"]:
        return "url"
    given = request.query_params.get("files", "url")
    try:
        return _FILE_FORM.validate_python(given)
    except ValidationError:
        forms = ", ".join(get_args(FileForm))
        raise BadRequest(
            reason=f"files: must be one of {forms}",
            do="see /docs",
            detail={"errors": [{"field": "files", "message": f"must be one of {forms}"}]},
        ) from None


def _wants_job(request: Request) -> bool:
    """RFC 7240: preferences are a list, each with parameters perhaps."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(one.partition(";")[0].strip().lower() == "respond-async" for one in preferences)


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
