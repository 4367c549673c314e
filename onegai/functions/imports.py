"""How a func file is imported: from its source, with public functions that can be called directly.

``from func import hibari`` does so in a server and in plain Python alike. An app that has an entry
and no func file is a module, too: of the functions that it tells of itself.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import linecache
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from onegai.config.catalog import named_apps
from onegai.config.home import Home, stamp
from onegai.errors import in_words
from onegai.functions.direct import AppFunction, DirectFunction
from onegai.functions.function import Function, LeaseMode
from onegai.functions.signature import BadFunction, public_functions
from onegai.handles.handle import declares_handle
from onegai.schema import Problem

PACKAGE = "func"
_FUNCTIONS = "__onegai_functions__"
_STAMP = "__onegai_stamp__"


@dataclass(frozen=True)
class FuncFile:
    """One func file that was imported: its functions, or why there are none."""

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
            if any(app in named_apps(Home(Path(folder).parent)) for folder in path):
                return ModuleSpec(name, _WithoutFile())
        return None


class _WithoutFile(Loader):
    """The module of an app whose functions all come from elsewhere, from what it tells say."""

    def exec_module(self, module: ModuleType) -> None:
        """Let each name be a function of the app, which is looked for when it is called."""
        _have_others(module, lambda: True)


def _have_others(module: ModuleType, are_there: Callable[[], bool]) -> None:
    """Let the module have the functions of its app that come from elsewhere, too."""
    app = module.__name__.rpartition(".")[2]

    def other(name: str) -> AppFunction:
        if name.startswith("_") or not are_there():
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return AppFunction(app, name)

    vars(module).setdefault("__getattr__", other)


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
        told = Home(Path(self.path).parents[1]).discovered(app)
        _have_others(module, told.is_file)


def install_finder() -> None:
    """Make ``from func import …`` load func files as described above. Idempotent."""
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)


def imported_by(home: Home, app: str) -> set[str]:
    """The func files that this one imports, directly or through others; read from the text."""
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


def mount(home: Home) -> None:
    """Make the home's func folder the package ``func``, so that files may import each other."""
    folder = str(home.root / PACKAGE)
    if folder not in getattr(sys.modules.get(PACKAGE), "__path__", ()):
        mine = [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]
        for name in mine:
            del sys.modules[name]
        sys.modules[PACKAGE] = package = ModuleType(PACKAGE)
        package.__path__ = [folder]
    install_finder()


def import_file(home: Home, app: str, *, again: bool) -> FuncFile:
    """Import one func file as it is now. Whatever it raises becomes the problem.

    Not ``again``: what somebody has imported before, plain Python say, is taken if it is current.
    """
    name, path = f"{PACKAGE}.{app}", home.func_file(app)
    if again or getattr(sys.modules.get(name), _STAMP, None) != stamp(path):
        sys.modules.pop(name, None)
    if not path.is_file():
        return FuncFile(app)
    shown, missing = home.relative(path), ""
    try:
        module = importlib.import_module(name)
        return FuncFile(app, getattr(module, _FUNCTIONS), module=module)
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
    return FuncFile(app, problem=problem, missing=missing)


def _top(error: ModuleNotFoundError) -> str:
    """The package that is not there; empty where it is, or is one of func itself."""
    top = error.name.partition(".")[0] if isinstance(error.name, str) else ""
    return top if top and top != PACKAGE and is_missing(top) else ""


def is_missing(package: str) -> bool:
    """Can nothing of that name be imported?"""
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
