"""The folder of one app, for lib.sh and for people.

    python3 install/app_folder.py HOME APP facts | ours | clear | aside | bring | recover
    python3 install/app_folder.py HOME APP uninstall [--purge]        (for people)

Standard library only, Python 3.9+: OneGAI's own venv need not be there.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "onegai" / "apps"))
from folder import AppFolder, Refused, kept_folders, script_digest


def _entry(home: Path, app: str) -> dict[str, Any]:
    """The app's entry as the user has it: services.json, services.local.json, config.json."""

    def read(name: str, *path: str) -> dict[str, Any]:
        try:
            entry = json.loads((home / name).read_text("utf-8-sig"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Refused(
                f"{name} is not valid JSON: {error}\n  fix: correct it; it says what is kept"
            ) from None
        for key in (*path, app):
            entry = entry.get(key) if isinstance(entry, dict) else None
        return entry if isinstance(entry, dict) else {}

    files = ("services.json",), ("services.local.json",), ("config.json", "apps")
    return {key: value for names in files for key, value in read(*names).items()}


def _uninstall_by_hand(folder: AppFolder, keep: list[str]) -> list[str]:
    try:
        with folder.locked():
            freed, left = folder.uninstall(keep)
    except BlockingIOError:
        raise Refused(f"{folder.app} is being installed or removed by another process") from None
    kept = [f"kept: apps/{folder.app}/{name}" for name in left]
    return [f"==> {folder.app} is uninstalled, {freed >> 20} MB are free again", *kept]


def _cleared(folder: AppFolder, keep: list[str]) -> list[str]:
    if folder.holds_only(keep):
        return []
    freed, left = folder.clear(keep)
    kept = f"; kept: {', '.join(left)}" if left else ""
    return [
        f"removed from apps/{folder.app} what a try that failed has left: {freed >> 20} MB{kept}"
    ]


def _main(home: Path, app: str, action: str, *options: str) -> list[str]:
    """Do it; the lines to print."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", app):
        raise Refused(f"{app!r} is not an app name")
    folder = AppFolder(home / "apps", app)
    if action == "recover":
        return [done] if (done := folder.recover()) else []
    entry = _entry(home, app)
    keep = [] if "--purge" in options else kept_folders(entry.get("data", []))
    if action == "facts":
        return [str(entry.get("disk", 0)), script_digest(home, app), *keep]
    if action == "ours":
        sys.exit(not folder.holds_only(keep))
    if action == "uninstall":
        return _uninstall_by_hand(folder, keep)
    if action == "clear":
        return _cleared(folder, keep)
    if action == "aside":
        folder.aside(keep)
    elif action == "bring":
        folder.bring()
    else:
        raise Refused(f"unknown action {action}")
    return []


if __name__ == "__main__":
    try:
        for line in _main(Path(sys.argv[1]), *sys.argv[2:]):
            print(line)
    except (Refused, OSError) as error:
        sys.exit(f"error: {error}")
