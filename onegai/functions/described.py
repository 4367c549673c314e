"""Arguments that a JSON Schema describes, as it stands: no code is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind as Kinds
from pydantic import TypeAdapter

from onegai.files.file import MARK, File, from_argument
from onegai.functions.function import Unfit

FILE_SCHEMA: dict[str, Any] = TypeAdapter(File).json_schema()
"""Of an argument that is a file, in any of the forms that a call takes."""

_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
_PLACEHOLDER = ""
"""What stands for a file while all the rest is checked."""
_MOST_ERRORS = 20


class Described:
    """It is a ``function.Accepts``: a schema of an object, in draft 2020-12.

    Where ``FILE_SCHEMA`` stands in it, callers may send a file in any form, and ``check`` gives a
    File. A property that is not given gets its ``default``, at the top only. Raises ValueError for
    what is no such schema.
    """

    def __init__(self, schema: Mapping[str, Any], *, plain_definitions: bool = False) -> None:
        """``plain_definitions``: there is no file in ``$defs``, and nobody need look for one."""
        if schema.get("type") != "object":
            raise ValueError("the arguments are not described as an object")
        self._schema = dict(schema)
        self._defaults = {
            name: part["default"]
            for name, part in schema.get("properties", {}).items()
            if isinstance(part, Mapping) and "default" in part
        }
        self._definitions: Mapping[str, Any] = schema.get("$defs", {})
        self._plain_definitions = plain_definitions
        self._with_file: dict[int, bool] = {}
        self.takes_files = self.has_file(self._schema)

    def schema(self) -> dict[str, Any]:
        """See ``function.Accepts``."""
        return self._schema

    def check(self, given: Any) -> dict[str, Any]:
        """See ``function.Accepts``. What is not described is as it was given."""
        if not isinstance(given, Mapping):
            raise Unfit([{"field": "", "message": "the arguments must be an object"}])
        arguments = {**self._defaults, **given}
        plain, errors = arguments, list[dict[str, str]]()
        if self.takes_files:
            taken = _Files(self)
            arguments, plain = taken.of(self._schema, arguments, ())
            errors += taken.errors
        try:
            for error in self._validator.iter_errors(plain):
                errors.append(_told(error))
                if len(errors) >= _MOST_ERRORS:
                    break
        except ValueError as error:  # what has no JSON: a number that is none, an object of Python
            errors.append({"field": "", "message": str(error)})
        if errors:
            raise Unfit(errors)
        return arguments

    @cached_property
    def _validator(self) -> jsonschema_rs.Draft202012Validator:
        """Made when it is first needed: an app may have hundreds of functions."""
        return jsonschema_rs.Draft202012Validator(_without_files(self._schema))

    def resolved(self, part: Any) -> Any:
        """The schema that a reference to ``$defs`` means."""
        seen = 0
        while isinstance(part, Mapping) and isinstance(reference := part.get("$ref"), str):
            part = self._definitions.get(reference.removeprefix("#/$defs/"))
            if (seen := seen + 1) > len(self._definitions):
                return None
        return part

    def has_file(self, part: Any) -> bool:
        """Is there a file in this part of the schema, however deep?"""
        if self._plain_definitions and isinstance(part, Mapping) and "$ref" in part:
            return False
        part = self.resolved(part)
        if not isinstance(part, Mapping):
            return False
        if MARK in part:
            return True
        known = self._with_file.get(id(part))
        if known is None:
            self._with_file[id(part)] = False  # where it contains itself
            known = any(self.has_file(inner) for inner in _inside(part))
            self._with_file[id(part)] = known
        return known


class _Files:
    """Takes the files out of arguments: gives them with Files, and with placeholders."""

    def __init__(self, described: Described) -> None:
        self.errors: list[dict[str, str]] = []
        self._described = described

    def of(self, part: Any, value: Any, at: tuple[str, ...]) -> tuple[Any, Any]:
        part = self._described.resolved(part)
        if not isinstance(part, Mapping) or not self._described.has_file(part):
            return value, value
        if MARK in part:
            return self._file(value, at)
        for word in _ALTERNATIVES:
            for choice in _likeliest_first(part.get(word, ()), value):
                if self._described.has_file(choice) and not _is_other(choice, value):
                    return self.of(choice, value, at)
        if isinstance(value, Mapping):
            properties, rest = part.get("properties", {}), part.get("additionalProperties")
            pairs = {
                key: self.of(properties.get(key, rest), item, (*at, str(key)))
                for key, item in value.items()
            }
            return {k: v[0] for k, v in pairs.items()}, {k: v[1] for k, v in pairs.items()}
        if isinstance(value, list | tuple):
            first = part.get("prefixItems", [])
            items = [
                self.of(
                    first[index] if index < len(first) else part.get("items"),
                    item,
                    (*at, str(index)),
                )
                for index, item in enumerate(value)
            ]
            return [item[0] for item in items], [item[1] for item in items]
        return value, value

    def _file(self, value: Any, at: tuple[str, ...]) -> tuple[Any, Any]:
        try:
            return from_argument(value), _PLACEHOLDER
        except ValueError as error:
            self.errors.append({"field": ".".join(at), "message": str(error)})
            return value, _PLACEHOLDER


def _likeliest_first(choices: Sequence[Any], value: Any) -> Sequence[Any]:
    """An object may be a file, or have files in it: its keys tell."""
    if not isinstance(value, Mapping):
        return choices
    is_file = value.keys() <= {"base64", "name"} or value.keys() == {"job"}
    return sorted(choices, key=lambda one: (isinstance(one, Mapping) and MARK in one) != is_file)


def _is_other(choice: Any, value: Any) -> bool:
    """Is this value meant for another choice than one with a file in it?

    None never is a file; a list is one only where there may be several.
    """
    if value is None:
        return True
    if isinstance(value, list | tuple):
        return isinstance(choice, Mapping) and MARK in choice
    if isinstance(value, str | bytes | bytearray | Path | File):
        return isinstance(choice, Mapping) and choice.get("type") in ("array", "object")
    return False


def _inside(part: Mapping[str, Any]) -> Iterable[Any]:
    """The schemas in a schema that say what values inside of it are, or what else it may be."""
    for word in ("properties", "patternProperties"):
        yield from part.get(word, {}).values()
    for word in ("items", "additionalProperties"):
        if word in part:
            yield part[word]
    for word in (*_ALTERNATIVES, "prefixItems"):
        yield from part.get(word, ())


def _without_files(part: Any) -> Any:
    """The schema, in which anything may stand where a file is to."""
    if isinstance(part, Mapping):
        if MARK in part:
            return {}
        return {key: _without_files(inner) for key, inner in part.items()}
    return [_without_files(inner) for inner in part] if isinstance(part, list) else part


def _told(error: jsonschema_rs.ValidationError) -> dict[str, str]:
    """A field and what is wrong with it, in the words that pydantic has for the same."""
    at, message = [str(step) for step in error.instance_path], error.message
    kind = error.kind
    if isinstance(kind, Kinds.Required):
        at.append(kind.property)
        message = "Field required"
    elif isinstance(kind, Kinds.AdditionalProperties):
        unexpected = kind.unexpected
        at.append(unexpected[0])
        message = "there is no such argument"
        if len(unexpected) > 1:
            message += f", and none named {', '.join(unexpected[1:])}"
    return {"field": ".".join(at), "message": message}
