"""Func files: loading them, wherever they are imported from, with callable public functions.

A broken file is a listed problem with file and line; it stops nothing.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import linecache
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Self

from onegai.config.home import Home, Stamp, stamp
from onegai.errors import BrokenPlugin, UnknownFunction, in_words
from onegai.functions.direct import DirectFunction
from onegai.functions.function import Function, LeaseMode
from onegai.functions.signature import BadFunction, public_functions
from onegai.handles.handle import declares_handle
from onegai.schema import Problem
from onegai.threads import Pool

log = logging.getLogger(__name__)

PACKAGE = "func"
START_SECONDS = 1.0
"""How long a start waits for the imports of all func files."""
SLOW_SECONDS = 1.0
"""How long an import may take before it is told."""
IMPORT_SECONDS = 60.0
"""How long a call waits for imports."""
LOOK_SECONDS = 0.5
"""Between two looks for edits."""
_FUNCTIONS = "__onegai_functions__"
_STAMP = "__onegai_stamp__"


@dataclass(frozen=True)
class Plugin:
    """One func file: its functions, or why there are none."""

    app: str
    functions: Mapping[str, Function] = field(default_factory=dict)
    problem: Problem | None = None
    module: ModuleType | None = None
    missing: str = ""
    """The package that its import lacks, if that is the problem."""


class _Finder:
    """Loads ``func.{app}``, in a server and in plain Python alike, by ``_Loader``."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        package, _, app = name.rpartition(".")
        if package == PACKAGE and path is not None:
            for folder in path:
                file = Path(folder) / f"{app}.py"
                if file.is_file():
                    loader = _Loader(name, str(file))
                    return importlib.util.spec_from_file_location(name, file, loader=loader)
        return None


