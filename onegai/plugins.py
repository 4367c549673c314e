"""Loading func files. A broken one is a listed problem with file and line; it stops nothing."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from onegai.functions import BadFunction, Function, public_functions
from onegai.home import Home
from onegai.schema import Problem


@dataclass(frozen=True)
class Plugin:
    """One func file: its functions, or why there are none."""

    app: str
    functions: Mapping[str, Function] = field(default_factory=dict)
    problem: Problem | None = None
    module: ModuleType | None = None


def load_plugins(home: Home, apps: Iterable[str]) -> dict[str, Plugin]:
    """Load func/{app}.py of each app; an app without one has a plugin without functions."""
    return {app: load_plugin(home, app) for app in apps}


def load_plugin(home: Home, app: str) -> Plugin:
    """Import one func file as ``func.{app}``. Whatever it raises becomes the problem."""
    path = home.func_file(app)
    if not path.is_file():
        return Plugin(app)
    name = f"func.{app}"
    shown = home.relative(path)
    # A home's func files may import each other: from func import hibari.
    if str(home.root) not in sys.path:
        sys.path.insert(0, str(home.root))
    try:
        module = _import(name, path)
        return Plugin(app, public_functions(module), module=module)
    except BadFunction as error:
        problem = Problem(app=app, file=shown, line=error.line, reason=error.reason)
    except SyntaxError as error:
        problem = Problem(app=app, file=shown, line=error.lineno, reason=f"syntax: {error.msg}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the file is the user's code
        reason = f"{type(error).__name__}: {error}"
        problem = Problem(app=app, file=shown, line=_line_in(path, error), reason=reason)
    sys.modules.pop(name, None)
    return Plugin(app, problem=problem)


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _line_in(path: Path, error: BaseException) -> int | None:
    """The last line of that very file in the error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return lines[-1] if lines else None
