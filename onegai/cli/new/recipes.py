"""The files of a new app, from the templates, and its entry of services.json."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegai.cli.new.repository import Repository
from onegai.cli.new.wanted import FILE_IN, FILE_OUT, Wanted, argument_names, wrong

TEMPLATES = Path(__file__).resolve().parent / "templates"
APP_FILE = "app.py"

_RUNNER = "venv/bin/python {root}/onegai/runner {root}/run/run_%s.py --port {port}"
_KEYS = "vram and ram are GB that it takes at most; docs/settings.md lists all keys"
_NAME = re.compile(r"\{\{(\w+)\}\}")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.]*")
_GRADIO_THAT_LASTS = (5, 49)
"""The first that works with huggingface_hub 1; 4.x does not with Starlette 1, either."""
_PYTHON = re.compile(r"3\.[0-9]+(\.[0-9]+)?")
_PROJECT = frozenset({"pyproject.toml", "setup.py"})
_INSIDE = re.compile(r"(?!/)(?!.*\.\.)[\w./ -]+")


@dataclass(frozen=True)
class Recipe:
    """``entry`` is empty where the app needs none.

    ``files``: path below the home → text. ``call``: words after the app's name in a call, as an
    example; one of ``input@-`` is what base64 gives. Empty: the app tells what can be called.
    """

    entry: dict[str, Any]
    files: Mapping[str, str]
    call: str = ""
    note: str = ""


def make(wanted: Wanted, port: int, repository: Repository | None) -> Recipe:
    """Everything about the new app. ``repository`` is there where ``git`` is. Raises Failure."""
    app = wanted.app
    if wanted.kind == "library":
        return _library(wanted, port)
    if wanted.kind == "command":
        return _command(wanted, port)
    values = {"app": app}
    if wanted.kind == "functions":
        files = {
            f"func/{app}.py": _filled("func_functions.py", values),
            f"tests/test_{app}.sh": _filled("test_functions.sh", values),
        }
        return Recipe({}, files, call="text=hello")
    files = {f"tests/test_{app}.sh": _filled("test_told.sh", values)}
    if wanted.url:
        return Recipe(_entry(wanted, url=wanted.url), files)
    note = ""
    run = wanted.exec
    if repository is not None:
        if wanted.kind == "gradio":
            run = run or _gradio_start(repository)
        files[f"install/{app}.sh"] = _git_install(wanted, repository)
    else:
        files[f"install/{app}.sh"] = _packages_install(wanted)
    if "{port}" not in run and wanted.kind == "webapi":
        note = (
            f"exec does not name {{port}}: have the program listen on 127.0.0.1:{port}, or set "
            f"port of {app} in services.local.json to the one that it listens on"
        )
    return Recipe(_entry(wanted, port=port, exec=run), files, note=note)


def _library(wanted: Wanted, port: int) -> Recipe:
    app = wanted.app
    package = re.split(r"[^A-Za-z0-9._-]", wanted.package)[0]
    values = {"app": app, "package": package}
    return Recipe(
        _entry(wanted, port=port, exec=_RUNNER % app, ready={"http": "/health"}),
        {
            f"install/{app}.sh": _packages_install(wanted),
            f"run/run_{app}.py": _filled("run_library.py", values),
            f"func/{app}.py": _filled("func_library.py", values),
            f"tests/test_{app}.sh": _filled("test_library.sh", values),
        },
        call="text=hello",
    )


def _command(wanted: Wanted, port: int) -> Recipe:
    app = wanted.app
    words = shlex.split(wanted.exec)
    names = argument_names(wanted.exec)
    fields = [f"    {name}: str = {_field(name)}" for name in names]
    call = " ".join(f"{name}{'@-' if name == FILE_IN else '=…'}" for name in names)
    has_output = f"{{{FILE_OUT}}}" in wanted.exec
    values = {
        "app": app,
        "program": shlex.quote(words[0]),
        "missing": shlex.quote(f"{words[0]} is not there"),
        "command": "\n".join(f"    {_literal(word)}," for word in words),
        "field": ", Field" if fields else "",
        "fields": "\n".join(fields) or "    pass",
        "function": "raw" if has_output else "main",
        "kind": "bytes" if has_output else "str",
        "gives": "the file that it writes" if has_output else "what it prints",
        "answer": "content" if has_output else "text",
        "run": f"# call main {call}" if fields else "call main >/dev/null",
    }
    install = _filled("install_program.sh", values)
    if wanted.package:
        install = _packages_install(wanted)
    return Recipe(
        _entry(wanted, port=port, exec=_RUNNER % app, ready={"http": "/health"}),
        {
            f"install/{app}.sh": install,
            f"run/run_{app}.py": _filled("run_command.py", values),
            f"func/{app}.py": _filled("func_command.py", values),
            f"tests/test_{app}.sh": _filled("test_command.sh", values),
        },
        call=f"{call} -o FILE".lstrip() if has_output else call,
    )


def _field(name: str) -> str:
    if name == FILE_IN:
        return 'Field(description="a file, as base64")'
    return 'Field(max_length=10_000, description="is put into the command line")'


def _entry(wanted: Wanted, **keys: Any) -> dict[str, Any]:
    kind = wanted.kind if wanted.kind == "gradio" else "webapi"
    if wanted.url:
        return {"title": wanted.app, "type": kind, **keys}
    return {"_": _KEYS, "title": wanted.app, "type": kind, **keys, "vram": 0, "ram": 0}


def _packages_install(wanted: Wanted) -> str:
    values = {"app": wanted.app, "packages": shlex.quote(wanted.package)}
    return _filled("install_packages.sh", values)


def _git_install(wanted: Wanted, repository: Repository) -> str:
    values = {
        "app": wanted.app,
        "url": shlex.quote(repository.url),
        "commit": repository.commit,
        "steps": "\n".join(_steps(wanted.kind, repository)),
    }
    return _filled("install_git.sh", values)


def _steps(kind: str, repository: Repository) -> Iterable[str]:
    """How to install what is in the repository; a Space says which Gradio and Python it wants."""
    facts = repository.facts
    python = facts.get("python_version", "")
    if _PYTHON.fullmatch(python):
        yield f"app_venv {python} # which README.md asks for"
    else:
        yield "app_venv # app_venv 3.10: with that Python"
    version = facts.get("sdk_version", "")
    old = kind == "gradio" and _is_old(version)
    options = f"--exclude-newer {repository.day} " if old else ""
    if old:
        yield "# This Gradio fails with the packages of today: these are as old as the last commit."
    if "requirements.txt" in repository.files:
        yield f"app_packages {options}-r requirements.txt"
    elif _PROJECT & repository.files:
        yield "app_packages ."
    elif kind == "webapi":
        yield "# app_packages: what the app needs"
    if kind != "gradio":
        return
    if _VERSION.fullmatch(version):
        also = " spaces" if repository.imports("spaces") else ""
        yield f"app_packages {options}gradio=={version}{also} # which README.md asks for"
    elif not _PROJECT & repository.files and not repository.requires("gradio"):
        yield "app_packages gradio"
    yield "app_check 'import gradio'"


def _is_old(version: str) -> bool:
    """It asks for no newest version of what it needs, and breaks with newer ones."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < _GRADIO_THAT_LASTS


def _gradio_start(repository: Repository) -> str:
    """The start command; Hugging Face's own rules say which file it is. Raises Failure."""
    facts = repository.facts
    if (sdk := facts.get("sdk", "gradio")) != "gradio":
        raise wrong(
            f"{repository.url} is a {sdk} Space, not a Gradio one",
            "take --type webapi, and its start command as --exec",
        )
    name = facts.get("app_file") or APP_FILE
    top = name.split("/")[0]
    if not _INSIDE.fullmatch(name) or top not in repository.files:
        found = sorted(file for file in repository.files if file.endswith(".py"))
        there = f" (there are {', '.join(found[:10])})" if found else ""
        raise wrong(
            f"{repository.url} has no {name}",
            f'name the start command: --exec "venv/bin/python FILE"{there}',
        )
    return shlex.join(["venv/bin/python", name])


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = (TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")
    return _NAME.sub(lambda found: values[found[1]], text)


def _literal(text: str) -> str:
    """As Python source, with the quotes that a formatter leaves alone."""
    return repr(text) if '"' in text and "'" not in text else json.dumps(text, ensure_ascii=False)
