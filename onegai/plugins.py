"""Func files: loading them, wherever they are imported from, with callable public functions.

A broken file is a listed problem with file and line; it stops nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

from onegai.functions import BadFunction, Function, public_functions
from onegai.home import Home
from onegai.schema import Problem
from onegai.sdk.direct import DirectFunction

PACKAGE = "func"
_FUNCTIONS = "__onegai_functions__"


@dataclass(frozen=True)
class Plugin:
    """One func file: its functions, or why there are none."""

    app: str
    functions: Mapping[str, Function] = field(default_factory=dict)
    problem: Problem | None = None
    module: ModuleType | None = None


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


def load_plugins(home: Home, apps: Iterable[str]) -> dict[str, Plugin]:
    """Load func/{app}.py of each app; an app without one has a plugin without functions.

    The home's func folder becomes the package ``func``, so that files may import each other.
    """
    folder = str(home.root / PACKAGE)
    if folder not in getattr(sys.modules.get(PACKAGE), "__path__", ()):
        mine = [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]
        for name in mine:
            del sys.modules[name]
        sys.modules[PACKAGE] = package = ModuleType(PACKAGE)
        package.__path__ = [folder]
    install_finder()
    importlib.invalidate_caches()
    return {app: _load(home, app) for app in apps}


def _load(home: Home, app: str) -> Plugin:
    """Import one func file. Whatever it raises becomes the problem."""
    path = home.func_file(app)
    if not path.is_file():
        return Plugin(app)
    shown = home.relative(path)
    try:
        module = importlib.import_module(f"{PACKAGE}.{app}")
        return Plugin(app, getattr(module, _FUNCTIONS), module=module)
    except BadFunction as error:
        problem = Problem(app=app, file=shown, line=error.line, reason=error.reason)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the file is the user's code
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, SyntaxError):
            reason = f"syntax: {error.msg}"
        problem = Problem(app=app, file=shown, line=_line_in(path, error), reason=reason)
    sys.modules.pop(f"{PACKAGE}.{app}", None)
    return Plugin(app, problem=problem)


def _line_in(path: Path, error: BaseException) -> int | None:
    """Where in that very file it went wrong, even if a file that it imports is the cause."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return lines[-1] if lines else None
