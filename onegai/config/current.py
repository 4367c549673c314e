"""What is in effect: config.json, services.json and services.local.json, as they were last good.

A person edits them while OneGAI runs. What does not parse, or is gone, or cannot be used, keeps its
last good version, and is a listed problem.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from onegai.config import jsonfile
from onegai.config.catalog import Catalog, func_apps, load_catalog
from onegai.config.credentials import NO_ACCESS, Access, access, secrets
from onegai.config.home import Home, Stamp, stamp
from onegai.config.jsonfile import Unreadable
from onegai.config.masking import hidden
from onegai.config.settings import (
    AT_START,
    Settings,
    check_network,
    effective_settings,
    overridden_keys,
)
from onegai.errors import ConfigError
from onegai.schema import Problem
from onegai.threads import Pool

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks for edits."""
_KEPT = "(its last good version stays in use)"


class Current:
    """The settings and the catalog of a home that are in effect. An async context manager.

    Inside it, edits are looked for in the background. ``settings``, ``catalog`` and ``problems``
    may be asked from any thread, and cost nothing; whoever has to act on a change listens.
    """

    def __init__(
        self,
        home: Home,
        settings: Settings,
        problems: Iterable[Problem] = (),
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """``settings`` are those of the start, with their ``problems``, made by ``arguments``."""
        self.home = home
        self._files = _Files(home, dict(arguments or {}))
        self._now = self._files.begin(settings, tuple(problems))
        self._listeners: list[Callable[[], None]] = []
        self._others: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        # What a disk takes to answer is nobody else's time, and the common threads may be busy.
        self._thread = Pool("edits", may_hang=True)
        self._looking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._background = asyncio.create_task(self._look_again_and_again())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._background.cancel()
        with suppress(asyncio.CancelledError):
            await self._background
        self._thread.shutdown(wait=False)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._now.settings

    @property
    def catalog(self) -> Catalog:
        """The entries."""
        return self._now.catalog

    def access(self, app: str) -> Access:
        """What is shown to the app so that it lets OneGAI in. Raises KeyMissing."""
        now = self._now
        spec = now.catalog.specs.get(app)
        return NO_ACCESS if spec is None else access(spec, now.settings.keys)

    def hidden(self, text: str) -> str:
        """The text without anything that any app is shown."""
        now = self._now
        return hidden(text, secrets(now.catalog.specs.values(), now.settings.keys))

    @property
    def func_apps(self) -> Sequence[str]:
        """The apps that have a func file."""
        return self._now.func_apps

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the files, and with entries in them."""
        now = self._now
        return [*now.config_problems, *now.file_problems, *now.catalog.problems]

    @property
    def waiting(self) -> set[str]:
        """Keys of config.json that have changed since the start, and wait for the next."""
        return self._now.waiting

    @property
    def overridden(self) -> set[str]:
        """Keys of config.json over which an argument or the environment wins."""
        return overridden_keys(self._files.arguments)

    def check(self, config: Mapping[str, Any]) -> Settings:
        """What a config.json with this content would mean to this process.

        Keys that count at the start only are as they were then. Raises ConfigError when this
        process, or the next start, could not use it.
        """
        return self._files.usable(config, self.settings)[0]

    def listen(self, listener: Callable[[], None]) -> None:
        """Have it called on the event loop after each change, in the order of these calls."""
        self._listeners.append(listener)

    def look_also(self, look: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Have ``look`` called at each look, in its thread; ``changed`` on the loop if it says so.

        For other files that are edited: one look costs less than two.
        """
        self._others.append((look, changed))

    async def refresh(self) -> None:
        """Look now: what was written before this is in effect when it returns."""
        async with self._looking:
            loop = asyncio.get_running_loop()
            self._now, changed, others = await loop.run_in_executor(
                self._thread, self._look, self._now
            )
            for other in others:
                other()
            if not changed:
                return
            log.info("read again: %s", ", ".join(changed))
            for listener in self._listeners:
                listener()

    def _look(self, last: _State) -> tuple[_State, list[str], list[Callable[[], None]]]:
        """For a thread."""
        others = [changed for look, changed in self._others if look()]
        return *self._files.look(last), others

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.refresh()
            except Exception:
                log.exception("the look for edits of config.json and the entries failed")


@dataclass(frozen=True)
class _State:
    """What the files said at one moment, or when they were last good."""

    settings: Settings
    next: Settings
    """What they will be at the next start."""
    catalog: Catalog
    config_problems: tuple[Problem, ...]
    file_problems: tuple[Problem, ...]
    stamps: Mapping[Path, Stamp | None]
    func_apps: list[str]
    good: Mapping[Path, dict[str, Any]]
    """Of each file of entries."""

    @property
    def waiting(self) -> set[str]:
        return {key for key in AT_START if getattr(self.next, key) != getattr(self.settings, key)}


class _Files:
    """Reads them; keeps nothing, so that a look may be given up at any moment."""

    def __init__(self, home: Home, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments
        self._home = home
        self._paths = (home.config, home.services, home.services_local, home.func)

    def begin(self, settings: Settings, problems: tuple[Problem, ...]) -> _State:
        """The first state."""
        stamps, apps = self._stamps(), func_apps(self._home)
        bare = _State(settings, settings, Catalog({}), problems, (), stamps, apps, {})
        return self._with_catalog(bare)

    def look(self, last: _State) -> tuple[_State, list[str]]:
        """The state now, and which files have changed. Four stat calls if none has."""
        stamps = self._stamps()
        changed = [path for path in self._paths if stamps[path] != last.stamps[path]]
        if not changed:
            return last, []
        state = replace(last, stamps=stamps)
        if self._home.func in changed:
            state = replace(state, func_apps=func_apps(self._home))
            if state.func_apps == last.func_apps:
                changed.remove(self._home.func)
        if self._home.config in changed:
            state = self._with_config(state)
        if changed:
            state = self._with_catalog(state)
        return state, [self._home.relative(path) for path in changed]

    def usable(
        self, config: Mapping[str, Any], now: Settings
    ) -> tuple[Settings, Settings, list[Problem]]:
        """What a config.json with this content means now, and at the next start, and its problems.

        Raises ConfigError for what cannot be used at one of these times.
        """
        fresh, problems = effective_settings(self._home, config, self.arguments)
        usable = fresh.model_copy(update={key: getattr(now, key) for key in AT_START})
        check_network(usable, self._home.relative(self._home.config))
        return usable, fresh, problems

    def _stamps(self) -> dict[Path, Stamp | None]:
        return {path: stamp(path) for path in self._paths}

    def _with_config(self, state: _State) -> _State:
        name = self._home.relative(self._home.config)
        try:
            stored = jsonfile.read(self._home.config)
            if stored is None:
                raise Unreadable("the file is gone")
            settings, fresh, problems = self.usable(stored, state.settings)
        except Unreadable as error:
            kept = Problem(file=name, line=error.line, reason=f"{error.reason} {_KEPT}")
            return replace(state, config_problems=(kept,))
        except ConfigError as error:
            kept = Problem(file=name, reason=f"{error.params['reason']} {_KEPT}")
            return replace(state, config_problems=(kept,))
        state = replace(state, settings=settings, next=fresh)
        problems += (
            Problem(file=name, key=key, reason="changed since the start: restart the server")
            for key in sorted(state.waiting)
        )
        return replace(state, config_problems=tuple(problems))

    def _with_catalog(self, state: _State) -> _State:
        good, told = dict(state.good), list[Problem]()

        def read(path: Path) -> dict[str, Any] | None:
            """What it holds, else what it held. Raises Unreadable for the first time."""
            try:
                value = jsonfile.read(path)
                if value is None and path in good:
                    raise Unreadable("the file is gone")
            except Unreadable as error:
                if path not in good:
                    raise
                reason, name = f"{error.reason} {_KEPT}", self._home.relative(path)
                told.append(Problem(file=name, line=error.line, reason=reason))
                return good[path]
            if value is not None:
                good[path] = value
            return value

        fresh = load_catalog(self._home, state.settings.apps, read)
        catalog = _with_last_good(fresh, state.catalog)
        return replace(state, catalog=catalog, file_problems=tuple(told), good=good)


def _with_last_good(fresh: Catalog, last: Catalog) -> Catalog:
    """An entry that has become broken stays as it was, with a problem that says so."""
    kept = {app: last.specs[app] for app in fresh.broken if app in last.specs}
    problems = (
        problem.model_copy(update={"reason": f"{problem.reason} {_KEPT}"})
        if problem.app in kept
        else problem
        for problem in fresh.problems
    )
    return replace(
        fresh,
        specs={**fresh.specs, **kept},
        broken={app: why for app, why in fresh.broken.items() if app not in kept},
        problems=tuple(problems),
    )
