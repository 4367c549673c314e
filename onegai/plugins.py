"""Func files: loading them, wherever they are imported from, with callable public functions.

A broken file is a listed problem with file and line; it stops nothing.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from onegai.errors import BrokenPlugin, UnknownFunction
from onegai.functions import BadFunction, Function, public_functions
from onegai.home import Home, Stamp, stamp, stamps
from onegai.schema import Problem
from onegai.sdk.direct import DirectFunction
from onegai.sdk.handles import declares_handle

PACKAGE = "func"
_FUNCTIONS = "__onegai_functions__"


@dataclass(frozen=True)
class Plugin:
    """One func file: its functions, or why there are none."""

    app: str
    functions: Mapping[str, Function] = field(default_factory=dict)
    problem: Problem | None = None
    module: ModuleType | None = None

    @functools.cached_property
    def has_handle(self) -> bool:
        """Does it lease its service by itself? Else the whole call must hold a lease."""
        return declares_handle(self.module, self.app)


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
        super().exec_module(module)
        functions = public_functions(module)
        setattr(module, _FUNCTIONS, functions)
        app = module.__name__.rpartition(".")[2]
        for name, function in functions.items():
            setattr(module, name, DirectFunction(app, function))


def install_finder() -> None:
    """Make ``from func import …`` load func files as described above. Idempotent."""
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)


class Plugins:
    """The func files of a home's apps, loaded again whenever one has changed on disk.

    A file that breaks keeps its last good functions, and says so. Belongs to one thread.
    """

    def __init__(self, home: Home, apps: Iterable[str]) -> None:
        self._home = home
        self._apps = tuple(apps)
        self._loaded: dict[str, Plugin] = {}
        self._built_on: dict[str, dict[str, Stamp | None]] = {}
        """Per app: the state of its own file, and of those it imports, when it was loaded."""
        _mount(home)
        for app in self._apps:
            self._load(app)

    def __getitem__(self, app: str) -> Plugin:
        """The app's file as it is now; an app without one has a plugin without functions."""
        self._refresh(app, set())
        return self._loaded[app]

    def function(self, app: str, name: str) -> Function:
        """One function of the app's file. Raises UnknownFunction, BrokenPlugin."""
        plugin = self[app]
        function = plugin.functions.get(name)
        if function is None:
            if (problem := plugin.problem) is not None:
                place = f"{problem.file}, line {problem.line}" if problem.line else problem.file
                raise BrokenPlugin(place=place, reason=problem.reason)
            names = ", ".join(plugin.functions)
            do = f"it has: {names}" if names else f"write it in func/{app}.py"
            raise UnknownFunction(app=app, function=name, do=do)
        return function

    def last(self, app: str) -> Plugin:
        """The app's file as it was when somebody asked for it last."""
        return self._loaded[app]

    def all(self) -> dict[str, Plugin]:
        """Every app's."""
        try:
            now = stamps(self._home.root / PACKAGE)
        except FileNotFoundError:
            now = {}
        except OSError:
            return {app: self[app] for app in self._apps}
        return {
            app: self._loaded[app] if self._is_current(app, now) else self[app]
            for app in self._apps
        }

    def adopt(self, apps: Iterable[str]) -> None:
        """From now on these are the apps."""
        self._apps = tuple(apps)
        for app in self._apps:
            if app not in self._loaded:
                self._load(app)

    def _is_current(self, app: str, now: Mapping[str, Stamp | None]) -> bool:
        """Are all files that it was built on as they were then?"""
        built_on = self._built_on[app].items()
        return all(now.get(f"{name}.py") == was for name, was in built_on)

    def _refresh(self, app: str, seen: set[str]) -> None:
        """Load the file again if it, or one that it imports, has changed."""
        seen.add(app)
        stamps = {other: stamp(self._home.func_file(other)) for other in self._built_on[app]}
        if stamps == self._built_on[app]:
            return
        for other in stamps.keys() - seen:
            if other in self._loaded:
                self._refresh(other, seen)
            elif stamps[other] != self._built_on[app][other]:
                sys.modules.pop(f"{PACKAGE}.{other}", None)
        self._load(app)

    def _load(self, app: str) -> None:
        last = self._loaded.get(app)
        fresh = _import(self._home, app, again=last is not None)
        reached = {app, *_imports(self._home, app)}
        self._built_on[app] = {other: stamp(self._home.func_file(other)) for other in reached}
        if fresh.problem is not None and last is not None and last.functions:
            reason = f"{fresh.problem.reason} (its last good version stays in use)"
            problem = fresh.problem.model_copy(update={"reason": reason})
            fresh = replace(last, problem=problem)
            if last.module is not None:
                sys.modules[f"{PACKAGE}.{app}"] = last.module
        self._loaded[app] = fresh


def _imports(home: Home, app: str) -> set[str]:
    """The func files that this one imports, themselves or through others; read from the text."""
    found: set[str] = set()
    pending = [app]
    while pending:
        try:
            tree = ast.parse(home.func_file(pending.pop()).read_bytes())
        except (OSError, SyntaxError, ValueError):
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

    Not ``again``: one that somebody has imported before, plain Python say, is taken as it is.
    """
    name, path = f"{PACKAGE}.{app}", home.func_file(app)
    if again or not path.is_file():
        sys.modules.pop(name, None)
    if not path.is_file():
        return Plugin(app)
    shown = home.relative(path)
    try:
        module = importlib.import_module(name)
        return Plugin(app, getattr(module, _FUNCTIONS), module=module)
    except BadFunction as error:
        problem = Problem(app=app, file=shown, line=error.line, reason=error.reason)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - what Rust panics with is no Exception
        reason, line = describe_failure(path, error)
        problem = Problem(app=app, file=shown, line=line, reason=reason)
    sys.modules.pop(name, None)
    return Plugin(app, problem=problem)


def describe_failure(path: Path, error: BaseException) -> tuple[str, int | None]:
    """Why a file of the user's does not load, and its line, even if one that it imports is why."""
    if isinstance(error, SyntaxError):
        if error.filename in (str(path), None):
            return f"syntax: {error.msg}", error.lineno
        reason = f"syntax: {error.msg} ({error.filename}, line {error.lineno})"
    else:
        reason = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return reason, lines[-1] if lines else None
