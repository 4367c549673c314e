"""/openapi.json, computed: OneGAI's own routes plus one path per function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from onegai.engine import Engine
from onegai.functions import Function
from onegai.schema import Envelope

_ENVELOPE = {"$ref": "#/components/schemas/Envelope"}


def describe(app: FastAPI, engine: Engine) -> dict[str, Any]:
    """The OpenAPI document as it is right now."""
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
    for name, functions in engine.functions().items():
        for function in functions.values():
            path = f"/api/{name}/{function.name}"
            document["paths"][path] = {"post": _operation(name, function, schemas)}
    components["securitySchemes"] = {
        "basic": {"type": "http", "scheme": "basic"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    document["security"] = [{"basic": []}, {"bearer": []}]
    return document


def _operation(app: str, function: Function, schemas: dict[str, Any]) -> dict[str, Any]:
    prefix = f"{app}_{function.name}_"
    schema = function.schema(prefix)
    for name, definition in schema.pop("$defs", {}).items():
        schemas[prefix + name] = definition
    answers: dict[str, Any] = {}
    if function.form != "raw":
        answers["application/json"] = {"schema": _ENVELOPE}
    if function.form != "main":
        answers["*/*"] = {}
    return {
        "tags": [app],
        "operationId": f"{app}.{function.name}",
        "summary": function.summary or f"{app} {function.name}",
        "description": function.doc,
        "requestBody": {"content": {"application/json": {"schema": schema}}},
        "responses": _responses({"200": {"description": "done", "content": answers}}),
    }


def _responses(given: Mapping[str, Any]) -> dict[str, Any]:
    """Successes as given, and all errors as what they are: the envelope."""
    good = {status: answer for status, answer in given.items() if status.startswith("2")}
    error = {"description": "what is wrong", "content": {"application/json": {"schema": _ENVELOPE}}}
    return {**good, "4XX": error, "5XX": error}
