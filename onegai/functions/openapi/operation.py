"""An operation of an OpenAPI document as a plain record: what it takes, where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Place = Literal["path", "query", "header", "cookie"]
BODY = "body"
"""The argument that is the whole body, where its fields are no arguments of their own."""


@dataclass(frozen=True)
class Written:
    """How a value is written as text (OpenAPI 3.1, 4.8.12.3)."""

    style: str = "form"
    explode: bool = True
    as_json: bool = False
    reserved: bool = False
    """Do ``:/?#[]@!$&'()*+,;=`` stand in a query as they are?"""


@dataclass(frozen=True)
class Parameter:
    """A parameter that is not in the body."""

    argument: str
    name: str
    place: Place
    written: Written


@dataclass(frozen=True)
class Part:
    """How a field of a form is sent. ``media_type``: as the document says, else empty."""

    media_type: str = ""
    written: Written | None = None


@dataclass(frozen=True)
class Body:
    """What is sent as the body.

    ``flat``: the arguments ``fields`` are its fields, and with ``extra`` so are all that are no
    parameters; else the argument ``body`` is all of it.
    """

    kind: Literal["json", "form", "multipart", "file", "text"]
    media_type: str
    flat: bool = False
    fields: frozenset[str] = frozenset()
    extra: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What it may answer with, as far as that is described."""

    accept: str = "*/*"
    streams: bool = False
    """May the answer come in pieces?"""
    yields: type[str] | type[bytes] | None = None


@dataclass(frozen=True)
class Operation:
    """One method of one path. ``schema`` is that of all its arguments, flat."""

    id: str
    method: str
    path: str
    """With its ``{names}``, below the app's base URL."""
    doc: str
    schema: Mapping[str, Any]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    answers: Answers = Answers()
    credentials: str = ""
    """What it wants in the entry's ``credentials``, as JSON of that key."""