class _Loader(SourceFileLoader):
    """Executes a func file, then lets its public functions be called with a dict or keywords."""

    def get_code(self, _name: str) -> CodeType:
        """Always from the source: a cached one is not noticed to be old within one second."""
        linecache.checkcache(self.path)
        source = self.get_data(self.path)
        before, zero, _ = source.partition(b"\0")
        if zero:  # a ValueError without a line before Python 3.11.4
            place = (self.path, before.count(b"\n") + 1, None, None)
            raise SyntaxError("source code string cannot contain null bytes", place)
        return self.source_to_code(source, self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Raises BadFunction, besides whatever the file raises."""
        setattr(module, _STAMP, stamp(Path(self.path)))
        super().exec_module(module)
        app = module.__name__.rpartition(".")[2]
        lease: LeaseMode = "request" if declares_handle(module, app) else "call"
        functions = public_functions(module, app, lease)
        setattr(module, _FUNCTIONS, functions)
        for name, function in functions.items():
            setattr(module, name, DirectFunction(function))


def install_finder() -> None:
    """Make ``from func import …`` load func files as described above. Idempotent."""
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)


@dataclass(frozen=True)
class _Loaded:
    """A plugin, and what it was built on: the state of its own file and of those it imports."""

    plugin: Plugin
    built_on: Mapping[str, Stamp | None]


class FuncFiles:
    """The func files of a home's apps, loaded again whenever one has changed on disk.

    A file that breaks keeps its last good functions, and says so. Only one thread may load;
    ``last``, ``problem`` and ``is_current`` may be asked from any other.
    """

    def __init__(self, home: Home) -> None:
        self.tells = False
        """Is each problem that comes up from now on written to the log?"""
        self.loading = ""
        """The app whose file is being imported."""
        self._loading_since = 0.0
        self._home = home
        self._loaded: dict[str, _Loaded] = {}
        _mount(home)

    def load(self, app: str) -> Plugin:
        """The app's file as it is now; an app without one has a plugin without functions."""
        if not self.is_current(app):
            self._refresh(app, set())
        return self._loaded[app].plugin

    def last(self, app: str) -> Plugin:
        """The app's file as it was when it was loaded last."""
        if (loaded := self._loaded.get(app)) is not None:
            return loaded.plugin
        path = self._home.func_file(app)
        is_slow = self.loading and time.monotonic() - self._loading_since > SLOW_SECONDS
        if not is_slow or not path.is_file():
            return Plugin(app)
        reason = "is being imported; calls wait for it"
        return Plugin(app, problem=Problem(app=app, file=self._home.relative(path), reason=reason))

    def problem(self, app: str) -> Problem | None:
        """Why a function of the app may not be what its files say: one of them is broken."""
        loaded = self._loaded.get(app)
        names = (app, *loaded.built_on) if loaded is not None else ()
        found = (self._loaded[name].plugin.problem for name in names if name in self._loaded)
        return next((problem for problem in found if problem is not None), None)

    def is_current(self, app: str) -> bool:
        """Are all files that it was built on as they were then, and what it lacked still is not?"""
        loaded = self._loaded.get(app)
        if loaded is None or self._stamps(loaded.built_on) != loaded.built_on:
            return False
        return not loaded.plugin.missing or _is_missing(loaded.plugin.missing)

    def _stamps(self, names: Iterable[str]) -> dict[str, Stamp | None]:
        return {name: stamp(self._home.func_file(name)) for name in names}

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
        built_on = self._stamps({app, *_imports(self._home, app)})
        self.loading, self._loading_since = app, time.monotonic()
        fresh = _import(self._home, app, again=last is not None)
        self.loading = ""
        if fresh.problem is not None and last is not None and last.plugin.functions:
            reason = f"{fresh.problem.reason} (its last good version stays in use)"
            problem = fresh.problem.model_copy(update={"reason": reason})
            fresh = replace(last.plugin, problem=problem, missing=fresh.missing)
            if fresh.module is not None:
                sys.modules[f"{PACKAGE}.{app}"] = fresh.module
        self._loaded[app] = _Loaded(fresh, built_on)
        if self.tells and fresh.problem is not None:
            log.warning("%s", fresh.problem.in_words())


class Plugins:
    """The func files of a home's apps, as everybody on the event loop asks for them.

    They import each other into one ``sys.modules``, so one thread imports all of them, one by one:
    ``last`` and ``all`` give what is known, at once; ``refresh`` waits for what has changed. Edits
    are looked for in the background, too. An async context manager.
    """

    def __init__(self, home: Home, apps: Iterable[str]) -> None:
        self._home = home
        self._apps = tuple(apps)
        self._files = FuncFiles(home)
        self._thread = Pool("import", may_hang=True)
        self._seen = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Files that take over a second to import are waited for by their own calls only."""
        self._looking = asyncio.create_task(self._look())
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
        self._looking.cancel()
        with suppress(asyncio.CancelledError):
            await self._looking
        # What a file does at its import cannot be ended.
        self._thread.shutdown(wait=False, cancel_futures=True)

    def last(self, app: str) -> Plugin:
        """The app's file as it was when it was looked at last."""
        return self._files.last(app)

    def all(self) -> dict[str, Plugin]:
        """Every app's, as it was when it was looked at last."""
        return {app: self._files.last(app) for app in self._apps}

    def problem(self, app: str) -> Problem | None:
        """See FuncFiles."""
        return self._files.problem(app)

    async def refresh(self, app: str) -> Plugin:
        """The app's file as it is now. Raises BrokenPlugin while an import does not end."""
        if not self._files.is_current(app):
            try:
                async with asyncio.timeout(IMPORT_SECONDS):
                    await self._load(app)
            except TimeoutError:
                place = self._home.relative(self._home.func_file(self._files.loading or app))
                reason = f"its import has not ended within {IMPORT_SECONDS:g} s"
                raise BrokenPlugin(place=place, reason=reason) from None
        return self._files.last(app)

    async def function(self, app: str, name: str) -> Function:
        """One function of the app's file as it is now. Raises UnknownFunction, BrokenPlugin."""
        plugin = await self.refresh(app)
        function = plugin.functions.get(name)
        if function is None:
            if plugin.problem is not None:
                raise _broken(plugin.problem)
            names = ", ".join(plugin.functions)
            do = f"it has: {names}" if names else f"write it in func/{app}.py"
            raise UnknownFunction(app=app, function=name, do=do)
        return function

    async def functions(self, app: str) -> Mapping[str, Function]:
        """Those of the app's file as it is now. Raises BrokenPlugin if it has none for that."""
        plugin = await self.refresh(app)
        if plugin.problem is not None and not plugin.functions:
            raise _broken(plugin.problem)
        return plugin.functions

    def adopt(self, apps: Iterable[str]) -> None:
        """From now on these are the apps."""
        self._apps = tuple(apps)

    async def _load(self, app: str) -> None:
        """Until what is known is what lies there: an edit may come in the middle of an import."""
        while not self._files.is_current(app):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._files.load, app)

    async def _look(self) -> None:
        """One file at a time, so that a call waits for one import besides its own at most."""
        while True:
            for app in self._apps:
                await self._load(app)
            self._seen.set()
            await asyncio.sleep(LOOK_SECONDS)


