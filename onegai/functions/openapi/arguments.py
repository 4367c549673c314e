"""What an operation takes, as one flat object of arguments.

An argument has the name that the app has for it. Where a name is that of several, the first of
path, query, header and cookie has it, and the others are ``{place}_{name}``. The fields of a body
are arguments if it is an object and none of them has the name of a parameter; else it is ``body``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from onegai.functions.openapi.operation import BODY, Body, Parameter, Part, Place, Written
from onegai.functions.openapi.schemas import (
    Raw,
    Schema,
    Schemas,
    Wrong,
    as_definitions,
    checked,
    is_read_only,
)

PLACES: tuple[str, ...] = get_args(Place)
_STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_NOT_ASKED = frozenset({"accept", "content-type", "authorization"})
"""Headers that no parameter is (OpenAPI 3.1, 4.8.12.2)."""
_MORE_THAN_FIELDS = frozenset(
    "anyOf oneOf not if patternProperties dependentSchemas dependentRequired propertyNames "
    "minProperties maxProperties const enum".split()
)
_JSON = "application/json"
_MULTIPART = "multipart/form-data"
_FORM = "application/x-www-form-urlencoded"
FILE: Schema = {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class Taken:
    """What an operation takes, and where it goes."""

    schema: Schema
    parameters: tuple[Parameter, ...]
    body: Body | None


@dataclass
class _Object:
    """The fields of a body's schema. ``rest``: the schema of others, None if there are none."""

    fields: dict[str, Any]
    needed: list[str]
    rest: Any


def arguments(
    schemas: Schemas, parameters: Sequence[Raw], body: Raw | None, added: frozenset[tuple[str, str]]
) -> Taken:
    """Of an operation whose parameters and body are these. Raises Wrong.

    ``added``: (place, lower-case name) of the parameters that its credentials are.
    """
    asked = [one for one in parameters if not _is_added(one, added)]
    for one in asked:
        if one.get("in") not in PLACES:
            raise Wrong(f"a parameter is in {str(one.get('in'))[:40]!r}")
    asked.sort(key=lambda one: PLACES.index(one["in"]))
    made = _body(schemas, body, asked) if body is not None else None
    properties: dict[str, Schema] = {}
    needed: list[str] = []
    taken: list[Parameter] = []
    reserved = {BODY} if made is not None and not made.body.flat else set()
    for one in asked:
        argument = _free(one, properties.keys() | reserved)
        schema, written = _parameter(schemas, one)
        properties[argument] = schema
        taken.append(Parameter(argument, one["name"], one["in"], written))
        if one["in"] == "path" or one.get("required") is True:
            needed.append(argument)
    rest: Any = False
    if made is not None:
        properties |= made.properties
        needed += made.needed
        rest = made.rest
    whole: Schema = {"type": "object", "properties": properties}
    if needed:
        whole["required"] = needed
    whole["additionalProperties"] = rest
    checked(whole)
    whole = as_definitions(whole, schemas.definitions(whole))
    return Taken(whole, tuple(taken), made.body if made else None)


def _is_added(parameter: Raw, added: Iterable[tuple[str, str]]) -> bool:
    name, place = str(parameter.get("name")), str(parameter.get("in"))
    if place == "header" and name.lower() in _NOT_ASKED:
        return True
    return (place, name.lower()) in added


def _free(parameter: Raw, taken: Iterable[str]) -> str:
    name: str = parameter["name"]
    if name in taken:
        name = f"{parameter['in']}_{name}"
    while name in taken:
        name += "_"
    return name


def _parameter(schemas: Schemas, raw: Raw) -> tuple[Schema, Written]:
    """Its schema, with what is told of it, and how it is written."""
    content = raw.get("content")
    as_json = isinstance(content, Mapping) and bool(content)
    given = next(iter(content.values())) if isinstance(content, Mapping) and content else raw
    schema = schemas.converted(given.get("schema", {}) if isinstance(given, Mapping) else {})
    places = _STYLES[raw["in"]]
    style = raw.get("style", places[0])
    if style not in places:
        raise Wrong(f"the parameter {raw['name']} has the style {str(style)[:40]!r}")
    explode = raw.get("explode", style in ("form", "deepObject"))
    written = Written(style, explode is True, as_json, raw.get("allowReserved") is True)
    return _told(schema, raw), written


def _told(schema: Schema, raw: Raw) -> Schema:
    told: Schema = {}
    if isinstance(raw.get("description"), str) and "description" not in schema:
        told["description"] = raw["description"]
    if raw.get("deprecated") is True:
        told["deprecated"] = True
    if "example" in raw and "examples" not in schema:
        told["examples"] = [raw["example"]]
    return {**schema, **told}


# --- the body --------------------------------------------------------------------------------


@dataclass
class _Body:
    """A body and the arguments that it is."""

    body: Body
    properties: dict[str, Schema]
    needed: list[str]
    rest: Any = False


