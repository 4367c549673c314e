"""The one shape of OneGAI's own JSON answers, and the one place where errors become answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from onegai.errors import (
    BadJson,
    BadRequest,
    InternalError,
    MethodNotAllowed,
    OneGAIError,
    RouteRefused,
    UnknownRoute,
    as_http,
)
from onegai.files.pieces import PIECE
from onegai.functions.results import envelope_parts, enveloped, json_bytes

log = logging.getLogger(__name__)

_NOT_PARSED = "There was an error parsing the body"
"""FastAPI's own words."""
_CLIENT_LEFT = 499
"""Nobody reads the answer."""


def envelope(result: Any, detail: Mapping[str, Any] | None = None, status: int = 200) -> Response:
    """A success."""
    body = enveloped(_encoded(result), json_bytes(detail or {}))
    return Response(body, status, media_type="application/json")


def encoded_envelope(result: bytes, detail: bytes) -> Response:
    """A success whose parts are JSON already."""
    return answer_of(envelope_parts(result, detail), "application/json")


def answer_of(parts: Sequence[bytes], media_type: str) -> Response:
    """A success of these parts, which are not copied where they are large."""
    if sum(map(len, parts)) <= PIECE:
        return Response(b"".join(parts), media_type=media_type)
    return _InPieces(parts, media_type)


class _InPieces(Response):
    def __init__(self, parts: Sequence[bytes], media_type: str) -> None:
        super().__init__(media_type=media_type)
        self._parts = parts
        self.headers["Content-Length"] = str(sum(map(len, parts)))

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send_body(send, self._parts)


def content_type(media_type: str) -> bytes:
    """The header's value; a text whose function does not say is UTF-8."""
    if media_type.startswith("text/") and "charset=" not in media_type.lower():
        media_type += "; charset=utf-8"
    return media_type.encode("latin-1")


async def send_body(send: Send, parts: Sequence[bytes]) -> None:
    """Send these parts, which are all of a body."""
    if sum(map(len, parts)) <= PIECE:
        await send({"type": "http.response.body", "body": b"".join(parts)})
        return
    for part in parts:
        await send_part(send, part)
    await send({"type": "http.response.body", "body": b""})


async def send_part(send: Send, part: bytes) -> None:
    """Send some of a body; others are let in between where it is large."""
    for at in range(0, len(part), PIECE):
        body = part[at : at + PIECE] if len(part) > PIECE else part
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0)


def error_answer(error: OneGAIError) -> Response:
    """An error, with its HTTP status."""
    status, headers, body = as_http(error)
    answer = Response(body, status)
    answer.raw_headers = headers
    return answer


def handle_errors(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error of the app leave through ``error_answer``; ``routes`` are all it has."""

    async def ours(_request: Request, error: Exception) -> Response:
        assert isinstance(error, OneGAIError)
        return error_answer(error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, OneGAIError):  # what the body's reading raised
            return error_answer(error.__cause__)
        said = error.detail != HTTPStatus(error.status_code).phrase
        if request.url.path.startswith("/api/") and said and error.detail != _NOT_PARSED:
            return _refused_by_route(request, error)
        if error.status_code == 405:
            allowed = ", ".join(sorted(_methods(request, routes)))
            return error_answer(
                MethodNotAllowed(path=request.url.path, method=request.method, allowed=allowed)
            )
        if error.status_code == 400:
            return error_answer(BadJson(reason=_unread(error.__cause__)))
        if error.status_code == 404:
            return error_answer(UnknownRoute(path=request.url.path))
        return error_answer(InternalError(reason=str(error.detail)))

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return error_answer(_bad_request(error))

    async def unforeseen(_request: Request, error: Exception) -> Response:
        return error_answer(InternalError(reason=type(error).__name__))

    app.add_exception_handler(OneGAIError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, unforeseen)


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_LEFT)


def _refused_by_route(request: Request, error: HTTPException) -> Response:
    """What a route of an api file has raised, with its own status and headers."""
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    reason: Any = error.detail
    more: dict[str, Any] = {}
    if not isinstance(reason, str):
        reason, more = HTTPStatus(error.status_code).phrase, {"detail": error.detail}
    answer = error_answer(
        RouteRefused(
            app=request.url.path.split("/")[2],
            status=error.status_code,
            reason=reason,
            detail=more,
        )
    )
    answer.headers.update(error.headers or {})
    return answer


def _unread(cause: BaseException | None) -> str:
    """Why FastAPI gave a body up."""
    if isinstance(cause, RecursionError):
        return "it is nested too deeply"
    if isinstance(cause, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return str(cause).partition(";")[0]


def _methods(request: Request, routes: Sequence[BaseRoute]) -> set[str]:
    """The methods of all routes that have the request's path."""
    return {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def _bad_request(error: RequestValidationError) -> OneGAIError:
    """Wrong fields of OneGAI's own routes, named; 422 like a function's wrong arguments."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return BadJson(reason=f"{first['ctx']['error']} (position {first['loc'][-1]})")
    errors = [
        {"field": ".".join(str(part) for part in item["loc"][1:]), "message": item["msg"]}
        for item in error.errors()
    ]
    reason = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in errors)
    return BadRequest(reason=reason, do="see /docs for the fields", detail={"errors": errors})


def _encoded(result: Any) -> bytes:
    """Its JSON. A model's own way is the quickest, but text that is not Unicode stops it."""
    if isinstance(result, BaseModel):
        with suppress(PydanticSerializationError):
            return to_json(result, inf_nan_mode="null")
    return json_bytes(result)
