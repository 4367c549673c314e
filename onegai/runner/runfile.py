"""The run file: loading it, and which of its functions are served."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
import sys
from types import ModuleType
from typing import Any, Callable, Dict

from . import arguments


class UnusableError(Exception):
    """The file cannot be served; the text is one line saying why."""


@dataclasses.dataclass
class Function:
    """A served function and the annotations of its args and its result."""

    name: str
    code: Callable[[Any], Any]
    args: Any
    returns: Any
    doc: str

    def __call__(self, args: Dict[str, Any]) -> Any:
        """Call it with args built to its annotation. RequestError 422 if they do not fit."""
        return self.code(arguments.build(args, self.args))


@dataclasses.dataclass
class RunFile:
    """A loaded run file. concurrent: its functions may run at the same time."""

    path: str
    doc: str
    functions: Dict[str, Function]
    concurrent: bool

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return os.path.basename(self.path)


def read(path: str) -> RunFile:
    """Import the file as a script's main file would be: its folder comes first on sys.path.

    Raises UnusableError when it is missing, has a syntax error or serves nothing; whatever else its
    top level raises comes through.
    """
    if not os.path.isfile(path):
        raise UnusableError("there is no file " + path)
    path = os.path.abspath(path)
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnusableError(path + " is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(path))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UnusableError("%s line %s: %s" % (error.filename, error.lineno, error.msg)) from error
    functions = _functions(module)
    if not functions:
        raise UnusableError(path + " has no public function whose only required parameter is args")
    concurrent = bool(getattr(module, "CONCURRENT", False))
    return RunFile(path, inspect.getdoc(module) or "", functions, concurrent)


def _functions(module: ModuleType) -> Dict[str, Function]:
    listed = getattr(module, "__all__", None)
    names = (
        [name for name in vars(module) if not name.startswith("_")] if listed is None else listed
    )
    found = {}
    for name in names:
        code = getattr(module, name, None)
        own = listed is not None or getattr(code, "__module__", None) == module.__name__
        if own and inspect.isroutine(code) and _takes_args(code):
            hints = arguments.hints_of(code)
            found[name] = Function(
                name,
                code,
                hints.get("args", Any),
                hints.get("return", Any),
                inspect.getdoc(code) or "",
            )
    return found


def _takes_args(code: Callable[..., Any]) -> bool:
    """Whether the first and only required parameter is named args."""
    try:
        parameters = list(inspect.signature(code).parameters.values())
    except (TypeError, ValueError):
        return False
    if not parameters or parameters[0].name != "args":
        return False
    first, rest = parameters[0], parameters[1:]
    if first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        return False
    return all(
        one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        for one in rest
    )
