"""The public functions of a func file: which they are, what they take, what they give.

A public function is defined in its module, has no leading underscore, and its first and only
required parameter is named ``args``; a module's ``__all__`` wins over that rule.
"""

from __future__ import annotations

import base64
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import typing_extensions
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from onegai.errors import BadArguments
from onegai.media import sniff

Form = Literal["main", "raw", "other"]
"""How the result leaves: main in an envelope, raw bare; others by what they return."""


class BadFunction(Exception):
    """A public function that cannot be offered. ``line`` is 1-based."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True)
class Binary:
    """Bytes with their media type."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Outcome:
    """What a call gave. ``envelope``: show value and detail in one; else the value alone."""

    value: Any
    detail: Mapping[str, Any]
    envelope: bool

    def body(self) -> Binary:
        """The bare form: bytes as they are, text as text/plain, everything else as JSON."""
        if isinstance(self.value, Binary):
            return self.value
        if isinstance(self.value, str):
            return Binary(self.value.encode(), "text/plain; charset=utf-8")
        return Binary(json_bytes(self.value), "application/json")


@dataclass(frozen=True)
class Function:
    """One function as it is offered. ``adapter`` checks and converts its arguments."""

    name: str
    call: Callable[[Any], Any]
    adapter: TypeAdapter[Any]
    form: Form
    derived: bool = False

    @property
    def is_async(self) -> bool:
        """True when it runs on the event loop, else in a thread."""
        return inspect.iscoroutinefunction(self.call)

    @property
    def doc(self) -> str:
        """Its docstring."""
        return inspect.getdoc(self.call) or ""

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.doc.partition("\n")[0]

    def schema(self, prefix: str = "") -> dict[str, Any]:
        """JSON Schema of its arguments, referring to #/components/schemas/{prefix}{model}."""
        return self.adapter.json_schema(ref_template=f"#/components/schemas/{prefix}{{model}}")

    def arguments(self, app: str, given: Any) -> Any:
        """Check and convert. Raises BadArguments with a sentence and every field's error."""
        try:
            return self.adapter.validate_python(given)
        except ValidationError as error:
            errors = [
                {"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
                for item in error.errors(include_url=False, include_context=False)
            ]
            reason = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in errors)
            fields = self.schema().get("properties", {})
            do = f"{app}/{self.name} takes {', '.join(fields)}" if fields else "see /docs"
            raise BadArguments(reason=reason, do=do, detail={"errors": errors}) from None

    def outcome(self, result: Any) -> Outcome:
        """Sort a result into value and detail by the rules of docs/functions."""
        value, detail = _sort(result)
        if self.form == "main" and isinstance(value, Binary):
            detail = {"media_type": value.media_type, "size": len(value.content), **detail}
            value = base64.b64encode(value.content).decode()
        bare = self.form == "raw" or (self.form == "other" and isinstance(value, Binary))
        return Outcome(value, detail, envelope=not bare)


def json_bytes(value: Any) -> bytes:
    """JSON of results: models, dataclasses, paths and dates too; bytes as base64; NaN as null."""
    return to_json(value, bytes_mode="base64", inf_nan_mode="null", fallback=str)


def public_functions(module: ModuleType) -> dict[str, Function]:
    """The functions of a loaded module, main and raw derived from each other.

    Raises BadFunction when ``__all__`` names something that cannot be one, or an annotation cannot
    be made into a schema.
    """
    found = {name: _function(name, call) for name, call in _candidates(module).items()}
    pairs: tuple[tuple[Form, Form], ...] = (("raw", "main"), ("main", "raw"))
    for form, source in pairs:
        if form not in found and source in found:
            found[form] = replace(found[source], name=form, form=form, derived=True)
    return found


def _candidates(module: ModuleType) -> dict[str, Callable[..., Any]]:
    if "__all__" in vars(module):
        named: dict[str, Callable[..., Any]] = {}
        for name in module.__all__:
            value = getattr(module, name, None)
            if not inspect.isfunction(value):
                raise BadFunction(f"__all__ names {name!r}, which is no function here", None)
            if not _takes_args(value):
                raise BadFunction(
                    f"{name} must have one required parameter, named args", _line(value)
                )
            named[name] = value
        return named
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and _takes_args(value)
    }


def _takes_args(function: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p for p in parameters if p.default is p.empty and p.kind not in variadic]
    return (
        bool(parameters) and [p.name for p in required] == ["args"] and parameters[0].name == "args"
    )


def _function(name: str, call: Callable[..., Any]) -> Function:
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise BadFunction(
            f"{name} is a generator; streamed functions are not there yet", _line(call)
        )
    form: Form = "main" if name == "main" else "raw" if name == "raw" else "other"
    try:
        hint = typing.get_type_hints(call, include_extras=True).get("args", dict[str, Any])
        adapter = TypeAdapter(_usable(hint))
        if adapter.json_schema().get("type", "object") != "object":
            raise TypeError("args must be a dict, a pydantic model, a TypedDict or a dataclass")
    except Exception as error:  # noqa: BLE001 - the annotations are the user's code
        reason = str(error).partition("\n")[0]
        raise BadFunction(
            f"{name}: the type of args is not usable: {reason}", _line(call)
        ) from None
    return Function(name, call, adapter, form)


def _usable(hint: Any) -> Any:
    """``dict`` takes anything; typing's TypedDict becomes the one pydantic needs before 3.12."""
    if hint is dict or hint is Any:
        return dict[str, Any]
    if sys.version_info < (3, 12) and typing.is_typeddict(hint):
        fields = {
            key: kind if key in hint.__required_keys__ else typing_extensions.NotRequired[kind]
            for key, kind in typing.get_type_hints(hint).items()
        }
        return typing_extensions.TypedDict(hint.__name__, fields)  # type: ignore[operator]
    return hint


def _line(call: Callable[..., Any]) -> int | None:
    code = getattr(call, "__code__", None)
    return code.co_firstlineno if code is not None else None


def _sort(result: Any) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(result, tuple) and len(result) == 2:
        first, second = result
        if isinstance(second, dict):
            return _sort(first)[0], second
        if isinstance(first, bytes | bytearray | Path) and isinstance(second, str):
            return Binary(_content(first), second), {}
    if isinstance(result, bytes | bytearray | Path):
        content = _content(result)
        return Binary(content, sniff(content)), {}
    return result, {}


def _content(value: bytes | bytearray | Path) -> bytes:
    return value.read_bytes() if isinstance(value, Path) else bytes(value)
