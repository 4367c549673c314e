"""The public functions of a func file: which they are, what they take, what they give.

A public function is defined in its module, has no leading underscore, and its first and only
required parameter is named ``args``; a module's ``__all__`` wins over that rule.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import math
import sys
import time
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import typing_extensions
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json, to_jsonable_python

from onegai.errors import BadArguments
from onegai.files import pieces
from onegai.files.file import MARK, File, as_argument, find, is_media_type
from onegai.schema import Problem

Form = Literal["main", "raw", "other"]
"""How the result leaves: main in an envelope, raw bare; others by what they return."""


Keep = Callable[[File], dict[str, Any]]
"""Keeps a file of a result, and gives what stands for it in JSON."""

_JSON = "application/json"
_VALIDATOR = "Value error, "
"""What pydantic puts before the words of a validator."""
_FILES = (File, bytes, bytearray, Path)
_QUALIFIERS = (typing.Required, typing.NotRequired)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class TooLong(Exception):
    """A result is more than may leave."""


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
    """What a call gave, as objects and encoded (what has no JSON form is the function's fault).

    With ``envelope``, ``body`` is the value's JSON and goes into one; else it is all there is.
    ``file`` are the bytes that stand as base64 in that JSON, where they are the whole result.
    """

    value: Any
    detail: Mapping[str, Any]
    envelope: bool
    body: Binary
    detail_json: bytes = b"{}"
    file: Binary | None = None
    problem: Problem | None = None
    """Why this is not what the func file says now."""

    def despite(self, problem: Problem) -> Outcome:
        """The same, beside the problem: in ``detail``, unless the function has one of that name."""
        if "problem" in self.detail:
            return replace(self, problem=problem)
        told = problem.model_dump(exclude_defaults=True)
        rest = self.detail_json[1:]
        parts = (b'{"problem":', json_bytes(told), b"" if rest == b"}" else b",", rest)
        return replace(
            self,
            detail={"problem": told} | {**self.detail},
            detail_json=b"".join(parts),
            problem=problem,
        )


@dataclass(frozen=True)
class Function:
    """One function as it is offered. ``adapter`` checks and converts its arguments."""

    name: str
    call: Callable[[Any], Any]
    adapter: TypeAdapter[Any]
    form: Form
    derived: bool = False
    takes_files: bool = False
    """Is there a File in its arguments?"""

    @cached_property
    def is_async(self) -> bool:
        """True when it runs on the event loop, else in a thread."""
        return inspect.iscoroutinefunction(self.call)

    @cached_property
    def _schemas(self) -> dict[str, dict[str, Any]]:
        return {}

    @property
    def doc(self) -> str:
        """Its docstring."""
        return inspect.getdoc(self.call) or ""

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.doc.partition("\n")[0]

    def schema(self, models: str = "#/$defs/") -> dict[str, Any]:
        """JSON Schema of its arguments, whose models are referred to as {models}{name}.

        Made once, and the same object for all who ask: it must not be changed.
        """
        if (made := self._schemas.get(models)) is None:
            made = self.adapter.json_schema(ref_template=f"{models}{{model}}")
            self._schemas[models] = made
        return made

    def arguments(self, app: str, given: Any) -> Any:
        """Check and convert. Raises BadArguments with a sentence and every field's error."""
        try:
            return self.adapter.validate_python(given)
        except ValidationError as error:
            errors = [
                {
                    "field": ".".join(str(part) for part in item["loc"]),
                    "message": item["msg"].removeprefix(_VALIDATOR),
                }
                for item in error.errors(include_url=False, include_context=False)
            ]
            reason = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in errors)
            fields = self.schema().get("properties", {})
            do = f"{app}/{self.name} takes {', '.join(fields)}" if fields else "see /docs"
            raise BadArguments(reason=reason, do=do, detail={"errors": errors}) from None

    def outcome(self, result: Any, keep: Keep | None = None, most: float = math.inf) -> Outcome:
        """Sort a result into value and detail by the rules of docs/functions.

        Files inside of it go through ``keep``; without it they are base64. Raises TooLong for more
        than ``most`` bytes.
        """
        value, detail = _sort(result, most)
        file = None
        if self.form == "main" and isinstance(value, Binary):
            file = value
            detail = {"media_type": value.media_type, "size": len(value.content), **detail}
            value = pieces.to_base64(value.content).decode()
        if isinstance(value, str) and len(value) > most:
            raise TooLong
        if self.form == "raw" or isinstance(value, Binary):
            outcome = Outcome(value, detail, envelope=False, body=_bare(value, keep))
        else:
            body = Binary(json_bytes(value, keep), _JSON)
            detail_json = json_bytes(detail, keep) if detail else b"{}"
            outcome = Outcome(value, detail, True, body, detail_json, file)
        if len(outcome.body.content) + len(outcome.detail_json) > most:
            raise TooLong
        return outcome


