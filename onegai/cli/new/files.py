"""The files of a new app on the disk: all of them or none, over nothing that is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from onegai.cli.backend import COMMAND, Failure
from onegai.cli.new.folder import read_folder
from onegai.cli.new.recipes import APP_FILE, Recipe, make
from onegai.cli.new.repository import look
from onegai.cli.new.wanted import Wanted, check, check_entry, check_name, wrong
from onegai.config import jsonfile
from onegai.config.editing import add_entry
from onegai.config.home import Home
from onegai.config.settings import Settings, load_settings
from onegai.process.sockets import listening_ports

PORTS = range(28201, 29000)
"""From which a new app's port is taken; those below are for the apps that come with OneGAI."""


def make_app(home: Home, wanted: Wanted) -> Recipe:
    """Write the files and the entry.

    Raises Failure and EditLocked; OSError and NotWritten where that is not possible.
    """
    check(wanted)
    _check_free(home, wanted.app)
    repository = look(wanted.git, APP_FILE) if wanted.git else None
    # Another ``new`` would take the same port.
    with home.editing():
        _check_free(home, wanted.app)
        port = 0 if wanted.url else free_port(_ports(home))
        recipe = make(wanted, port, repository)
        if recipe.entry:
            check_entry(wanted.app, recipe.entry)
        place(home, wanted.app, recipe)
    return recipe


def copy_app(home: Home, app: str, folder: Path) -> Recipe:
    """Write the files and the entry that a folder has of the app, with a port of its own.

    Raises as ``make_app``.
    """
    check_name(app)
    with home.editing():
        _check_free(home, app)
        recipe = read_folder(folder, app, free_port(_ports(home)))
        if recipe.entry:
            check_entry(app, recipe.entry)
        place(home, app, recipe)
    return recipe


def free_port(others: Iterable[int], ports: Iterable[int] = PORTS) -> int:
    """One that no entry has and nobody listens on. Raises Failure."""
    taken = {*others, *listening_ports()}
    for port in ports:
        if port not in taken:
            return port
    raise Failure(
        f"no port from {PORTS[0]} to {PORTS[-1]} is free",
        f"see which apps have them: {COMMAND} doctor",
    )


def place(home: Home, app: str, recipe: Recipe) -> None:
    """Write all files and the entry, if it has one; all of it or nothing.

    Raises OSError and NotWritten.
    """
    made: list[Path] = []
    try:
        for name, text in recipe.files.items():
            path = home.root / name
            for folder in reversed([path.parent, *path.parent.parents]):
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if path.suffix == ".sh":
                path.chmod(path.stat().st_mode | 0o111)
        if recipe.entry:
            add_entry(home, app, recipe.entry)
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def _ports(home: Home) -> set[int]:
    """Those of all entries, even of broken ones, and OneGAI's own."""
    settings = _settings(home)
    ports = {settings.port if settings else Settings.model_fields["port"].default}
    overrides: Mapping[str, Any] = settings.apps if settings else {}
    for entries in (_entries(home.services), _entries(home.services_local), overrides):
        for entry in entries.values():
            if isinstance(entry, dict):
                ports |= {entry.get("port"), entry.get("public_port")}
    return {port for port in ports if isinstance(port, int)}


def _settings(home: Home) -> Settings | None:
    """Without making config.json."""
    return load_settings(home, {})[0] if home.config.exists() else None


def _entries(path: Path) -> dict[str, Any]:
    try:
        return jsonfile.read(path) or {}
    except jsonfile.Unreadable as error:
        raise wrong(f"{path.name}: {error.reason}", "correct it there first") from None


def _check_free(home: Home, app: str) -> None:
    """Raises Failure if there is such an app, or one of its files."""
    if app in {**_entries(home.services), **_entries(home.services_local)}:
        raise wrong(f"there is an app {app} already", "choose another name")
    names = (f"install/{app}.sh", f"run/run_{app}.py", f"func/{app}.py", f"tests/test_{app}.sh")
    found = [name for name in names if os.path.lexists(home.root / name)]
    if found:
        raise wrong(
            f"nothing was made, as there is already: {', '.join(found)}",
            "move it away, or choose another name",
        )
