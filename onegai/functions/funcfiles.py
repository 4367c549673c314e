"""Func files: loaded again whenever one has changed, and one source of functions.

A broken file is a listed problem with file and line; it stops nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.config.home import Home, Stamp, stamp
from onegai.errors import BrokenPlugin
from onegai.functions.imports import (
    PACKAGE,
    FuncFile,
    import_file,
    imported_by,
    is_missing,
    mount,
)
from onegai.functions.source import NOTHING, Found, Look
from onegai.schema import Problem
from onegai.threads import Pool

log = logging.getLogger(__name__)

START_SECONDS = 1.0
"""How long a start waits for the imports of all func files."""
SLOW_SECONDS = 1.0
"""How long an import may take before it is told."""
IMPORT_SECONDS = 60.0
"""How long a call waits for imports."""
MOST_IMPORTS = 3
"""In a row, of a file that is not what it was, or imports one that is not, when its import ends."""


@dataclass
class _Loaded:
    """A func file, and what it was built on: the state of it and of those that it imports."""

    file: FuncFile
    built_on: Mapping[str, Stamp | None]
    unsettled: int
    """How many imports in a row have ended with ``built_on`` changed."""
    found: Found = NOTHING
    found_at: int = -1
    """The number of imports, of all files together, that ``found`` is of."""


class FuncFiles:
    """The func files of a home's apps, loaded again whenever one has changed on disk.

    A file that breaks keeps its last good functions, and says so. Only one thread may load;
    the other methods may be called from any other.
    """

    def __init__(self, home: Home) -> None:
        self.tells = False
        """Is each problem that comes up from now on written to the log?"""
        self.loading = ""
        """The app whose file is being imported."""
        self._loading_since = 0.0
        self._home = home
        self._loaded: dict[str, _Loaded] = {}
        self._imports = 0
        self._paths: dict[str, Path] = {}
        mount(home)

    def load(self, app: str) -> FuncFile:
        """The app's file as it is now; an app without one has one without functions."""
        if not self.is_current(app):
            self._refresh(app, set())
        return self._loaded[app].file

    def last(self, app: str) -> FuncFile:
        """The app's file as it was when it was loaded last."""
        if (loaded := self._loaded.get(app)) is not None:
            return loaded.file
        path = self._home.func_file(app)
        is_slow = self.loading and time.monotonic() - self._loading_since > SLOW_SECONDS
        if not is_slow or not path.is_file():
            return FuncFile(app)
        reason = "is being imported; calls wait for it"
        problem = Problem(app=app, file=self._home.relative(path), reason=reason)
        return FuncFile(app, problem=problem)

    def found(self, app: str) -> Found:
        """``last``, with the problem of one that it imports if it has none of its own."""
        loaded = self._loaded.get(app)
        if loaded is None:
            problem = self.last(app).problem
            return NOTHING if problem is None else Found(problem=problem)
        if loaded.found_at == self._imports:
            return loaded.found
        loaded.found_at = self._imports
        problems = (
            self._loaded[name].file.problem
            for name in (app, *loaded.built_on)
            if name in self._loaded
        )
        problem = next((problem for problem in problems if problem is not None), None)
        if loaded.found is NOTHING or loaded.found.problem is not problem:
            loaded.found = Found(loaded.file.functions, problem)
        return loaded.found

    def is_current(self, app: str) -> bool:
        """Are all files that it was built on as they were then, and what it lacked still is not?"""
        loaded = self._loaded.get(app)
        if loaded is None:
            return False
        if any(stamp(self._path(name)) != was for name, was in loaded.built_on.items()):
            return False
        return not loaded.file.missing or is_missing(loaded.file.missing)

    def _stamps(self, names: Iterable[str]) -> dict[str, Stamp | None]:
        return {name: stamp(self._path(name)) for name in names}

    def _path(self, name: str) -> Path:
        if (path := self._paths.get(name)) is None:
            path = self._paths[name] = self._home.func_file(name)
        return path

    def _refresh(self, app: str, seen: set[str]) -> None:
        """Load the file again if it, or one that it imports, has changed."""
        seen.add(app)
        if (loaded := self._loaded.get(app)) is not None:
            if self.is_current(app):
                return
            stamps = self._stamps(loaded.built_on)
            for other in stamps.keys() - seen:
                if other in self._loaded:
                    self._refresh(other, seen)
                elif stamps[other] != loaded.built_on[other]:
                    sys.modules.pop(f"{PACKAGE}.{other}", None)
        self._load(app)

    def _load(self, app: str) -> None:
        last = self._loaded.get(app)
        # Before the import, so that an edit in the middle of it is seen.
        built_on = self._stamps({app, *imported_by(self._home, app)})
        self.loading, self._loading_since = app, time.monotonic()
        fresh = import_file(self._home, app, again=last is not None)
        self.loading = ""
        if fresh.problem is not None and last is not None and last.file.functions:
            reason = f"{fresh.problem.reason} (its last good version stays in use)"
            problem = fresh.problem.model_copy(update={"reason": reason})
            fresh = replace(last.file, problem=problem, missing=fresh.missing)
            if fresh.module is not None:
                sys.modules[f"{PACKAGE}.{app}"] = fresh.module
        unsettled = 0
        if (now := self._stamps(built_on)) != built_on:
            unsettled = 1 + (last.unsettled if last is not None else 0)
            if unsettled >= MOST_IMPORTS:
                built_on = now
                fresh = replace(fresh, problem=fresh.problem or self._restless(app))
        self._loaded[app] = _Loaded(fresh, built_on, unsettled)
        self._imports += 1
        if self.tells and fresh.problem is not None:
            log.warning("%s", fresh.problem.in_words())

    def _restless(self, app: str) -> Problem:
        reason = "its import changes func files: another edit is what has it imported again"
        file = self._home.relative(self._home.func_file(app))
        return Problem(app=app, file=file, reason=reason, remark=True)


