"""The schemas of an OpenAPI document as JSON Schema of draft 2020-12, for what is sent.

Those of 3.0 are converted. What a ``$ref`` names is converted once, whoever asks, and put into the
``$defs`` of each schema that needs it; so it may be inside itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import jsonschema_rs

from onegai.functions.described import FILE_SCHEMA

Schema = dict[str, Any]
Raw = Mapping[str, Any]

_TYPES = frozenset("string number integer boolean array object null".split())
_ONE = frozenset(
    "items additionalProperties not if then else contains propertyNames unevaluatedItems "
    "unevaluatedProperties contentSchema".split()
)
_SEVERAL = frozenset("allOf anyOf oneOf prefixItems".split())
_NAMED = frozenset("properties patternProperties dependentSchemas".split())
_AS_IS = frozenset(
    "type title description default enum const examples format deprecated required multipleOf "
    "maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems "
    "minItems uniqueItems maxContains minContains maxProperties minProperties dependentRequired "
    "contentEncoding contentMediaType writeOnly".split()
)
_TOLD = ("title", "description", "default", "examples", "deprecated")
"""What says something of a schema, and checks nothing."""
_MOST_INLINE = 10_000
"""Schemas of a document that are repeated for the files that may be in them."""
_MOST_DEFINED = 2_000_000
"""Definitions of all operations of a document, one of several counted each time."""
_UNIONS = ("allOf", "anyOf", "oneOf")


class Wrong(Exception):
    """What is wrong with a part of a document, in words."""


class Schemas:
    """Of one document. Nothing of it is changed."""

    def __init__(self, document: Raw) -> None:
        self._document = document
        self._old = str(document.get("openapi", "")).startswith("3.0")
        self._names: dict[str, str] = {}
        """Of definitions, by their references."""
        self._numbers: dict[str, int] = {}
        """By names that are taken: the last number that was given to one like it."""
        self._inline = 0
        self._defined = 0
        self._definitions: dict[str, Schema | bool | Wrong] = {}
        self._needs: dict[str, tuple[str, ...]] = {}
        """Of a definition: those that it refers to."""
        self._unconverted: list[tuple[str, str]] = []

    def at(self, reference: Any) -> Any:
        """What a reference names. Raises Wrong."""
        if not isinstance(reference, str):
            raise Wrong("a $ref is no text")
        if reference != "#" and not reference.startswith("#/"):
            raise Wrong(f"it refers to {reference[:100]}, which is outside of the document")
        value: Any = self._document
        for part in reference.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                raise Wrong(f"it refers to {reference[:100]}, which is not there")
        return value

    def followed(self, value: Any, what: str) -> Raw:
        """An object, or the one that it refers to. Raises Wrong."""
        seen: set[str] = set()
        while isinstance(value, Mapping) and "$ref" in value:
            reference = value["$ref"]
            value = self.at(reference)
            if reference in seen:
                raise Wrong(f"{what} refers to itself")
            seen.add(reference)
        if not isinstance(value, Mapping):
            raise Wrong(f"{what} is no object")
        return value

    def converted(self, raw: Any, *, files: bool = False) -> Schema:
        """A schema, whose references are to ``$defs``. Raises Wrong.

        ``files``: it is of a part of a form, where binary texts are files.
        """
        made = self._converted(raw, files)
        return made if isinstance(made, dict) else ({} if made else {"not": {}})

    def definitions(self, schema: Any) -> dict[str, Schema | bool]:
        """What the references of a converted schema name, and those of that. Raises Wrong."""
        self._convert_definitions()
        found: dict[str, Schema | bool] = {}
        pending = list(_referred(schema))
        while pending:
            if (name := pending.pop()) in found:
                continue
            definition = self._definitions[name]
            if isinstance(definition, Wrong):
                raise definition
            found[name] = definition
            self._defined += 1
            if self._defined > _MOST_DEFINED:
                raise Wrong("the schemas that the operations refer to are too many")
            if name not in self._needs:
                self._needs[name] = tuple(_referred(definition))
            pending += self._needs[name]
        return found

    # --- one schema --------------------------------------------------------------------------

    def _converted(self, raw: Any, files: bool) -> Schema | bool:
        if isinstance(raw, bool):
            return raw
        if not isinstance(raw, Mapping):
            raise Wrong("a schema is no object")
        if (reference := raw.get("$ref")) is not None:
            return self._reference(raw, reference, files)
        if files and _is_binary(raw):
            return {**FILE_SCHEMA, **{key: raw[key] for key in _TOLD[:2] if key in raw}}
        made = self._members(raw, files)
        _mend(made, raw)
        return _nullable(made) if raw.get("nullable") is True else made

    def _members(self, raw: Raw, files: bool) -> Schema:
        made: Schema = {}
        for key, value in raw.items():
            if key in _AS_IS:
                made[key] = value
            elif key == "items" and isinstance(value, list):
                made["prefixItems"] = [self._converted(one, files) for one in value]
            elif key in _ONE:
                made[key] = self._converted(value, files and key == "items")
            elif key in _SEVERAL and isinstance(value, list):
                made[key] = [self._converted(one, files) for one in value]
            elif key in _NAMED and isinstance(value, Mapping):
                made[key] = {name: self._converted(one, False) for name, one in value.items()}
            elif key == "example":
                made.setdefault("examples", [value])
        return made

    def _reference(self, raw: Raw, reference: Any, files: bool) -> Schema | bool:
        if files:
            target = self.followed(raw, "a schema")
            if _is_binary(target) or target.get("type") == "array":
                self._inline += 1
                if self._inline > _MOST_INLINE:
                    raise Wrong("its files stand in too many places")
                return self._converted(target, files)
        self.at(reference)
        name = self._names.get(reference)
        if name is None:
            name = self._names[reference] = self._new_name(reference)
            self._unconverted.append((name, reference))
        made: Schema = {"$ref": f"#/$defs/{name}"}
        beside = {key: value for key, value in raw.items() if key not in ("$ref", "nullable")}
        if self._old:  # they do not count there, but say something
            beside = {key: beside[key] for key in _TOLD if key in beside}
        rest = self._converted(beside, False)
        if isinstance(rest, dict):
            made.update(rest)
        return _nullable(made) if raw.get("nullable") is True else made

    def _new_name(self, reference: str) -> str:
        """Of the last word of a reference, and no other has it."""
        last = unquote(reference.rpartition("/")[2]).replace("~1", "/").replace("~0", "~")
        name = whole = re.sub(r"[^A-Za-z0-9_.-]+", "_", last) or "root"
        while name in self._numbers:
            self._numbers[whole] += 1
            name = f"{whole}_{self._numbers[whole]}"
        self._numbers[name] = 1
        return name

    def _convert_definitions(self) -> None:
        while self._unconverted:
            name, reference = self._unconverted.pop()
            try:
                self._definitions[name] = checked(self._converted(self.at(reference), False))
            except Wrong as wrong:
                self._definitions[name] = wrong


S = TypeVar("S", bound=Any)


def checked(schema: S) -> S:
    """Itself. Raises Wrong if it is no schema."""
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        at = "/".join(map(str, error.instance_path))
        raise Wrong(f"a schema is wrong: {at}: {error.message}"[:300]) from None
    return schema


def as_definitions(schema: Schema, definitions: Mapping[str, Any]) -> Schema:
    """The schema with what it refers to beside it."""
    return {**schema, "$defs": dict(definitions)} if definitions else schema


def _referred(schema: Any) -> Iterator[str]:
    """The names of the definitions that a converted schema refers to."""
    pending = [schema]
    while pending:
        part = pending.pop()
        if not isinstance(part, dict):
            continue
        if "$ref" in part:
            yield part["$ref"].removeprefix("#/$defs/")
        for key, value in part.items():
            if key in _ONE:
                pending.append(value)
            elif key in _SEVERAL:
                pending += value
            elif key in _NAMED:
                pending += value.values()


def _is_pattern(value: Any) -> bool:
    """Can it be checked here? Regular expressions are of many kinds, and the app knows its own."""
    try:
        jsonschema_rs.Draft202012Validator({"pattern": value})
    except jsonschema_rs.ValidationError:
        return False
    return True


def _is_binary(raw: Raw) -> bool:
    """Bytes as they are: 3.0 says so by ``format``, 3.1 by a media type without an encoding."""
    if raw.get("type") not in ("string", "file", None):
        return False
    if raw.get("type") == "file" or raw.get("format") == "binary":
        return True
    return "contentMediaType" in raw and "contentEncoding" not in raw


def _mend(made: Schema, raw: Raw) -> None:
    """What 3.0, or a careless generator, says otherwise than JSON Schema does."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and bound in made:
            made[exclusive] = made.pop(bound)
    if "discriminator" in raw and "oneOf" in made and "anyOf" not in made:
        # Which of them it is, is told by a field, and a value may fit others, too.
        made["anyOf"] = made.pop("oneOf")
    wrong = {
        "type": isinstance(made.get("type"), str) and made["type"] not in _TYPES,
        "examples": not isinstance(made.get("examples", []), list),
        "format": made.get("format") == "binary",
        "pattern": "pattern" in made and not _is_pattern(made["pattern"]),
        "patternProperties": not all(map(_is_pattern, made.get("patternProperties", ()))),
    }
    for key in [key for key, is_wrong in wrong.items() if is_wrong]:
        made.pop(key)
    needed = made.pop("required", None)
    needed = [name for name in needed if isinstance(name, str)] if isinstance(needed, list) else []
    fields = raw.get("properties")
    if isinstance(fields, Mapping):
        needed = [name for name in needed if not is_read_only(fields.get(name))]
    if needed:
        made["required"] = needed


def is_read_only(raw: Any) -> bool:
    """Does only the app say it?"""
    return isinstance(raw, Mapping) and raw.get("readOnly") is True


def _nullable(made: Schema) -> Schema:
    if isinstance(made.get("type"), str) and not any(
        key in made for key in (*_UNIONS, "$ref", "const")
    ):
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
        return made
    if not made.keys() - set(_TOLD):
        return made
    told = {key: made.pop(key) for key in _TOLD if key in made}
    return {**told, "anyOf": [made, {"type": "null"}]}
