"""Functions that an app itself tells of: asked when it starts, kept while it sleeps."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from onegai.config import jsonfile
from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.config.masking import masked
from onegai.errors import AppError, CallTimeout, in_words
from onegai.functions.function import Function
from onegai.functions.source import NOTHING, Found, Look, Surroundings
from onegai.handles.handle import AsyncHandle
from onegai.schema import Problem
from onegai.threads import in_writer

log = logging.getLogger(__name__)

LOOK_SECONDS = 15.0
"""How long an app may take to tell what it can do. Its start waits for it."""

Again = Callable[[], Awaitable[bool]]
"""For a function whose app says that it is not what it was: looks again, and says whether that has
brought anything new. Called while the app is leased.
"""


class Untold(Exception):
    """An app does not tell what it can do, or cannot be understood.

    ``functions`` are those that can be called nevertheless.
    """

    def __init__(
        self, reason: str, do: str = "", functions: Mapping[str, Function] | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.do = do
        self.functions = functions or {}


class Kind(Protocol):
    """One kind of apps that tell what they can do."""

    type: str
    """That of their entries."""

    def lists(self, spec: AppSpec, *, func_file: bool) -> bool:
        """Is what the app tells on offer? ``func_file``: it has functions of its own already."""
        ...

    async def ask(self, spec: AppSpec, app: AsyncHandle) -> dict[str, Any]:
        """What it tells, as JSON, to be kept. Raises Untold, and AppError of a request."""
        ...

    def functions(
        self, spec: AppSpec, document: Mapping[str, Any], again: Again
    ) -> dict[str, Function]:
        """What that means. Raises Untold. From any thread."""
        ...


@dataclass
class _Known:
    """What is known of one app. ``spec`` is the entry that ``found`` was made with."""

    spec: AppSpec
    document: dict[str, Any] | None
    found: Found
    listed: bool
    looks: int = 0
    """How often it has been asked."""
    understood: Found = NOTHING
    """What ``document`` means; ``found`` may have a problem of the last look besides."""


class Discovered:
    """The functions of one kind of apps: a ``Source``.

    What an app tells is kept in data/functions, and asked for anew at each start of it.
    """

    def __init__(self, current: Current, kind: Kind, surroundings: Surroundings) -> None:
        self._current = current
        self._home = current.home
        self._kind = kind
        self._surroundings = surroundings
        self._known: dict[str, _Known] = {}
        self._looking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def last(self, spec: AppSpec) -> Found:
        """What it told when it was asked last, if that is on offer."""
        known = self._of(spec)
        return known.found if known is not None and known.listed else NOTHING

    async def refresh(self, spec: AppSpec, look: Look) -> Found:
        """What it tells now, if it runs and that is on offer."""
        known = self._of(spec)
        return await self.told(spec, look) if known is not None and known.listed else NOTHING

    async def told(self, spec: AppSpec, look: Look) -> Found:
        """What it tells now, or has told; for its own func file, too."""
        known = self._of(spec)
        if known is None:
            return NOTHING
        looks = known.looks
        async with look.at(spec, known=known.document is not None) as app:
            if app is not None:
                async with self._looking[spec.app]:
                    if self._now(spec).looks == looks:  # else its start has looked, or another call
                        await self._ask(spec, app)
        return self._now(spec).found

    def forget(self, app: str) -> None:
        """It is gone from the disk. Blocks."""
        self._known.pop(app, None)
        self._home.discovered(app).unlink(missing_ok=True)

    def _of(self, spec: AppSpec) -> _Known | None:
        """None where it is of another kind."""
        return self._now(spec) if spec.type == self._kind.type else None

    def _now(self, spec: AppSpec) -> _Known:
        known = self._known.get(spec.app)
        if known is not None and known.spec is spec:
            return known
        listed = self._kind.lists(spec, func_file=spec.app in self._current.func_apps)
        if known is None:
            known = _Known(spec, self._kept(spec.app), NOTHING, listed)
        elif known.spec == spec:
            known.spec, known.listed = spec, listed
            return known
        fresh = _Known(spec, known.document, NOTHING, listed, known.looks)
        fresh.found = fresh.understood = self._found(fresh)
        self._known[spec.app] = fresh
        return fresh

    def _kept(self, app: str) -> dict[str, Any] | None:
        try:
            kept = jsonfile.read(self._home.discovered(app))
        except jsonfile.Unreadable as error:
            log.warning("what %s told is lost: %s", app, error.reason)
            return None
        if kept is None or kept.get("type") != self._kind.type:
            return None
        document = kept.get("document")
        return document if isinstance(document, dict) else None

    def _found(self, known: _Known) -> Found:
        spec = known.spec
        if known.document is None:
            start = f"bash run.sh start {spec.app}"
            return Found(unknown=f"what {spec.app} can do is known once it has run: {start}")
        try:
            return Found(self._kind.functions(spec, known.document, lambda: self._again(spec)))
        except Untold as error:
            return Found(error.functions, self._untold(spec, error.reason, error.do).problem)
        except Exception as error:
            log.exception("what %s tells is not understood", spec.app)
            return self._untold(spec, f"what it tells is not understood: {in_words(error)}", "")

    async def _ask(self, spec: AppSpec, app: AsyncHandle) -> None:
        known = self._now(spec)
        problem: Found | None = None
        document = known.document
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                document = await self._kind.ask(spec, app)
        except Untold as error:
            problem = self._untold(spec, error.reason, error.do)
        except (TimeoutError, CallTimeout):
            reason = f"it has not told what it can do within {LOOK_SECONDS:g} s"
            problem = self._untold(spec, reason, "")
        except AppError as error:
            problem = self._untold(spec, error.message, "")
        except Exception as error:
            log.exception("%s cannot be asked what it can do", spec.app)
            problem = self._untold(spec, f"it cannot be asked: {in_words(error)}", "")
        known.looks += 1
        if self._is_past(known):
            return
        if problem is not None:
            known.found = Found(known.found.functions, problem.problem)
            return
        if document is not None:
            await self._take(known, document)

    async def _take(self, known: _Known, document: dict[str, Any]) -> None:
        """It has told this, as an answer to the look that ``known`` counts."""
        spec = known.spec
        if document == known.document and known.found.functions:
            known.found = known.understood
            return
        fresh = _Known(spec, document, NOTHING, known.listed, known.looks)
        fresh.found = fresh.understood = await asyncio.to_thread(self._found, fresh)
        if self._is_past(known):
            return
        if not fresh.found.functions and known.found.functions:
            known.found = Found(known.found.functions, fresh.found.problem)
            return
        self._known[spec.app] = fresh
        count = len(fresh.found.functions)
        log.info("%s: it tells of %d function%s", spec.app, count, "" if count == 1 else "s")
        kept = {"app": spec.app, "type": self._kind.type, "document": document}
        try:
            await in_writer(jsonfile.write, self._home.discovered(spec.app), kept)
        except OSError as error:
            log.warning("what %s tells cannot be kept: %s", spec.app, error)

    def _is_past(self, known: _Known) -> bool:
        """Has the app been forgotten, or its entry been given another place, during a look?"""
        now = self._known.get(known.spec.app)
        return now is None or _place(now.spec) != _place(known.spec)

    async def _again(self, spec: AppSpec) -> bool:
        before = self._now(spec).found
        now = await self.told(spec, Look(self._surroundings))
        return now.functions is not before.functions

    def _untold(self, spec: AppSpec, reason: str, do: str) -> Found:
        file = self._home.relative(self._home.discovered(spec.app))
        text = str(masked(f"{reason} ({do})" if do else reason))
        text = self._current.hidden(text)  # the app may repeat what it was shown
        return Found(problem=Problem(app=spec.app, file=file, reason=text, remark=True))


def _place(spec: AppSpec) -> tuple[object, ...]:
    """What of an entry says which app it is that tells of itself, and where."""
    return spec.type, spec.url, spec.port, spec.openapi
