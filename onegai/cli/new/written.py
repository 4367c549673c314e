"""A func file written from what an app tells of itself, for whoever wants to change it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from onegai.files.file import MARK
from onegai.schema import FunctionInfo

_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_LIMITS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
_DEEPEST = 4
"""How far a type is followed: it may name itself."""


def func_file(app: str, functions: Sequence[FunctionInfo]) -> str:
    """Its source: each function with a model of its arguments, which asks the app."""
    writer = _Writer()
    parts = [writer.function(app, info) for info in functions if not info.derived]
    head = [
        f'"""{app}: what people can call, written from what it tells of itself.',
        "",
        "Change it as you like: with this file, what is in it can be called, and nothing else.",
        '"""',
        "",
        *writer.imports(),
        "",
        f'{_handle(app)} = app_functions("{app}")',
    ]
    return "\n".join(head) + "\n\n\n" + "\n\n\n".join(parts) + "\n"


@dataclass
class _Writer:
    """Notes which names the file has to import."""

    typing: set[str] = field(default_factory=lambda: {"Any"})
    has_file: bool = False

    def imports(self) -> list[str]:
        names = ", ".join(sorted(self.typing))
        sdk = "File, app_functions" if self.has_file else "app_functions"
        return [
            f"from typing import {names}",
            "",
            "from pydantic import BaseModel, Field",
            "",
            f"from onegai.sdk import {sdk}",
        ]

    def function(self, app: str, info: FunctionInfo) -> str:
        schema = info.arguments
        model = "".join(part.capitalize() for part in info.name.split("_") if part) or "Arguments"
        model = (
            f"{model}Args" if model in ("Any", "BaseModel", "Field", "File", "Literal") else model
        )
        required = set(schema.get("required", ()))
        lines = [
            self._field(name, part, schema, required=name in required)
            for name, part in schema.get("properties", {}).items()
        ]
        about = info.about.strip() or f"{info.name} of {app}."
        return "\n".join(
            [
                f"class {model}(BaseModel):",
                *(lines or ["    pass"]),
                "",
                "",
                f"def {info.name}(args: {model}) -> Any:",
                *_docstring(about),
                "    given = args.model_dump(by_alias=True, exclude_unset=True)",
                f"    return {_handle(app)}.{info.name}(given)",
            ]
        )

    def _field(self, name: str, part: Any, schema: Mapping[str, Any], *, required: bool) -> str:
        part = _resolved(part, schema)
        kind = self._kind(part, schema)
        options: list[str] = []
        shown = _as_name(name)
        if not required:
            options.append(f"default={part.get('default')!r}")
            if part.get("default") is None and "None" not in kind and kind != "Any":
                kind += " | None"
        options += [
            f"{ours}={part[theirs]!r}"
            for theirs, ours in _LIMITS.items()
            if theirs in part and kind.split(" ")[0] in _TAKES[ours]
        ]
        if shown != name:
            options.append(f"alias={name!r}")
        if about := str(part.get("description") or part.get("title") or ""):
            options.append(f"description={about!r}")
        if not options:
            return f"    {shown}: {kind}"
        return f"    {shown}: {kind} = Field({', '.join(options)})"

    def _kind(self, part: Any, schema: Mapping[str, Any], depth: int = 0) -> str:
        part = _resolved(part, schema)
        if not isinstance(part, Mapping) or depth > _DEEPEST:
            return "Any"
        if MARK in part:
            self.has_file = True
            return "File"
        if values := part.get("enum"):
            self.typing.add("Literal")
            return f"Literal[{', '.join(map(repr, values))}]"
        choices = [choice for word in ("anyOf", "oneOf") for choice in part.get(word, ())]
        if choices:
            kinds = list(dict.fromkeys(self._kind(one, schema, depth + 1) for one in choices))
            return "Any" if "Any" in kinds else " | ".join(kinds)
        kind = part.get("type")
        if isinstance(kind, list):
            return " | ".join(_TYPES.get(one, "Any") for one in kind)
        if kind == "array":
            return f"list[{self._kind(part.get('items'), schema, depth + 1)}]"
        if kind == "object":
            return "dict[str, Any]"
        return _TYPES.get(str(kind), "Any")


_TAKEN = frozenset({"Any", "BaseModel", "Field", "File", "Literal"})
_NUMBERS = ("int", "float")
_TAKES: Mapping[str, Iterable[str]] = {
    "ge": _NUMBERS,
    "le": _NUMBERS,
    "gt": _NUMBERS,
    "lt": _NUMBERS,
    "min_length": ("str",),
    "max_length": ("str",),
    "pattern": ("str",),
}


def _resolved(part: Any, schema: Mapping[str, Any]) -> Any:
    seen = 0
    while isinstance(part, Mapping) and isinstance(reference := part.get("$ref"), str):
        part = schema.get("$defs", {}).get(reference.rpartition("/")[2], {})
        if (seen := seen + 1) > _DEEPEST:
            return {}
    return part


def _docstring(about: str) -> list[str]:
    text = about.replace("\\", "\\\\").replace('"""', "'''")
    lines = text.splitlines()
    lines[0] = f'    """{lines[0]}'
    lines[1:] = [f"    {line}".rstrip() for line in lines[1:]]
    if len(lines) == 1:
        return [f'{lines[0]}"""' if not lines[0].endswith('"') else f'{lines[0]} """']
    return [*lines, '    """']


def _as_name(text: str) -> str:
    """The name of a field for it; what Python or pydantic have for themselves is changed."""
    name = re.sub(r"\W+", "_", text).strip("_") or "value"
    if keyword.iskeyword(name) or name.startswith("model_") or hasattr(BaseModel, name):
        return f"{name}_"
    return f"a_{name}" if name[0].isdigit() else name


def _handle(app: str) -> str:
    return f"{app}_itself"
