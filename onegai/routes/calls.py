"""/api/{app}/{function}: one catch-all route in front of every function."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from onegai.engine import Engine
from onegai.errors import BadArguments, BadJson
from onegai.files import Workspace
from onegai.routes.apps import accepted
from onegai.routes.envelope import encoded_envelope
from onegai.routes.forms import as_arguments, read_parts
from onegai.routes.jobs import with_links
from onegai.schema import FileForm


def router(engine: Engine, *, max_text: int) -> APIRouter:
    """The route. It is not in the schema by itself: each function is, see routes.openapi.

    ``max_text`` is the most bytes of a form's texts.
    """
    routes = APIRouter(prefix="/api", tags=["functions"])

    @routes.post("/{app}/{function}", include_in_schema=False)
    async def call(app: str, function: str, request: Request, files: FileForm = "url") -> Response:
        with ExitStack() as until_answered:
            workspace = engine.workspace()
            until_answered.callback(workspace.close)
            try:
                given = await _given(app, function, request, workspace)
            except ClientDisconnect:
                return Response(status_code=400)
            if _wants_job(request):
                job = await engine.submit(app, function, given, files=files, workspace=workspace)
                until_answered.pop_all()  # now the job's end removes the workspace
                answer = accepted(with_links(engine, job, files))
                answer.headers["Preference-Applied"] = "respond-async"
                return answer
            outcome = await engine.call(app, function, given, files=files, workspace=workspace)
        if outcome.envelope:
            return encoded_envelope(outcome.body.content, outcome.detail_json)
        return Response(outcome.body.content, media_type=outcome.body.media_type)

    async def _given(app: str, function: str, request: Request, workspace: Workspace) -> Any:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            return parse_object(await request.body())
        schema = engine.function(app, function).schema()
        parts = await read_parts(request, workspace, max_text)
        return as_arguments(parts, schema)

    return routes


def _wants_job(request: Request) -> bool:
    """RFC 7240: preferences are a list, each with parameters perhaps."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(one.partition(";")[0].strip().lower() == "respond-async" for one in preferences)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise BadJson(reason="it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadJson(reason=f"{error.msg} ({place})") from None
    except RecursionError:
        raise BadJson(reason="it is nested too deeply") from None
    except ValueError as error:
        raise BadJson(reason=str(error).partition(";")[0]) from None
    if not isinstance(value, dict):
        raise BadArguments(
            reason=f"body: must be a JSON object, not {_JSON_NAMES[type(value)]}",
            do='send the arguments by name, for example {"text": "hello"}',
            detail={"errors": [{"field": "", "message": "must be a JSON object"}]},
        )
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
