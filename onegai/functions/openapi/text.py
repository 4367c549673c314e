"""The text of an OpenAPI document, JSON or YAML, as plain objects with limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 32 << 20
"""Of a document. The largest public ones have 12 MB."""
MOST_YAML_BYTES = 4 << 20
"""Of one in YAML, which takes fifty times as long to read as JSON."""
MOST_VALUES = 4_000_000
"""Of a document, those that an alias of YAML repeats counted each time."""
DEEPEST = 100
"""How far its objects and lists may stand inside each other."""


class NoDocument(Exception):
    """Why a text is no OpenAPI document. ``close``: it is meant to be one."""

    def __init__(self, reason: str, *, close: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close = close


def parsed(content: bytes) -> dict[str, Any]:
    """The document in a text, and its version is 3. Raises NoDocument."""
    if len(content) > MOST_BYTES:
        raise NoDocument(f"it is larger than {MOST_BYTES >> 20} MiB")
    document = _value(content)
    if not isinstance(document, dict):
        raise NoDocument("it is no OpenAPI document", close=False)
    version = document.get("openapi")
    if version is None and "swagger" in document:
        raise NoDocument(f"it is of Swagger {str(document['swagger'])[:10]}, not of OpenAPI 3")
    if version is None:
        raise NoDocument("it is no OpenAPI document", close=False)
    if not isinstance(version, str) or not version.startswith("3."):
        raise NoDocument(f"it is of OpenAPI {str(version)[:10]}, and 3.0 and 3.1 are read")
    return document


def _value(content: bytes) -> Any:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NoDocument("it is no text in UTF-8", close=False) from None
    start = text.lstrip()[:1]
    if not start:
        raise NoDocument("it is empty", close=False)
    if start == "<":
        raise NoDocument("it is HTML or XML", close=False)
    try:
        value = json.loads(text) if start in "{[" else _of_yaml(text)
    except RecursionError:
        raise NoDocument("its objects stand too deep inside each other") from None
    except ValueError as error:
        raise NoDocument(f"it is not JSON: {error}") from None
    _check(value)
    return value


def _of_yaml(text: str) -> Any:
    if len(text) > MOST_YAML_BYTES:
        raise NoDocument(f"it is YAML of more than {MOST_YAML_BYTES >> 20} MiB; give it as JSON")
    from onegai.functions.openapi.yaml_text import (
        of_yaml,  # few have one, and its import takes a while
    )

    try:
        value = of_yaml(text)
    except ValueError as error:
        raise NoDocument(f"it is neither JSON nor YAML: {error}", close=False) from None
    _check(value)
    return _with_texts(value)


def _with_texts(value: Any) -> Any:
    """Keys are texts, as in JSON: ``200:`` is one."""
    if isinstance(value, dict):
        return {_key(key): _with_texts(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_texts(one) for one in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise NoDocument(f"it has a {type(value).__name__}, which JSON has not")


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key, default=str)


def _check(document: Any) -> None:
    """Raises NoDocument for one that is too large when all of it is written out, or endless."""
    count = 0
    pending = [(document, 0)]
    while pending:
        value, depth = pending.pop()
        count += 1
        if depth > DEEPEST:
            raise NoDocument("its objects stand too deep inside each other")
        if count + len(pending) > MOST_VALUES:
            raise NoDocument(f"it has more than {MOST_VALUES:,} values")
        if isinstance(value, Mapping):
            pending += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            pending += [(one, depth + 1) for one in value]