def _body(schemas: Schemas, raw: Raw, parameters: Sequence[Raw]) -> _Body | None:
    content = raw.get("content")
    if not isinstance(content, Mapping) or not content:
        return None
    kind, media_type, media = _chosen(content)
    schema = media.get("schema", {}) if isinstance(media, Mapping) else {}
    if kind in ("file", "text"):
        described = schemas.converted(FILE, files=True) if kind == "file" else {"type": "string"}
        return _whole(Body(kind, media_type), described, raw)
    files = kind == "multipart"
    fields = _fields(schemas, schema)
    parts = _parts(media, fields, kind)
    names = {one["name"] for one in parameters}
    if fields is not None and _may_be_flat(fields, raw, names):
        properties = {
            name: schemas.converted(one, files=files) for name, one in fields.fields.items()
        }
        rest = fields.rest if fields.rest in (None, True) else schemas.converted(fields.rest)
        body = Body(kind, media_type, True, frozenset(properties), rest is not None, parts)
        return _Body(body, properties, fields.needed, False if rest is None else rest)
    if files and fields is not None:
        described = {
            "type": "object",
            "properties": {
                n: schemas.converted(one, files=True) for n, one in fields.fields.items()
            },
            "required": fields.needed,
            "additionalProperties": fields.rest is not None,
        }
    else:
        described = schemas.converted(schema)
    return _whole(Body(kind, media_type, parts=parts), described, raw)


def _whole(body: Body, schema: Schema, raw: Raw) -> _Body:
    needed = [BODY] if raw.get("required") is True else []
    return _Body(body, {BODY: _told(schema, raw)}, needed)


def _may_be_flat(fields: _Object, raw: Raw, parameters: set[str]) -> bool:
    if fields.fields.keys() & parameters:
        return False
    if parameters and fields.rest is not None and not fields.fields:
        return False  # any name may be a field
    return raw.get("required") is not False or not fields.needed


def _chosen(content: Mapping[str, Any]) -> tuple[Any, str, Any]:
    """Of the media types of a body the one that is sent: kind, media type, what is told of it."""
    found: dict[str, tuple[str, Any]] = {}
    for name, media in content.items():
        kind = _kind(str(name), media)
        found.setdefault(kind, (str(name).partition(";")[0].strip().lower(), media))
    for kind in ("json", "multipart", "form", "file", "text"):
        if kind in found:
            media_type, media = found[kind]
            if kind == "json" and "*" in media_type:
                media_type = _JSON
            return kind, media_type, media
    raise Wrong("its body has no media type that can be sent")


def _kind(name: str, media: Any) -> str:
    media_type = name.partition(";")[0].strip().lower()
    schema = media.get("schema") if isinstance(media, Mapping) else None
    if media_type == _JSON or media_type.endswith("+json"):
        return "json"
    if media_type == "*/*":
        plain = isinstance(schema, Mapping) and schema.get("format") != "binary" and schema
        return "json" if plain else "file"
    if media_type == _FORM:
        return "form"
    if media_type.startswith("multipart/"):
        return "multipart" if media_type in (_MULTIPART, "multipart/*") else "other"
    if media_type.startswith("text/") or media_type.endswith(("/xml", "+xml", "/yaml")):
        return "text"
    return "file"


def _fields(schemas: Schemas, raw: Any) -> _Object | None:
    """The fields of an object; None for what is none, or cannot be said by its fields alone."""
    found = _merged(schemas, raw, set())
    if found is not None:
        for name in found.needed:
            found.fields.setdefault(name, {})
    return found


def _merged(schemas: Schemas, raw: Any, seen: set[str]) -> _Object | None:
    if not isinstance(raw, Mapping):
        return None
    if (reference := raw.get("$ref")) is not None:
        target = schemas.at(reference)
        return None if reference in seen else _merged(schemas, target, seen | {reference})
    if raw.keys() & _MORE_THAN_FIELDS or raw.get("nullable") is True:
        return None
    found = _Object({}, [], None)
    parts = raw.get("allOf", [])
    is_object = "properties" in raw or "required" in raw or bool(parts)
    if raw.get("type", "object" if is_object else None) not in ("object", ["object"]):
        return None
    for part in parts if isinstance(parts, list) else []:
        inner = _merged(schemas, part, seen)
        if inner is None:
            return None
        _add(found, inner.fields, inner.needed, inner.rest if inner.fields else None)
    own = raw.get("properties", {})
    if not isinstance(own, Mapping):
        return None
    needed = raw.get("required")
    rest = raw.get("additionalProperties", not own and not parts and not needed)
    rest = None if rest is False else True if rest == {} else rest
    _add(found, own, needed if isinstance(needed, list) else [], rest)
    return found


def _add(found: _Object, fields: Raw, needed: Sequence[Any], rest: Any) -> None:
    for name, one in fields.items():
        if is_read_only(one):
            continue
        found.fields[name] = {"allOf": [found.fields[name], one]} if name in found.fields else one
    found.needed += [
        name
        for name in needed
        if isinstance(name, str) and name not in found.needed and not is_read_only(fields.get(name))
    ]
    found.rest = rest if rest is not None else found.rest


def _parts(media: Any, fields: _Object | None, kind: str) -> dict[str, Part]:
    """How the fields of a form are sent, where the document says something of it."""
    if kind not in ("form", "multipart") or not isinstance(media, Mapping):
        return {}
    if fields is None:
        raise Wrong("a form is described by something else than its fields")
    said = media.get("encoding", {})
    found = {}
    for name, one in said.items() if isinstance(said, Mapping) else ():
        if not isinstance(one, Mapping):
            continue
        media_type = str(one.get("contentType", "")).partition(",")[0].strip()
        written = None
        if "style" in one or "explode" in one:
            style = one.get("style", "form")
            written = Written(str(style), one.get("explode", style == "form") is True)
        found[name] = Part("" if "*" in media_type else media_type, written)
    return found
