"""Where functions come from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from onegai.config.entry import AppSpec
from onegai.functions.function import Function
from onegai.handles.context import CallContext
from onegai.handles.handle import AsyncHandle
from onegai.schema import Problem

MOST_BYTES = 32 << 20
"""Of an answer of an app that is asked what it can do."""

Surroundings = Callable[[AppSpec, float], CallContext]
"""Makes what surrounds requests to this app, which may take so many seconds in all."""


@dataclass(frozen=True)
class Found:
    """What a source knows of an app: its functions by name, and what is wrong with them."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    problem: Problem | None = None
    unknown: str = ""
    """Why there may be more of them, which is nobody's fault, and what to do."""


NOTHING = Found()


@dataclass(frozen=True)
class Look:
    """How a source asks the app itself what it can do.

    It is asked where it runs. ``start``: one of which nothing is known is started for it.
    ``url``: it is just starting, is there, and waits for the end of this look to be ready.
    """

    surroundings: Surroundings
    start: bool = False
    url: str = ""

    @asynccontextmanager
    async def at(self, spec: AppSpec, *, known: bool) -> AsyncIterator[AsyncHandle | None]:
        """The app, which stays there as long as the block; None: it does not run.

        ``known``: something is known of it. Raises why it cannot be started.
        """
        context = self.surroundings(spec, spec.call_timeout)
        context.most_read = min(context.most_read, MOST_BYTES)
        with context.whole_call():
            app = spec.app
            if self.url:
                context.granted[app] = self.url
            elif (hold := context.take(app)) is not None:
                context.pinned[app] = hold
            elif self.start and not known:
                context.pinned[app] = await context.lease(app)
            else:
                yield None
                return
            yield AsyncHandle(app)


class Source(Protocol):
    """Makes functions out of one kind of thing: func files, an app's own description, an entry.

    Its methods are called on the event loop. What goes wrong is a problem of what they give. Main
    and raw are derived from each other by the registry, once all sources have said what they have.
    """

    def last(self, spec: AppSpec) -> Found:
        """What is known of the app, at once. The same object until something changes."""
        ...

    async def refresh(self, spec: AppSpec, look: Look) -> Found:
        """What there is now, by looking.

        Raises BrokenPlugin where that takes too long, and why the app cannot be started.
        """
        ...
