"""The files that a person edits while OneGAI runs: config.json, services.json, services.local.json.

They are read again when they have changed. What does not parse, or is gone, or cannot be used,
keeps its last good version, and is a listed problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onegai.config import jsonfile
from onegai.config.catalog import Catalog, func_apps, load_catalog
from onegai.config.home import Home, Stamp, stamp
from onegai.config.jsonfile import Unreadable
from onegai.config.settings import (
    AT_START,
    Settings,
    check_network,
    effective_settings,
    overridden_keys,
)
from onegai.errors import ConfigError
from onegai.schema import Problem

_KEPT = "(its last good version stays in use)"


class HomeFiles:
    """The settings and the catalog of a home, as they are in effect. Belongs to one thread."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        problems: Iterable[Problem] = (),
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """``settings`` are those of the start, with their ``problems``, made by ``arguments``."""
        self.settings = settings
        self._next = settings
        self.catalog = Catalog({})
        self._home = home
        self._files = (home.config, home.services, home.services_local, home.func)
        self._func_apps = func_apps(home)
        self._arguments = dict(arguments or {})
        self._good: dict[Path, dict[str, Any]] = {}
        self._config_problems = list(problems)
        self._file_problems: list[Problem] = []
        self._stamps = self._stamps_now()
        self._read_catalog()

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the files, and with entries in them."""
        return [*self._config_problems, *self._file_problems, *self.catalog.problems]

    @property
    def waiting(self) -> set[str]:
        """Keys of config.json that have changed since the start, and wait for the next."""
        return {key for key in AT_START if getattr(self._next, key) != getattr(self.settings, key)}

    @property
    def overridden(self) -> set[str]:
        """Keys of config.json over which an argument or the environment wins."""
        return overridden_keys(self._arguments)

    def refresh(self) -> list[str]:
        """Read again the files that have changed, and name them. Four stat calls if none has."""
        before, self._stamps = self._stamps, self._stamps_now()
        changed = [path for path in self._files if self._stamps[path] != before[path]]
        if not changed:
            return []
        if self._home.func in changed:
            names, self._func_apps = self._func_apps, func_apps(self._home)
            if self._func_apps == names:
                changed.remove(self._home.func)
        if self._home.config in changed:
            self._read_config()
        if changed:
            self._read_catalog()
        return [self._home.relative(path) for path in changed]

    def check(self, config: Mapping[str, Any]) -> Settings:
        """What a config.json with this content would mean to this process.

        Keys that count at the start only are as they were then. Raises ConfigError when this
        process, or the next start, could not use it.
        """
        fresh, _ = effective_settings(self._home, config, self._arguments)
        fixed = {key: getattr(self.settings, key) for key in AT_START}
        now = fresh.model_copy(update=fixed)
        check_network(now, self._home.relative(self._home.config))
        return now

    def _stamps_now(self) -> dict[Path, Stamp | None]:
        return {path: stamp(path) for path in self._files}

    def _read_config(self) -> None:
        name = self._home.relative(self._home.config)
        try:
            stored = jsonfile.read(self._home.config)
            if stored is None:
                raise Unreadable("the file is gone")
            settings = self.check(stored)
        except Unreadable as error:
            reason = f"{error.reason} {_KEPT}"
            self._config_problems = [Problem(file=name, line=error.line, reason=reason)]
            return
        except ConfigError as error:
            reason = f"{error.params['reason']} {_KEPT}"
            self._config_problems = [Problem(file=name, reason=reason)]
            return
        self.settings = settings
        self._next, self._config_problems = effective_settings(self._home, stored, self._arguments)
        self._config_problems += [
            Problem(file=name, key=key, reason="changed since the start: restart the server")
            for key in sorted(self.waiting)
        ]

    def _read_catalog(self) -> None:
        self._file_problems = []
        fresh = load_catalog(self._home, self.settings.apps, self._read)
        last = self.catalog.specs
        kept = {app: last[app] for app in fresh.broken if app in last}
        problems = (
            problem.model_copy(update={"reason": f"{problem.reason} {_KEPT}"})
            if problem.app in kept
            else problem
            for problem in fresh.problems
        )
        self.catalog = replace(
            fresh,
            specs={**fresh.specs, **kept},
            broken={app: why for app, why in fresh.broken.items() if app not in kept},
            problems=tuple(problems),
        )

    def _read(self, path: Path) -> dict[str, Any] | None:
        """What a file of entries holds, else what it held. Raises Unreadable for the first time."""
        try:
            value = jsonfile.read(path)
            if value is None and path in self._good:
                raise Unreadable("the file is gone")
        except Unreadable as error:
            if path not in self._good:
                raise
            reason = f"{error.reason} {_KEPT}"
            name = self._home.relative(path)
            self._file_problems.append(Problem(file=name, line=error.line, reason=reason))
            return self._good[path]
        if value is not None:
            self._good[path] = value
        return value
