"""The OpenAPI 3.1 document of a run file."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import pathlib
from typing import Any, Dict, Literal, Tuple, get_args, get_origin

from . import arguments
from .answers import JSON, TEXT
from .runfile import Function, RunFile

Schema = Dict[str, Any]
_SIMPLE = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_LISTS = (list, tuple, set, frozenset)
_ERROR = {"$ref": "#/components/schemas/Error"}
_ERRORS = {"422": "the arguments do not fit", "500": "the function failed"}


def document(run_file: RunFile) -> Schema:
    """One POST path per function, with what its docstring and annotations say."""
    schemas: Schema = {
        "Error": {
            "type": "object",
            "required": ["error", "detail"],
            "properties": {"error": {"type": "string"}, "detail": {"type": "object"}},
        }
    }
    paths = {
        "/" + name: {"post": _operation(one, schemas)} for name, one in run_file.functions.items()
    }
    info = {"title": run_file.name, "version": "1", "description": run_file.doc}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _operation(function: Function, schemas: Schema) -> Schema:
    summary, description = summary_of(function.doc)
    schema = _body(function.args, schemas)
    responses: Schema = {
        "200": {"description": "the result", "content": _content(function.returns)}
    }
    for status, text in _ERRORS.items():
        responses[status] = {"description": text, "content": {JSON: {"schema": _ERROR}}}
    return {
        "operationId": function.name,
        "summary": summary,
        "description": description,
        "requestBody": {
            "required": bool(schema.get("required")),
            "content": {JSON: {"schema": schema}},
        },
        "responses": responses,
    }


def summary_of(doc: str) -> Tuple[str, str]:
    """The first line of a docstring and the rest."""
    first, _, rest = doc.partition("\n")
    return first.strip(), rest.strip()


def _body(hint: Any, schemas: Schema) -> Schema:
    hint, _ = arguments.bare(hint)
    if arguments.is_model(hint):
        schema: Schema = hint.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        return schema
    schema = schema_of(hint)
    return schema if schema.get("type") == "object" else {"type": "object"}


def _content(hint: Any) -> Schema:
    """Bytes and streams have the media type that their content has, so none is promised."""
    hint, _ = arguments.bare(hint)
    origin = get_origin(hint) or hint
    if hint is str:
        return {TEXT.partition(";")[0]: {"schema": {"type": "string"}}}
    if isinstance(origin, type) and issubclass(
        origin,
        (
            bytes,
            bytearray,
            pathlib.Path,
            tuple,
            collections.abc.Iterator,
            collections.abc.AsyncIterator,
        ),
    ):
        return {"*/*": {}}
    return {JSON: {"schema": schema_of(hint)}}


def schema_of(hint: Any, inside: Tuple[Any, ...] = ()) -> Schema:
    """JSON Schema of a type; {} (anything) for one that it does not know or that holds itself."""
    hint, _ = arguments.bare(hint)
    if hint in inside:
        return {}
    if arguments.options(hint):
        return _union([schema_of(option, inside) for option in arguments.options(hint)])
    origin = get_origin(hint) or hint
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if dataclasses.is_dataclass(hint) or arguments.is_typed_dict(hint):
        return _object(hint, (*inside, hint))
    if origin in _SIMPLE:
        return {"type": _SIMPLE[origin]}
    if origin in _LISTS:
        items = get_args(hint)
        return dict({"type": "array"}, **({"items": schema_of(items[0], inside)} if items else {}))
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return {"enum": [member.value for member in origin]}
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        return {"type": "object"}
    return {}


def _union(options: Any) -> Schema:
    kinds = [option.get("type") for option in options if set(option) == {"type"}]
    return {"type": kinds} if len(kinds) == len(options) else {"anyOf": options}


def _object(hint: Any, inside: Tuple[Any, ...]) -> Schema:
    fields = arguments.fields_of(hint)
    properties = {}
    for field in fields:
        schema = schema_of(field.hint, inside)
        if field.description:
            schema["description"] = field.description
        if _is_plain(field.default):
            schema["default"] = field.default
        properties[field.name] = schema
    result: Schema = {"type": "object", "properties": properties}
    required = [field.name for field in fields if field.required]
    if required:
        result["required"] = required
    if dataclasses.is_dataclass(hint):
        result["additionalProperties"] = False
    return result


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
