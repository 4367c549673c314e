"""Texts of a form or of a command as the arguments that they stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from onegai.files.file import MARK
from onegai.files.pieces import well_formed

_JSON_TYPES: Mapping[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    type(None): "null",
}


def kinds_of(schema: Mapping[str, Any]) -> Callable[[str], set[str]]:
    """Of the arguments that a JSON Schema describes: the JSON types of each, by its name.

    MARK stands for a file; where the schema does not say, there are none.
    """
    definitions = schema.get("$defs", {})
    fields = _resolved(schema, definitions).get("properties", {})
    return lambda name: _kinds(fields.get(name, {}), definitions)


def from_text(text: str, kinds: Collection[str]) -> Any:
    """What a text means for an argument of these kinds: what its JSON means, unless one is text."""
    object_of_a_file = MARK in kinds and text.lstrip()[:1] == "{"
    if object_of_a_file or (kinds and "string" not in kinds and MARK not in kinds):
        try:
            return decoded(text)
        except ValueError:
            return text
    return text


def decoded(body: bytes | bytearray | str) -> Any:
    """What JSON stands for. Raises ValueError with the reason.

    Half a surrogate pair, which is no Unicode, becomes U+FFFD, as in a form (WHATWG's USVString).
    """
    try:
        if not isinstance(body, str):
            body = body.decode(json.detect_encoding(body))
        value = _DECODER.decode(body)
        return _well_formed(value) if _SURROGATE.search(body) else value
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{error.msg} ({place})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(str(error).partition(";")[0]) from None


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(one) for key, one in value.items()}
    return [_well_formed(one) for one in value] if isinstance(value, list) else value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Is in every JSON that has half a pair, and in some that have whole ones."""
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _kinds(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> set[str]:
    """The JSON types that a schema allows, and MARK for a file; none where it does not say."""
    schema = _resolved(schema, definitions)
    if MARK in schema:
        return {MARK}
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        return {kind for choice in choices for kind in _kinds(choice, definitions)}
    kind = schema.get("type", [])
    if not kind and "enum" in schema:
        return {_JSON_TYPES.get(type(value), "object") for value in schema["enum"]}
    if kind == "array" and MARK in _kinds(schema.get("items", {}), definitions):
        return {"array", MARK}
    return {kind} if isinstance(kind, str) else set(kind)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    while (reference := schema.get("$ref")) is not None:
        schema = definitions[reference.rpartition("/")[2]]
    return schema
