"""/api/{app}/{function}: one catch-all route in front of every function."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from onegai.engine import Engine
from onegai.errors import BadArguments, BadJson
from onegai.routes.envelope import encoded_envelope
from onegai.routes.leaving import unless_left


def router(engine: Engine) -> APIRouter:
    """The route. It is not in the schema by itself: each function is, see routes.openapi."""
    routes = APIRouter(prefix="/api", tags=["functions"])

    @routes.post("/{app}/{function}", include_in_schema=False)
    async def call(app: str, function: str, request: Request) -> Response:
        given = parse_object(await request.body())
        return await unless_left(request, answer(app, function, given))

    async def answer(app: str, function: str, given: dict[str, Any]) -> Response:
        outcome = await engine.call(app, function, given)
        if outcome.envelope:
            return encoded_envelope(outcome.body.content, outcome.detail_json)
        return Response(outcome.body.content, media_type=outcome.body.media_type)

    return routes


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
