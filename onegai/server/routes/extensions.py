"""api/{app}.py: extra routes of an app, mounted under /api/{app}/ behind our guards.

They need a restart to change; until then their problems say "changed since load".
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from fastapi import APIRouter

from onegai.engine.engine import Engine
from onegai.functions.imports import describe_failure
from onegai.schema import Problem


class Extensions:
    """The api files of a home, loaded once."""

    def __init__(self, engine: Engine) -> None:
        self._home = engine.home
        self._loaded: dict[Path, int] = {}
        self._problems: list[Problem] = []
        self._without_app: list[Path] = []
        self._engine = engine
        self.routers: list[APIRouter] = []
        self.apps: set[str] = set()
        """Those that have routes of their own."""
        for path in sorted((engine.home.root / "api").glob("*.py")):
            if not path.name.startswith("_"):
                self._loaded[path] = path.stat().st_mtime_ns
                self._load(engine, path)
        engine.watch_problems(self.problems)

    def problems(self) -> Iterable[Problem]:
        """What was wrong at the start, and which files are not what was loaded any more."""
        yield from self._problems
        for path in self._without_app:
            there = path.stem in self._engine.current.catalog.specs
            reason = f"services.json has no usable app {path.stem!r}"
            yield self._problem(path, "not loaded yet: restart the server" if there else reason)
        folder = self._home.root / "api"
        present = {path for path in folder.glob("*.py") if not path.name.startswith("_")}
        for path in sorted(present | set(self._loaded)):
            now = path.stat().st_mtime_ns if path.exists() else 0
            if now != self._loaded.get(path):
                yield self._problem(path, "changed since load: restart the server")

    def _load(self, engine: Engine, path: Path) -> None:
        app = path.stem
        if app not in engine.current.catalog.specs:
            self._without_app.append(path)
            return
        try:
            spec = importlib.util.spec_from_file_location(f"api.{app}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            router = module.router(engine)
            if not isinstance(router, APIRouter):
                raise TypeError("router(engine) must return a fastapi.APIRouter")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - what Rust panics with is no Exception
            self._problems.append(self._problem(path, *describe_failure(path, error)))
            return
        mounted = APIRouter(prefix=f"/api/{app}", tags=[app])
        mounted.include_router(router)
        self.routers.append(mounted)
        self.apps.add(app)

    def _problem(self, path: Path, reason: str, line: int | None = None) -> Problem:
        return Problem(app=path.stem, file=self._home.relative(path), line=line, reason=reason)
