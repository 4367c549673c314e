"""What a function takes, from the JSON Schema of its arguments, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from onegai.cli.output import table

Schema = Mapping[str, Any]
DEEPEST = 3
"""How far a type is followed into lists and alternatives: it may name itself."""


def explained(function: str, schema: Schema) -> str:
    """The arguments of a function, one a line; ``function`` as it is called."""
    from onegai.files.file import file_fields

    files = file_fields(schema)
    rows = [
        (
            f"{name}=@FILE" if name in files else name,
            "file" if name in files else _kind(field, schema),
            "required" if required else _default(field),
            str(field.get("description", "")),
        )
        for name, field, required in _fields(schema, schema)
    ]
    if not rows:
        return f"{function} takes {'any argument' if _takes_anything(schema) else 'no argument'}"
    return f"{function} takes:\n\n{table(('ARGUMENT', 'TYPE', 'DEFAULT', ''), rows)}"


def _fields(part: Schema, schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Name, schema, and whether it must be given; of all forms where there are several."""
    part = _resolved(part, schema)
    for choice in _choices(part):
        yield from _fields(choice, schema)
    for name, field in part.get("properties", {}).items():
        yield name, {**_resolved(field, schema), **field}, name in part.get("required", ())


def _kind(field: Schema, schema: Schema, depth: int = 0) -> str:
    if depth > DEEPEST:
        return "anything"
    field = {**_resolved(field, schema), **field}
    if "enum" in field:
        return "|".join(map(_shown, field["enum"]))
    if "const" in field:
        return _shown(field["const"])
    if choices := _choices(field):
        kinds = (_kind(choice, schema, depth + 1) for choice in choices)
        return " or ".join(kind for kind in dict.fromkeys(kinds) if kind != "null")
    kinds = field.get("type", "anything")
    if isinstance(kinds, list):
        return " or ".join(kind for kind in kinds if kind != "null")
    kind = str(kinds)
    if kind == "array" and field.get("items"):
        kind = f"list of {_kind(field['items'], schema, depth + 1)}"
    bounds = [
        f"{sign} {field[key]}"
        for key, sign in (
            *(("minimum", ">="), ("exclusiveMinimum", ">")),
            *(("maximum", "<="), ("exclusiveMaximum", "<")),
        )
        if key in field
    ]
    return " ".join([kind, *bounds])


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default is None else _shown(default)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _choices(part: Schema) -> list[Schema]:
    return [choice for key in ("anyOf", "oneOf", "allOf") for choice in part.get(key, ())]


def _resolved(part: Schema, schema: Schema) -> Schema:
    if (reference := part.get("$ref")) is None:
        return part
    return dict(schema.get("$defs", {}).get(reference.rpartition("/")[2], {}))


def _takes_anything(schema: Schema) -> bool:
    return bool(schema.get("additionalProperties", "properties" not in schema))
