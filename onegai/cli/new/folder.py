"""An app in a folder of its own, as examples/ has them: the files that ``onegai new`` copies."""

from __future__ import annotations

import re
from pathlib import Path

from onegai.cli.new.recipes import Recipe
from onegai.cli.new.wanted import wrong
from onegai.config import jsonfile

ENTRY = "services.local.json"
_FILES = ("install/{}.sh", "install/{}.lock", "run/run_{}.*", "func/{}.py", "api/{}.py")
_TEST = "tests/test_{}.sh"


def read_folder(folder: Path, app: str, port: int) -> Recipe:
    """The app's files, and its entry with that port, if it has one. Raises Failure.

    Only what has the app's name is taken: nothing of another app is written over, or added.
    """
    if not folder.is_dir():
        raise wrong(f"{folder} is no folder", "for example --from examples/hibari_page")
    entries = _entries(folder / ENTRY)
    files = {}
    for pattern in (*_FILES, _TEST):
        for path in sorted(folder.glob(pattern.format(app))):
            try:
                files[str(path.relative_to(folder))] = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise wrong(f"{path} cannot be read: {error}", "is it a text file?") from None
    if app not in entries and not files:
        there = ", ".join(sorted(entries)) or ", ".join(_named(folder)) or "no app"
        raise wrong(f"there is no {app} in {folder}: it has {there}", "name the app that it has")
    entry = dict(entries.get(app, {}))
    if "port" in entry:
        entry["port"] = port
    return Recipe(entry, files)


def _entries(path: Path) -> dict[str, dict[str, object]]:
    try:
        entries = jsonfile.content(jsonfile.read(path) or {})
    except jsonfile.Unreadable as error:
        raise wrong(f"{path}: {error.reason}", "correct it there first") from None
    return {app: entry for app, entry in entries.items() if isinstance(entry, dict)}


def _named(folder: Path) -> list[str]:
    """The apps that files in it are named after."""
    found = {re.sub("^(run|test)_", "", path.stem) for path in folder.glob("*/*.*")}
    return sorted(found)
