"""/openapi.json, computed: OneGAI's own routes plus one path per function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from onegai.files.file import MARK
from onegai.functions.results import json_bytes
from onegai.protocol import Engine
from onegai.schema import Envelope, FileForm, FunctionInfo

Functions = Mapping[str, Sequence[FunctionInfo]]
"""Per app."""
_MODELS = "#/$defs/"
_ENVELOPE = {"$ref": "#/components/schemas/Envelope"}
_OPTIONS = [
    {
        "name": "files",
        "in": "query",
        "description": "files in the result: a url, also base64, or a url that needs no password",
        "schema": {"type": "string", "enum": list(get_args(FileForm)), "default": "url"},
    },
    {
        "name": "Prefer",
        "in": "header",
        "description": "respond-async: answer 202 with a job at once",
        "schema": {"type": "string"},
    },
]


class Description:
    """The OpenAPI document as JSON: as it is right now, and made anew only where that differs."""

    def __init__(self, app: FastAPI, engine: Engine) -> None:
        self._app = app
        self._engine = engine
        self._of: Functions = {}
        self._json = b""
        self._making = asyncio.Lock()

    async def json(self) -> bytes:
        """The document."""
        async with self._making:
            functions = await self._engine.functions()
            if not self._json or functions != self._of:
                made = asyncio.to_thread(lambda: json_bytes(describe(self._app, functions)))
                self._json = await made
                self._of = functions
            return self._json


def describe(app: FastAPI, functions_of: Functions) -> dict[str, Any]:
    """The OpenAPI document of the routes and of these functions."""
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas["Envelope"] = Envelope.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = _responses(operation["responses"])
    models: dict[int, str] = {}
    for name, functions in functions_of.items():
        for function in functions:
            path = f"/api/{name}/{function.name}"
            document["paths"][path] = {
                "post": _operation(name, function, schemas, models),
                "get": _about(name, function),
            }
    components["securitySchemes"] = {
        "basic": {"type": "http", "scheme": "basic"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    document["security"] = [{"basic": []}, {"bearer": []}]
    return document


def _operation(
    app: str, function: FunctionInfo, schemas: dict[str, Any], models: dict[int, str]
) -> dict[str, Any]:
    """``models``: the names in ``schemas`` of what several functions have in common, by its id."""
    rest = {key: value for key, value in function.arguments.items() if key != "$defs"}
    definitions: dict[str, Any] = function.arguments.get("$defs", {})
    fresh = {name: one for name, one in definitions.items() if id(one) not in models}
    models |= {id(one): f"{app}_{function.name}_{name}" for name, one in fresh.items()}
    named = {name: models[id(one)] for name, one in definitions.items()}
    schema: dict[str, Any] = _referring(rest, named)
    for name, one in fresh.items():
        schemas[named[name]] = _referring(one, named)
    # A model that has itself among its fields is a reference.
    whole = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    bodies: dict[str, Any] = {"application/json": {"schema": schema}}
    if MARK in json.dumps(schema):
        bodies = {"multipart/form-data": {"schema": _as_form(schema)}, **bodies}
    answers: dict[str, Any] = {}
    if function.name != "raw":
        answers["application/json"] = {"schema": _ENVELOPE}
    if function.name != "main":
        answers["*/*"] = {}
    if function.streams:
        answers["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "tags": [app],
        "operationId": f"{app}.{function.name}",
        "summary": function.summary or f"{app} {function.name}",
        "description": function.about,
        "parameters": _OPTIONS,
        "requestBody": {"content": bodies, "required": bool(whole.get("required"))},
        "responses": _responses({"200": {"description": "done", "content": answers}}),
    }


def _about(app: str, function: FunctionInfo) -> dict[str, Any]:
    answer = {"description": "done", "content": {"application/json": {"schema": _ENVELOPE}}}
    return {
        "tags": ["functions"],
        "operationId": f"{app}.{function.name}.about",
        "summary": f"What {app} {function.name} does, and the JSON Schema of its arguments",
        "responses": _responses({"200": answer}),
    }


def _referring(schema: Any, named: Mapping[str, str]) -> Any:
    """A copy that has other names for its models, in references and discriminators."""
    if isinstance(schema, dict):
        return {key: _referring(value, named) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_referring(value, named) for value in schema]
    if isinstance(schema, str) and schema.startswith(_MODELS):
        name = schema.removeprefix(_MODELS)
        return f"#/components/schemas/{named.get(name, name)}"
    return schema


def _as_form(schema: Any) -> Any:
    """The same with files as the parts of a form, which /docs lets one choose."""
    if isinstance(schema, dict):
        if MARK in schema:
            return {"type": "string", "format": "binary"}
        return {key: _as_form(value) for key, value in schema.items()}
    return [_as_form(value) for value in schema] if isinstance(schema, list) else schema


def _responses(given: Mapping[str, Any]) -> dict[str, Any]:
    """Successes as given, and all errors as what they are: the envelope."""
    good = {status: answer for status, answer in given.items() if status.startswith("2")}
    error = {"description": "what is wrong", "content": {"application/json": {"schema": _ENVELOPE}}}
    return {**good, "4XX": error, "5XX": error}