class FuncFileSource:
    """The func files of a home's apps, as everybody on the event loop asks for them: a ``Source``.

    They import each other into one ``sys.modules``, so one thread imports all of them, one by one.
    ``Current`` looks for edits of them in the background; only ``refresh`` looks at once. An async
    context manager.
    """

    def __init__(self, current: Current) -> None:
        self._home = current.home
        self._current = current
        self._files = FuncFiles(current.home)
        self._thread = Pool("import", may_hang=True)
        self._seen = asyncio.Event()
        self._edited = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Files that take over a second to import are waited for by their own calls only."""
        self._loading = asyncio.create_task(self._load_edited())
        self._current.look_also(self._is_edited, self._edited.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    await self._seen.wait()
        except BaseException:  # a Ctrl-C: nobody leaves what was not entered
            await self.__aexit__()
            raise
        self._files.tells = True
        return self

    async def __aexit__(self, *error: object) -> None:
        self._loading.cancel()
        with suppress(asyncio.CancelledError):
            await self._loading
        # What a file does at its import cannot be ended.
        self._thread.shutdown(wait=False, cancel_futures=True)

    def last(self, spec: AppSpec) -> Found:
        """The app's file as it was when it was looked at last."""
        return self._files.found(spec.app)

    async def refresh(self, spec: AppSpec, look: Look | None = None) -> Found:  # noqa: ARG002
        """The app's file as it is now. Raises BrokenPlugin while an import does not end."""
        app = spec.app
        if not self._files.is_current(app):
            try:
                async with asyncio.timeout(IMPORT_SECONDS):
                    await self._load(app)
            except TimeoutError:
                place = self._home.relative(self._home.func_file(self._files.loading or app))
                reason = f"its import has not ended within {IMPORT_SECONDS:g} s"
                raise BrokenPlugin(place=place, reason=reason) from None
        return self._files.found(app)

    async def _load(self, app: str) -> None:
        """Until what is known is what lies there: an edit may come in the middle of an import."""
        while not self._files.is_current(app):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._files.load, app)

    async def _load_edited(self) -> None:
        """One file at a time, so that a call waits for one import besides its own at most."""
        loop = asyncio.get_running_loop()
        while True:
            self._edited.clear()
            try:
                for app in await loop.run_in_executor(self._thread, self._changed):
                    await self._load(app)
            except Exception:
                log.exception("the look for edits of func files failed")
            self._seen.set()
            await self._edited.wait()

    def _is_edited(self) -> bool:
        return bool(self._changed())

    def _changed(self) -> list[str]:
        """From any thread."""
        return [app for app in self._current.catalog.specs if not self._files.is_current(app)]
