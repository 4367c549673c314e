"""A function as everybody knows it, wherever it comes from: a plain record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar

from onegai.errors import BadArguments
from onegai.schema import FunctionInfo

Form = Literal["main", "raw", "other"]
"""How the result leaves: main in an envelope, raw bare; others by what they return."""
Where = Literal["loop", "thread"]
LeaseMode = Literal["request", "call", "none"]
"""How it leases its app's service: for each of its requests by itself; as long as it runs; or not
at all."""
_LEASE = "__onegai_lease__"
F = TypeVar("F", bound=Callable[..., Any])


def without_service(function: F) -> F:
    """For functions of an app that has a service, and that do without it: it is not started."""
    setattr(function, _LEASE, "none")
    return function


def lease_of(function: Callable[..., Any], otherwise: LeaseMode) -> LeaseMode:
    """How a function leases that somebody has written."""
    found: LeaseMode = getattr(function, _LEASE, otherwise)
    return found


class Unfit(Exception):
    """Arguments that a function does not take: what is wrong, field by field."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        """Each of ``errors`` has a ``field`` (``inner.size``; empty: the whole), a ``message``."""
        super().__init__(errors)
        self.errors = errors


class Accepts(Protocol):
    """What a function takes."""

    takes_files: bool
    """Is there a File in the arguments that ``check`` gives?"""

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments, models in ``$defs``.

        The same object for all who ask: it must not be changed.
        """
        ...

    def check(self, given: Any) -> Any:
        """The arguments as ``run`` takes them, converted. Raises Unfit. From any thread."""
        ...


@dataclass(frozen=True)
class Result:
    """Yielded last by an asynchronous generator: what it returns, as others do by ``return``."""

    value: Any


@dataclass(frozen=True)
class Function:
    """One function of an app.

    ``run``, with what ``accepts`` has checked, gives the result, or one to await (``where`` is
    ``loop``). If it ``streams``, it gives a generator of pieces of the result, or an asynchronous
    one (``where`` is ``loop``), which may end with a ``Result``.
    """

    app: str
    name: str
    doc: str
    form: Form
    accepts: Accepts
    run: Callable[[Any], Any]
    where: Where = "thread"
    lease: LeaseMode = "none"
    streams: bool = False
    yields: type[str] | type[bytes] | None = None
    """What its pieces are, where it says so; it may yield none, and there is a text or a file."""
    replaces: bool = False
    """Does each piece stand for the whole result so far? Then the last one is the result."""
    derived: bool = False
    """Is it main made from raw, or raw from main?"""

    @property
    def summary(self) -> str:
        """The first line of what is told of it."""
        return self.doc.partition("\n")[0]

    @cached_property
    def info(self) -> FunctionInfo:
        """What the outside is told of it. The same object for all who ask, as its schema is."""
        return FunctionInfo(
            name=self.name,
            summary=self.summary,
            derived=self.derived,
            streams=self.streams,
            about=self.doc,
            schema=self.accepts.schema(),
        )

    def arguments(self, given: Any) -> Any:
        """Check and convert. Raises BadArguments with a sentence and every field's error."""
        try:
            return self.accepts.check(given)
        except Unfit as unfit:
            errors = unfit.errors
        reason = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in errors)
        fields = self.accepts.schema().get("properties", {})
        do = f"{self.app}/{self.name} takes {', '.join(fields)}" if fields else "see /docs"
        raise BadArguments(reason=reason, do=do, detail={"errors": errors})


def with_derived(functions: Mapping[str, Function]) -> dict[str, Function]:
    """These, and main or raw, where only one of them is there, made from the other."""
    found = dict(functions)
    pairs: tuple[tuple[Form, Form], ...] = (("raw", "main"), ("main", "raw"))
    for form, source in pairs:
        if form not in functions and source in functions:
            found[form] = replace(functions[source], name=form, form=form, derived=True)
    return found