def json_bytes(value: Any, keep: Keep | None = None) -> bytes:
    """JSON of results: models, dataclasses, paths and dates too; NaN as null.

    Files, bytes and paths of files go through ``keep``; without it bytes are base64.
    """

    def plain(value: Any) -> Any:
        return _plain(value, keep)

    if isinstance(value, str) and len(value) > pieces.PIECE:
        return pieces.json_of_text(value)
    try:
        text = json.dumps(
            value, default=plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (ValueError, TypeError):
        if keep is not None and any(find(value, _FILES)):
            value = _without_files(value, keep)
        return to_json(value, bytes_mode="base64", inf_nan_mode="null", fallback=str)
    return pieces.utf8(text)


def enveloped(result: bytes, detail: bytes) -> bytes:
    """The envelope of a success whose parts are JSON already."""
    return b"".join(envelope_parts(result, detail))


def envelope_parts(result: bytes, detail: bytes) -> tuple[bytes, bytes, bytes]:
    """The same, not put together."""
    head = b'{"status":0,"servertime":%f,"result":' % time.time()
    return head, result, b"".join((b',"detail":', detail, b"}"))


def _without_files(value: Any, keep: Keep) -> Any:
    """As ``_plain``, all the way down: for what the json module gives up at."""
    if isinstance(value, Mapping):
        return {key: _without_files(one, keep) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_files(one, keep) for one in value]
    if any(find(value, _FILES)):
        plain = _plain(value, keep)
        return plain if isinstance(value, _FILES) else _without_files(plain, keep)
    return value


def _plain(value: Any, keep: Keep | None) -> Any:
    """What the json module does not know, in terms that it knows."""
    if isinstance(value, File):
        return keep(value) if keep else as_argument(value)
    if isinstance(value, bytes | bytearray):
        return keep(File(bytes(value))) if keep else base64.b64encode(value).decode()
    if isinstance(value, Path):
        return keep(File(value)) if keep and value.is_file() else str(value)
    if keep is not None and any(find(value, _FILES)):
        # One step down; what lies there comes here again.
        if isinstance(value, BaseModel):
            return value.model_dump()
        if isinstance(value, set | frozenset):
            return list(value)
        if dataclasses.is_dataclass(value):
            return dict(vars(value))
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    return to_jsonable_python(value, bytes_mode="base64", fallback=str)


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


def _function(name: str, call: Callable[..., Any]) -> Function:
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise BadFunction(
            f"{name} is a generator; streamed functions are not there yet", _line(call)
        )
    form: Form = "main" if name == "main" else "raw" if name == "raw" else "other"
    try:
        hint = typing.get_type_hints(call, include_extras=True).get("args", dict[str, Any])
        adapter = TypeAdapter(_usable(hint))
        schema = adapter.json_schema()
        if not _is_object(schema, schema.get("$defs", {})):
            raise TypeError("args must be a dict, a pydantic model, a TypedDict or a dataclass")
    except Exception as error:  # noqa: BLE001 - the annotations are the user's code
        reason = str(error).partition("\n")[0]
        raise BadFunction(
            f"{name}: the type of args is not usable: {reason}", _line(call)
        ) from None
    return Function(name, call, adapter, form, takes_files=MARK in json.dumps(schema))


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


def _bare(value: Any, keep: Keep | None) -> Binary:
    """Bytes as they are, text as text/plain, everything else as JSON."""
    if isinstance(value, Binary):
        return value
    if isinstance(value, str):
        return Binary(pieces.utf8(value), "text/plain; charset=utf-8")
    return Binary(json_bytes(value, keep), _JSON)


def _sort(result: Any, most: float) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(result, tuple) and len(result) == 2:
        first, second = result
        if isinstance(second, dict):
            return _sort(first, most)[0], second
        if isinstance(first, _FILES) and isinstance(second, str):
            if not is_media_type(second):
                raise ValueError(f"{second!r} is no media type like 'audio/wav'")
            return Binary(_file(first, most).read(), second), {}
    if isinstance(result, _FILES):
        file = _file(result, most)
        return Binary(file.read(), file.media_type), {}
    return result, {}


def _file(value: File | bytes | bytearray | Path, most: float) -> File:
    """Raises TooLong, before anything of it is read."""
    if not isinstance(value, File):
        value = File(value if isinstance(value, Path) else bytes(value))
    if value.size > most:
        raise TooLong
    return value
