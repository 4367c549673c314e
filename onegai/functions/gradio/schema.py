"""JSON Schema of what one component of a Gradio app takes, as OneGAI's callers send it.

A file is ``FILE_SCHEMA`` wherever Gradio has its own object for one, whatever the generation: 3.x
describes components by their properties only, from 4 on each has a JSON Schema (``api_info``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from onegai.functions.described import FILE_SCHEMA

Schema = dict[str, Any]
Properties = Mapping[str, Any]

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_KEPT = ("description", "enum", "const", "minItems", "maxItems", "minimum", "maximum", "required")
_DEEPEST = 12
"""Levels of a component's own schema; what lies deeper, or contains itself, may be anything."""
_MOST_PARTS = 5000
"""Of a component's own schema, those that references repeat counted each time; so are they."""
_ONE_FILE = frozenset({"image", "simpleimage", "audio", "video", "model3d", "timeseries"})
_PICTURE = frozenset({"imageeditor", "imagemask", "sketchpad", "paint"})
_ROWS: Schema = {"type": "array", "items": {"type": "array"}}
NULL: Schema = {"type": "null"}


def schema_of(component: str, properties: Properties, told: Any) -> Schema:
    """Of a component of this type; ``told`` is its ``api_info`` from Gradio 4 on, else None."""
    special = _SPECIAL.get(component)
    if special is not None:
        return special(properties)
    if component in _ONE_FILE:
        return _sketch() if properties.get("tool") == "sketch" else _or_null(FILE_SCHEMA)
    if component in _PICTURE:
        return _picture()
    return with_files(told) if isinstance(told, Mapping) else {}


def with_files(told: Mapping[str, Any]) -> Schema:
    """A component's own schema, without references and with OneGAI's files in it."""
    definitions = told.get("$defs", {})
    named = definitions if isinstance(definitions, Mapping) else {}
    return _converted(told, named, 0, iter(range(_MOST_PARTS)))


def is_file(told: Any) -> bool:
    """Is this the schema of Gradio's FileData, or of a class like it?"""
    inside = told.get("properties") if isinstance(told, Mapping) else None
    if not isinstance(inside, Mapping) or "path" not in inside:
        return False
    return "meta" in inside or "orig_name" in inside  # the first is from 4.14 on


def _converted(
    part: Any, definitions: Mapping[str, Any], depth: int, left: Iterator[int]
) -> Schema:
    if not isinstance(part, Mapping) or depth > _DEEPEST or next(left, None) is None:
        return {}
    if isinstance(reference := part.get("$ref"), str):
        part = definitions.get(reference.rpartition("/")[2], {})
        return _converted(part, definitions, depth + 1, left)
    return dict(FILE_SCHEMA) if is_file(part) else _described(part, definitions, depth, left)


def _described(
    part: Mapping[str, Any], definitions: Mapping[str, Any], depth: int, left: Iterator[int]
) -> Schema:
    def inner(one: Any) -> Schema:
        return _converted(one, definitions, depth + 1, left)

    schema: Schema = {key: part[key] for key in _KEPT if part.get(key) is not None}
    if _is_type(part.get("type")):
        schema["type"] = part["type"]
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), Mapping):
            schema[key] = inner(part[key])
    if isinstance(part.get("properties"), Mapping):
        schema["properties"] = {name: inner(one) for name, one in part["properties"].items()}
    if isinstance(part.get("prefixItems"), list):
        schema["prefixItems"] = [inner(one) for one in part["prefixItems"]]
    # Two of oneOf may fit at once where a file, of any form, is one of them.
    choices = part.get("anyOf") or part.get("oneOf")
    if isinstance(choices, list):
        schema["anyOf"] = [inner(one) for one in choices]
    return schema


def _is_type(kinds: Any) -> bool:
    """Gradio has an object there where a component takes anything."""
    if isinstance(kinds, list):
        return bool(kinds) and all(_is_type(one) for one in kinds)
    return isinstance(kinds, str) and kinds in _TYPES


def _or_null(schema: Mapping[str, Any]) -> Schema:
    return {"anyOf": [dict(schema), NULL]}


def _text(properties: Properties) -> Schema:
    longest = properties.get("max_length")
    return {"type": "string", **({"maxLength": longest} if isinstance(longest, int) else {})}


