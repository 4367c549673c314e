"""Loading func files. A broken one is a listed problem with file and line; it stops nothing."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from onegai.functions import BadFunction, Function, public_functions
from onegai.home import Home
from onegai.schema import Problem

PACKAGE = "func"


@dataclass(frozen=True)
class Plugin:
    """One func file: its functions, or why there are none."""

    app: str
    functions: Mapping[str, Function] = field(default_factory=dict)
    problem: Problem | None = None
    module: ModuleType | None = None


def load_plugins(home: Home, apps: Iterable[str]) -> dict[str, Plugin]:
    """Load func/{app}.py of each app; an app without one has a plugin without functions.

    The home's func folder becomes the package ``func``, so that files may import each other.
    """
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    package = ModuleType(PACKAGE)
    package.__path__ = [str(home.root / PACKAGE)]
    sys.modules[PACKAGE] = package
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
        return Plugin(app, public_functions(module), module=module)
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
