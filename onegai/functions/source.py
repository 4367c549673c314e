"""Where functions come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from onegai.config.entry import AppSpec
from onegai.functions.function import Function
from onegai.handles.context import Services
from onegai.schema import Problem


@dataclass(frozen=True)
class Found:
    """What a source knows of an app: its functions by name, and what is wrong with them."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    problem: Problem | None = None


NOTHING = Found()


class Source(Protocol):
    """Makes functions out of one kind of thing: func files, an app's own description, an entry.

    Its methods are called on the event loop. What goes wrong is a problem of what they give. Main
    and raw are derived from each other by the registry, once all sources have said what they have.
    """

    def last(self, spec: AppSpec) -> Found:
        """What is known of the app, at once. The same object until something changes."""
        ...

    async def refresh(self, spec: AppSpec, leases: Services) -> Found:
        """What there is now, by looking; ``leases`` are there to ask the app itself.

        Raises BrokenPlugin where that takes too long.
        """
        ...