def _imports(home: Home, app: str) -> set[str]:
    """The func files that this one imports, themselves or through others; read from the text."""
    found: set[str] = set()
    pending = [app]
    while pending:
        try:
            tree = ast.parse(home.func_file(pending.pop()).read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        fresh = {name for node in ast.walk(tree) for name in _named(node)} - found - {app}
        found |= fresh
        pending += fresh
    return found


def _named(node: ast.AST) -> Iterable[str]:
    """The func files that an import statement names."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
        names = [f"{PACKAGE}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    return [name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")]


def _mount(home: Home) -> None:
    """Make the home's func folder the package ``func``, so that files may import each other."""
    folder = str(home.root / PACKAGE)
    if folder not in getattr(sys.modules.get(PACKAGE), "__path__", ()):
        mine = [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]
        for name in mine:
            del sys.modules[name]
        sys.modules[PACKAGE] = package = ModuleType(PACKAGE)
        package.__path__ = [folder]
    install_finder()


def _import(home: Home, app: str, *, again: bool) -> Plugin:
    """Import one func file as it is now. Whatever it raises becomes the problem.

    Not ``again``: what somebody has imported before, plain Python say, is taken if it is current.
    """
    name, path = f"{PACKAGE}.{app}", home.func_file(app)
    if again or getattr(sys.modules.get(name), _STAMP, None) != stamp(path):
        sys.modules.pop(name, None)
    if not path.is_file():
        return Plugin(app)
    shown, missing = home.relative(path), ""
    try:
        module = importlib.import_module(name)
        return Plugin(app, getattr(module, _FUNCTIONS), module=module)
    except BadFunction as error:
        problem = Problem(app=app, file=shown, line=error.line, reason=error.reason)
    except BaseException as error:  # what Rust panics with is no Exception
        ctrl_c = isinstance(error, KeyboardInterrupt)
        if ctrl_c and threading.current_thread() is threading.main_thread():
            raise
        reason, line = describe_failure(path, error)
        problem = Problem(app=app, file=shown, line=line, reason=reason)
        if isinstance(error, ModuleNotFoundError):
            missing = _top(error)
    sys.modules.pop(name, None)
    return Plugin(app, problem=problem, missing=missing)


def _top(error: ModuleNotFoundError) -> str:
    """The package that is not there; empty where it is, or is one of func itself."""
    top = error.name.partition(".")[0] if isinstance(error.name, str) else ""
    return top if top and top != PACKAGE and _is_missing(top) else ""


def _is_missing(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        return True


def describe_failure(path: Path, error: BaseException) -> tuple[str, int | None]:
    """Why a file of the user's does not load, and its line, even if one that it imports is why."""
    if isinstance(error, SyntaxError):
        if error.filename in (str(path), None):
            return f"syntax: {error.msg}", error.lineno
        reason = f"syntax: {error.msg} ({error.filename}, line {error.lineno})"
    else:
        reason = in_words(error)
        if isinstance(error, ModuleNotFoundError) and (package := _top(error)):
            reason += f" (bash run.sh add {package} installs it, if its package has that name)"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return reason, lines[-1] if lines else None


def _broken(problem: Problem) -> BrokenPlugin:
    place = f"{problem.file}, line {problem.line}" if problem.line else problem.file
    return BrokenPlugin(place=place, reason=problem.reason)
