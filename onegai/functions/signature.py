"""Functions written in Python: which of a module are public, and what they take.

A public function is defined in its module, has no leading underscore, and its first and only
required parameter is named ``args``; a module's ``__all__`` wins over that rule.
"""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import typing_extensions
from pydantic import TypeAdapter, ValidationError

from onegai.files.file import MARK
from onegai.functions.function import (
    Form,
    Function,
    LeaseMode,
    Unfit,
    lease_of,
    with_derived,
)

_VALIDATOR = "Value error, "
"""What pydantic puts before the words of a validator."""
_QUALIFIERS = (typing.Required, typing.NotRequired)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class BadFunction(Exception):
    """A public function that cannot be offered. ``line`` is 1-based."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class Typed:
    """Arguments of a Python type: a pydantic model, a TypedDict, a dataclass or a dict.

    It is a ``function.Accepts``. Raises TypeError for other types, besides what pydantic raises.
    """

    def __init__(self, hint: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(_usable(hint))
        self._schema = self._adapter.json_schema()
        if not _is_object(self._schema, self._schema.get("$defs", {})):
            raise TypeError("args must be a dict, a pydantic model, a TypedDict or a dataclass")
        self.takes_files = MARK in json.dumps(self._schema)

    def schema(self) -> dict[str, Any]:
        """See ``function.Accepts``."""
        return self._schema

    def check(self, given: Any) -> Any:
        """See ``function.Accepts``."""
        try:
            return self._adapter.validate_python(given)
        except ValidationError as error:
            raise Unfit(
                [
                    {
                        "field": ".".join(str(part) for part in item["loc"]),
                        "message": item["msg"].removeprefix(_VALIDATOR),
                    }
                    for item in error.errors(include_url=False, include_context=False)
                ]
            ) from None


def public_functions(
    module: ModuleType, app: str = "", lease: LeaseMode = "none"
) -> dict[str, Function]:
    """The functions of a loaded module, main and raw derived from each other.

    Raises BadFunction when ``__all__`` names something that cannot be one, or an annotation cannot
    be made into a schema.
    """
    return with_derived(
        {name: _function(app, name, call, lease) for name, call in _candidates(module).items()}
    )


def _candidates(module: ModuleType) -> dict[str, Callable[..., Any]]:
    if "__all__" in vars(module):
        named: dict[str, Callable[..., Any]] = {}
        for name in module.__all__:
            value = inspect.unwrap(getattr(module, name, None))  # type: ignore[arg-type]
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
    if not parameters or parameters[0].kind not in _POSITIONAL:
        return False
    required = [p for p in parameters if p.default is p.empty and p.kind not in _VARIADIC]
    return parameters[0].name == "args" and [p.name for p in required] == ["args"]


def _function(app: str, name: str, call: Callable[..., Any], lease: LeaseMode) -> Function:
    try:
        hints = typing.get_type_hints(call, include_extras=True)
        accepts = Typed(hints.get("args", dict[str, Any]))
    except Exception as error:  # noqa: BLE001 - the annotations are the user's code
        reason = str(error).partition("\n")[0]
        raise BadFunction(
            f"{name}: the type of args is not usable: {reason}", _line(call)
        ) from None
    form: Form = "main" if name == "main" else "raw" if name == "raw" else "other"
    on_loop = inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
    piece = next(iter(typing.get_args(hints.get("return"))), None)
    return Function(
        app=app,
        name=name,
        doc=inspect.getdoc(call) or "",
        form=form,
        accepts=accepts,
        run=call,
        where="loop" if on_loop else "thread",
        lease=lease_of(call, lease),
        streams=inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call),
        yields=piece if piece in (str, bytes) else None,
    )


def _usable(hint: Any) -> Any:
    """``dict`` takes anything; typing's TypedDict becomes the one pydantic needs before 3.12."""
    if hint is dict or hint is Any:
        return dict[str, Any]
    if sys.version_info < (3, 12) and typing.is_typeddict(hint):
        fields = {
            key: kind
            if key in hint.__required_keys__ or typing.get_origin(kind) in _QUALIFIERS
            else typing.NotRequired[kind]
            for key, kind in typing.get_type_hints(hint, include_extras=True).items()
        }
        return typing_extensions.TypedDict(hint.__name__, fields)  # type: ignore[operator]
    return hint


def _is_object(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    """Does every value that this JSON Schema allows stand in braces?"""
    if (reference := schema.get("$ref")) is not None:
        return _is_object(definitions[reference.rpartition("/")[2]], definitions)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return all(_is_object(choice, definitions) for choice in choices)
    return schema.get("type") == "object"


def _line(call: Callable[..., Any]) -> int | None:
    code = getattr(call, "__code__", None)
    return code.co_firstlineno if code is not None else None
