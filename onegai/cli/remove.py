"""``onegai remove``: undoes ``onegai new``; a copy of all that goes is kept."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from onegai.cli.apps import run_job
from onegai.cli.backend import COMMAND, WRONG, Failure, have_heeded, worker
from onegai.config import jsonfile
from onegai.config.home import Home

ENTRIES = "entries.json"
"""What services.local.json and config.json said of the app, in the copy."""


@dataclass(frozen=True)
class Removable:
    """What there is of an app of one's own: files and folders, and its keys of both JSON files."""

    files: list[Path]
    entries: dict[str, Any]


@click.command(short_help="Undo new; a copy is kept.")
@click.argument("app")
@click.option("--purge", is_flag=True, help="uninstall it first, with its models and voices")
def remove(app: str, purge: bool) -> None:
    """Remove the files and the entry of an app of your own; a copy of them is kept."""
    home = Home.find()
    find(home, app)
    if os.path.lexists(home.apps / app):
        if not purge:
            raise Failure(
                f"{app} is installed, or has data, in apps/{app}; nothing was removed",
                f"{COMMAND} remove {app} --purge removes that too, for good",
                status=WRONG,
            )
        with worker(home) as onegai:
            done = f"{app} is uninstalled"
            run_job(onegai, f"uninstalling {app}", done, lambda: onegai.uninstall(app, purge=True))
    with home.editing():
        found = find(home, app)
        copy = keep_copy(home, app, found)
        forget(home, app, found)
    have_heeded(home)
    click.echo(f"removed {app}:")
    for line in (*found.entries, *(home.relative(path) for path in found.files)):
        click.echo(f"  {line}")
    click.echo(f"a copy is in {home.relative(copy)}")


def find(home: Home, app: str) -> Removable:
    """What there is of it. Raises Failure where that is nothing, or is OneGAI's own."""
    from onegai.config.entry import APP_NAME

    if APP_NAME.fullmatch(app) is None:
        raise Failure(f"{app!r} is no name of an app", f"see {COMMAND} doctor", status=WRONG)
    if app in _object(home.services):
        raise Failure(
            f"{app} comes with OneGAI, and its files stay; nothing was removed",
            f"{COMMAND} uninstall {app} frees its disk; {COMMAND} config apps.{app}.active 0 "
            "switches it off",
            status=WRONG,
        )
    entries: dict[str, Any] = {}
    if app in (local := _object(home.services_local)):
        entries["services.local.json"] = {app: local[app]}
    overrides = _object(home.config).get("apps")
    if isinstance(overrides, dict) and app in overrides:
        entries["config.json"] = {"apps": {app: overrides[app]}}
    found = Removable(sorted(_files(home, app)), entries)
    if not found.files and not entries:
        raise Failure(f"there is no app {app!r} of yours", f"see {COMMAND} doctor", status=WRONG)
    return found


def keep_copy(home: Home, app: str, found: Removable) -> Path:
    """Write all of it below data/removed; the folder. Raises OSError."""
    folder = _new_folder(home.root / "data" / "removed", f"{app}-{time.strftime('%Y%m%d-%H%M%S')}")
    for path in found.files:
        target = folder / path.relative_to(home.root)
        target.parent.mkdir(exist_ok=True)
        if _is_folder(path):
            shutil.copytree(path, target, symlinks=True)
        else:
            shutil.copy2(path, target, follow_symlinks=False)
    jsonfile.write(folder / ENTRIES, found.entries)
    return folder


def forget(home: Home, app: str, found: Removable) -> None:
    """The entry goes first, so that no server finds it without its files.

    Raises OSError and NotWritten.
    """
    from onegai.config.editing import forget_app

    forget_app(home, app)
    for path in found.files:
        if _is_folder(path):
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _new_folder(parent: Path, name: str) -> Path:
    """With a number behind its name where there is one already, of the same second."""
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True, mode=0o700)
            break
    return folder


def _is_folder(path: Path) -> bool:
    """A link to one is a file."""
    return path.is_dir() and not path.is_symlink()


def _files(home: Home, app: str) -> Iterable[Path]:
    named = ("func/{}.py", "install/{}.sh", "install/{}.lock", "api/{}.py", "tests/test_{}.sh")
    paths = [home.root / name.format(app) for name in (*named, "loapi/{}.py")]
    yield from (path for path in paths if os.path.lexists(path))
    yield from (home.root / name for name in home.run_files(app))


def _object(path: Path) -> dict[str, Any]:
    try:
        return jsonfile.read(path) or {}
    except jsonfile.Unreadable as error:
        hint = "correct it there first; nothing was removed"
        raise Failure(f"{path.name}: {error.reason}", hint, status=WRONG) from None
