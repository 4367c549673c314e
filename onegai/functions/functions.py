"""The registry: what can be called of each app, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.errors import BrokenPlugin, UnknownFunction
from onegai.functions.discovered import Discovered, Kind
from onegai.functions.funcfiles import FuncFileSource
from onegai.functions.function import Function, with_derived
from onegai.functions.gradio.gradio import Gradio
from onegai.functions.openapi.declared import Declared
from onegai.functions.openapi.openapi import OpenAPI
from onegai.functions.source import NOTHING, Found, Look, Source, Surroundings
from onegai.handles.context import CallContext
from onegai.schema import Problem

KINDS: tuple[Callable[[], Kind], ...] = (Gradio, OpenAPI)
"""Of apps that tell what they can do."""


class Functions:
    """The functions of a home's apps, from its func files and from other sources.

    Where two sources have one of the same name, the first wins, and the func files are the first.
    An async context manager: inside it, edits of func files are noticed.
    """

    def __init__(self, current: Current, others: Sequence[Source] = ()) -> None:
        self._current = current
        self._surroundings: Surroundings
        self._files = FuncFileSource(current)
        self._discovered = [Discovered(current, kind(), self._around) for kind in KINDS]
        self._others = (Declared(), *others)
        self._sources: tuple[Source, ...] = (self._files, *self._discovered, *self._others)
        self._merged: dict[str, tuple[list[Found], Found]] = {}
        current.listen(self._forget)

    def open(self, surroundings: Surroundings) -> None:
        """Let sources ask the apps from now on."""
        self._surroundings = surroundings

    def _around(self, spec: AppSpec, seconds: float) -> CallContext:
        return self._surroundings(spec, seconds)

    async def __aenter__(self) -> Self:
        await self._files.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._files.__aexit__(kind, error, trace)

    def forget(self, app: str) -> None:
        """The app is gone from the disk, and so is what it has told. Blocks."""
        for source in self._discovered:
            source.forget(app)

    def _forget(self) -> None:
        """What is known of apps that are gone."""
        specs = self._current.catalog.specs
        self._merged = {app: known for app, known in self._merged.items() if app in specs}

    def last(self, app: str) -> Found:
        """What is known of an app, at once; nothing of one that has no usable entry."""
        spec = self._current.catalog.specs.get(app)
        if spec is None:
            return NOTHING
        return self._merge(app, [source.last(spec) for source in self._sources])

    def all(self) -> dict[str, Found]:
        """What is known of each app."""
        return {app: self.last(app) for app in self._current.catalog.specs}

    def problem(self, app: str) -> Problem | None:
        """Why a function of the app may not be what it ought to be."""
        problem = self.last(app).problem
        return None if problem is None or problem.remark else problem

    def problems(self, app: str) -> list[Problem]:
        """What is wrong with the functions of an app, whatever else they come from."""
        spec = self._current.catalog.specs.get(app)
        if spec is None:
            return []
        found = (source.last(spec).problem for source in self._sources)
        return [problem for problem in found if problem is not None]

    def all_problems(self) -> list[Problem]:
        """Those of all apps, each once: a func file that others import concerns them, too."""
        found: list[Problem] = []
        for app in self._current.catalog.specs:
            found += [problem for problem in self.problems(app) if problem not in found]
        return found

    async def refresh(self, app: str, *, start: bool = False, url: str = "") -> Found:
        """What there is now. Raises BrokenPlugin while the import of a func file does not end.

        ``start`` and ``url``: as of a ``Look``. Raises why the app cannot be started.
        """
        spec = self._current.catalog.specs.get(app)
        if spec is None:
            return NOTHING
        look = Look(self._around, start, url)
        return self._merge(app, [await source.refresh(spec, look) for source in self._sources])

    async def function(self, app: str, name: str, *, start: bool = False) -> Function:
        """One function, as it is known; only where it is not, sources look for it.

        ``start``: for a call, which would start the app anyway. Raises UnknownFunction,
        BrokenPlugin, and why the app cannot be started.
        """
        function = self.last(app).functions.get(name)
        if function is None:
            found = await self.refresh(app, start=start)
            function = found.functions.get(name)
            if function is None:
                raise self._none(app, name, found)
        return function

    async def told(self, app: str, name: str, *, start: bool = False) -> Function:
        """As ``function``, of those that do not come from its func file."""
        spec = self._current.catalog.specs.get(app)
        found: list[Found] = []
        if spec is not None:
            look = Look(self._around, start)
            found = [await source.told(spec, look) for source in self._discovered]
            found += [await source.refresh(spec, look) for source in self._others]
            for one in found:
                if name in one.functions:
                    return one.functions[name]
        names = {known: function for one in found for known, function in one.functions.items()}
        problem = next((one.problem for one in found if one.problem is not None), None)
        unknown = next((one.unknown for one in found if one.unknown), "it tells of none")
        raise self._none(app, name, Found(names, problem, unknown))

    async def functions(self, app: str) -> Mapping[str, Function]:
        """Those of an app as they are now. Raises BrokenPlugin if it has none for that."""
        found = await self.refresh(app)
        if found.problem is not None and not found.functions:
            raise _broken(found.problem)
        return found.functions

    async def hook(self, app: str, name: str) -> Function | None:
        """The ``load`` or ``unload`` of an app's func file as it is now.

        No other source has any: an app can be asked only when it has been loaded.
        """
        spec = self._current.catalog.specs.get(app)
        if spec is None:
            return None
        return (await self._files.refresh(spec)).functions.get(name)

    def has_hook(self, app: str, name: str) -> bool:
        """Had its func file this hook when it was looked at last?"""
        spec = self._current.catalog.specs.get(app)
        return spec is not None and name in self._files.last(spec).functions

    def _merge(self, app: str, founds: list[Found]) -> Found:
        known = self._merged.get(app)
        if known is not None and known[0] == founds:
            return known[1]
        declared: dict[str, Function] = {}
        for found in founds:
            for name, function in found.functions.items():
                if not function.derived:
                    declared.setdefault(name, function)
        problems = (found.problem for found in founds)
        problem = next((problem for problem in problems if problem is not None), None)
        unknown = next((found.unknown for found in founds if found.unknown), "")
        merged = Found(with_derived(declared), problem, unknown)
        self._merged[app] = (founds, merged)
        return merged

    def _none(self, app: str, name: str, found: Found) -> BrokenPlugin | UnknownFunction:
        if found.problem is not None and not found.problem.remark:
            return _broken(found.problem)
        names = ", ".join(found.functions)
        do = f"it has: {names}" if names else found.unknown or f"write it in func/{app}.py"
        if found.problem is not None:
            do += f". {found.problem.reason}"
        return UnknownFunction(app=app, function=name, do=do)


def _broken(problem: Problem) -> BrokenPlugin:
    place = f"{problem.file}, line {problem.line}" if problem.line else problem.file
    return BrokenPlugin(place=place, reason=problem.reason)
