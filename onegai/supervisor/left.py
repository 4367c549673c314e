"""What an earlier OneGAI has left running: found again after it was killed, or let it live on.

A service that is ready has a note in data/processes/{app}.json. Its process goes on with it from
the next start on, if it still is what the note says. Everything else that carries the home's tag
is to be ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from onegai.config import jsonfile
from onegai.config.entry import APP_NAME, AppSpec
from onegai.config.home import Home, Stamp
from onegai.process import tree
from onegai.process.child import Child

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""Between SIGTERM and SIGKILL, where there is no entry to say it."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Note(BaseModel):
    """A service that is ready."""

    pid: int
    started: int
    """When the process was made, in clock ticks since the boot: tells a pid's lives apart."""
    boot: str
    gpu: int | None
    started_as: str
    """See ``AppSpec.started_as``."""
    handed_over: bool = False
    """See ``Child.handed_over``."""
    run_files: dict[str, Stamp | None] = {}
    """See ``Home.run_files``: as they were when it was started."""


@dataclass(frozen=True)
class Left:
    """What is left of a service. ``note`` None: it cannot go on, and is to be ended."""

    app: str
    note: Note | None


def write(
    home: Home,
    spec: AppSpec,
    child: Child,
    gpu: int | None,
    run_files: Mapping[str, Stamp | None],
) -> None:
    """Note that a service is ready. A process that is gone needs none. Raises OSError."""
    pid = child.pid or 0
    try:
        started = tree.started(pid)
    except (FileNotFoundError, ProcessLookupError):
        return
    note = Note(
        pid=pid,
        started=started,
        boot=_boot(),
        gpu=gpu,
        started_as=spec.started_as,
        handed_over=child.handed_over,
        run_files=dict(run_files),
    )
    jsonfile.write(home.process_note(spec.app), note.model_dump(), durable=False)


def forget(home: Home, app: str) -> None:
    """It is not ready any more."""
    home.process_note(app).unlink(missing_ok=True)


def find(home: Home) -> dict[str, Left]:
    """All that is left of the home's services. Looks at every process of the machine."""
    found = {}
    for app, pids in tree.tagged(home.root).items():
        if not APP_NAME.fullmatch(app):
            continue
        note = _read(home, app)
        goes_on = note is not None and note.pid in pids and _is_the_one(note)
        found[app] = Left(app, note if goes_on else None)
    for path in home.process_notes.glob("*.json"):
        if path.stem not in found:
            with suppress(OSError):
                path.unlink()
    return found


async def end(home: Home, app: str) -> None:
    """End all that is left of the app. Nobody may be running this home."""
    forget(home, app)
    left = Child.adopted(None, tree.Tag(app, home.root))
    log.info("%s: what is left of it is ended", app)
    await left.stop(STOP_SECONDS)


def _read(home: Home, app: str) -> Note | None:
    try:
        return Note.model_validate(jsonfile.read(home.process_note(app)))
    except (jsonfile.Unreadable, ValidationError):
        return None


def _is_the_one(note: Note) -> bool:
    try:
        return note.boot == _boot() and note.started == tree.started(note.pid)
    except OSError:
        return False


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