def _number(properties: Properties) -> Schema:
    """An empty field of the page is null."""
    kind = "integer" if properties.get("precision") == 0 else "number"
    return {"type": [kind, "null"], **_range(properties)}


def _slider(properties: Properties) -> Schema:
    return {"type": "number", **_range(properties)}


def _range(properties: Properties) -> Schema:
    ends = {"minimum": properties.get("minimum"), "maximum": properties.get("maximum")}
    return {key: end for key, end in ends.items() if isinstance(end, int | float)}


def _boolean(_properties: Properties) -> Schema:
    return {"type": "boolean"}


def _choice(properties: Properties) -> Schema:
    """One of the choices, or several; none of them where nothing is chosen yet."""
    if properties.get("multiselect"):
        most = properties.get("max_choices")
        several = {"maxItems": most} if isinstance(most, int) else {}
        return {"type": "array", "items": _one_of(properties), **several}
    one = _one_of(properties)
    if properties.get("value") is None:
        if "enum" in one:
            return {"enum": [*one["enum"], None]}
        return {"type": [*one["type"], "null"]} if "type" in one else one
    return one


def _dropdown(properties: Properties) -> Schema:
    """Before 3.25 or so, none says whether several may be chosen."""
    one = _choice(properties)
    if "enum" in one and properties.get("allow_custom_value") is None:
        return {"anyOf": [one, {"type": "array", "items": _one_of(properties)}]}
    return one


def _choices(properties: Properties) -> Schema:
    return {"type": "array", "items": _one_of(properties)}


def _one_of(properties: Properties) -> Schema:
    """From Gradio 3.40 on each choice is a pair: what is shown, and the value."""
    choices = properties.get("choices")
    values = [one[-1] if isinstance(one, list) and one else one for one in choices or []]
    if not values:
        return {}
    if properties.get("allow_custom_value"):
        return {"type": ["string", "number"], "examples": values}
    return {"enum": values}


def _file(properties: Properties) -> Schema:
    if properties.get("file_count", "single") == "single":
        return _or_null(FILE_SCHEMA)
    return _or_null({"type": "array", "items": dict(FILE_SCHEMA)})


def _gallery(_properties: Properties) -> Schema:
    return _or_null({"type": "array", "items": dict(FILE_SCHEMA)})


def _table(properties: Properties) -> Schema:
    """Rows alone, or with their headers."""
    headers: Schema = {"type": "array"}
    whole: Schema = {"type": "object", "properties": {"headers": headers, "data": _ROWS}}
    rows: Schema = dict(_ROWS)
    names = properties.get("headers")
    if isinstance(names, list) and names:
        rows["description"] = "rows of: " + ", ".join(str(name) for name in names)
    return {"anyOf": [rows, {**whole, "required": ["data"]}, NULL]}


def _chat(_properties: Properties) -> Schema:
    return {"type": "array", "description": "the conversation so far, as a result has it"}


def _sketch() -> Schema:
    parts = {"image": dict(FILE_SCHEMA), "mask": dict(FILE_SCHEMA)}
    drawn: Schema = {"type": "object", "properties": parts, "required": ["image", "mask"]}
    return {"anyOf": [drawn, NULL]}


def _picture() -> Schema:
    layers: Schema = {"type": "array", "items": dict(FILE_SCHEMA)}
    one = _or_null(FILE_SCHEMA)
    parts = {"background": one, "layers": layers, "composite": one}
    drawn: Schema = {"type": "object", "properties": parts, "required": ["background"]}
    return {"anyOf": [drawn, dict(FILE_SCHEMA), NULL]}


def _anything(_properties: Properties) -> Schema:
    return {}


_SPECIAL: dict[str, Callable[[Properties], Schema]] = {
    "textbox": _text,
    "textarea": _text,
    "text": _text,
    "code": _text,
    "markdown": _text,
    "html": _text,
    "colorpicker": _text,
    "number": _number,
    "slider": _slider,
    "checkbox": _boolean,
    "dropdown": _dropdown,
    "radio": _choice,
    "checkboxgroup": _choices,
    "file": _file,
    "uploadbutton": _file,
    "gallery": _gallery,
    "dataframe": _table,
    "chatbot": _chat,
    "json": _anything,
}
