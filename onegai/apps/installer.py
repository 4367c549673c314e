"""Installs, updates and uninstalls apps: install/lib.sh runs the script, its lines are reported."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from onegai.apps import folder as app_folder
from onegai.apps.folder import AppFolder
from onegai.apps.installed import check_installed
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.errors import (
    InstallFailed,
    Installing,
    NoInstallScript,
    NotRemovable,
    UninstallFailed,
    UpdateFailed,
)
from onegai.process import tree
from onegai.process.child import Child
from onegai.process.environment import inherited_environment
from onegai.process.logfile import LogFile
from onegai.threads import Pool

log = logging.getLogger(__name__)
T = TypeVar("T")

LOG_LINES = 20
_FROM_THE_START = 1 << 30
"""More lines than there are: the script may have written some before the log is followed."""
LOCKED = 75
"""Exit status of install/lib.sh when another install of the app runs (EX_TEMPFAIL)."""
STOP_TIMEOUT = 10.0

Say = Callable[[str], None]


class Installer:
    """Changes the folders of one home's apps. One change of an app at a time is the caller's."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def check(self, spec: AppSpec) -> None:
        """Raises NoInstallScript."""
        if not self._home.install_script(spec.app).is_file():
            raise NoInstallScript(app=spec.app)

    def check_update(self, spec: AppSpec) -> None:
        """Raises also why there is nothing to update."""
        self.check(spec)
        check_installed(self._home, spec)

    async def install(self, spec: AppSpec, report: Say) -> dict[str, Any]:
        """Run the script to its end. Cancelling ends it with everything it started.

        Nothing to do for what a script has installed; what was made by hand is ``update``'s.
        Raises InstallFailed with the last lines, or Installing when somebody installs by hand.
        """
        self.check(spec)
        return await self._run(spec, report, {}, InstallFailed)

    async def update(self, spec: AppSpec, report: Say) -> dict[str, Any]:
        """Install anew; however that ends but well, the app is as it was before.

        The service must be at rest. Raises UpdateFailed, or Installing.
        """
        self.check_update(spec)
        try:
            return await self._run(spec, report, {"ONEGAI_UPDATE": "1"}, UpdateFailed)
        finally:
            await self.recover({spec.app: spec})  # lib.sh does, unless it was killed

    async def uninstall(self, app: str, keep: list[str], report: Say) -> dict[str, Any]:
        """Remove the app's folder, but for the folders to ``keep``. MiB ``freed`` are those of
        files whose last link went. Cancelling stops in the middle: broken, to be repeated.

        The service must be at rest. Raises NotRemovable, UninstallFailed, Installing.
        """
        folder = AppFolder(self._home.apps, app)

        def work(stop: Callable[[], bool]) -> tuple[int, list[str]]:
            with folder.locked():
                return folder.uninstall(keep, stop)

        report(f"removing apps/{app}")
        try:
            freed, kept = await _in_thread(work)
        except BlockingIOError:
            raise Installing(app=app) from None
        except app_folder.Refused as refused:
            raise NotRemovable(reason=str(refused)) from None
        except OSError as error:
            raise UninstallFailed(app=app, reason=str(error)) from None
        for name in kept:
            report(f"kept apps/{app}/{name}")
        report(f"{freed >> 20} MB are free again")
        return {"app": app, "freed": freed >> 20, "kept": kept}

    async def recover(self, specs: Iterable[str]) -> None:
        """Undo the updates that were cut off. What is under way, by hand say, goes on."""
        for app in specs:
            folder = AppFolder(self._home.apps, app)
            if folder.old.exists() or folder.gone.exists():
                try:
                    done = await _in_thread(partial(_recover, folder))
                except BlockingIOError:
                    continue
                except OSError as error:
                    log.error("%s: cannot bring back what the update left: %s", app, error)
                    continue
                if done == "restored":
                    log.warning("%s: an update was cut off; the app is as it was before it", app)

    async def _run(
        self,
        spec: AppSpec,
        report: Say,
        extra: dict[str, str],
        failure: type[InstallFailed | UpdateFailed],
    ) -> dict[str, Any]:
        home, app = self._home, spec.app
        home.apps.mkdir(exist_ok=True)
        log = LogFile(home.install_log(app))
        log.clear()
        tag = tree.Tag(app, home.root, role="install")
        environment = {
            **inherited_environment(),
            **tag.environment(),
            "PIP_REQUIRE_VIRTUALENV": "1",
            "UV_PROJECT_ENVIRONMENT": "venv",
            "PYTHONUNBUFFERED": "1",
            **extra,
        }
        begun = time.monotonic()
        script = ["bash", str(home.install_runner), app]
        with log.kept_small():
            child = await Child.spawn(script, home.apps, environment, log, tag)
            try:
                # Not to the end of all that the script has left running: that is stopped.
                async for line in log.follow(_FROM_THE_START, until=child.leader_ended):
                    report(line)
            finally:
                await child.stop(STOP_TIMEOUT)
        if child.exit_status == LOCKED:
            raise Installing(app=app)
        if child.exit_status != 0:
            raise failure(
                app=app,
                reason=child.how_it_ended,
                log=home.relative(log.path),
                detail={"log": log.tail(LOG_LINES)},
            )
        return {"app": app, "seconds": round(time.monotonic() - begun, 1)}


def _recover(folder: AppFolder, _stop: Callable[[], bool]) -> str | None:
    with folder.locked():
        return folder.recover()


async def _in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run it off the loop; when cancelled, have it stop, and wait until it has.

    In a thread of its own: it may take minutes, and what needs one of the common threads for a
    moment, such as the start of a service, must not wait for that.
    """
    stop = threading.Event()
    thread = Pool("removal")
    running = asyncio.get_running_loop().run_in_executor(thread, work, stop.is_set)
    thread.shutdown(wait=False)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        running.exception()
        raise
