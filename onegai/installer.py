"""Runs install/{app}.sh in apps/, in a process group of its own, reporting its lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from onegai.catalog import AppSpec
from onegai.errors import InstallFailed, Installing, NoInstallScript
from onegai.home import Home
from onegai.process import tree
from onegai.process.child import Child, inherited_environment
from onegai.process.logfile import LogFile

LOG_LINES = 20
_FROM_THE_START = 1 << 30
"""More lines than there are: the script may have written some before the log is followed."""
LOCKED = 75
"""Exit status of install/lib.sh when another install of the app runs (EX_TEMPFAIL)."""
STOP_TIMEOUT = 10.0


class Installer:
    """Installs apps of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def check(self, spec: AppSpec) -> None:
        """Raises NoInstallScript."""
        if not self._home.install_script(spec.app).is_file():
            raise NoInstallScript(app=spec.app)

    async def install(self, spec: AppSpec, report: Callable[[str], None]) -> dict[str, Any]:
        """Run the script to its end. Cancelling ends it with everything it started.

        Raises InstallFailed with the last lines, or Installing when somebody installs by hand.
        """
        self.check(spec)
        home, app = self._home, spec.app
        home.apps.mkdir(exist_ok=True)
        log = LogFile(home.install_log(app))
        log.path.unlink(missing_ok=True)
        tag = tree.Tag(app, home.root, role="install")
        environment = {
            **inherited_environment(),
            **tag.environment(),
            "PIP_REQUIRE_VIRTUALENV": "1",
            "UV_PROJECT_ENVIRONMENT": "venv",
            "PYTHONUNBUFFERED": "1",
        }
        begun = time.monotonic()
        child = await Child.spawn(
            ["bash", f"../install/{app}.sh"], home.apps, environment, log, tag
        )
        try:
            async for line in log.follow(_FROM_THE_START, until=child.ended):
                report(line)
        finally:
            await child.stop(STOP_TIMEOUT)
        if child.exit_status == LOCKED:
            raise Installing(app=app)
        if child.exit_status != 0:
            raise InstallFailed(
                app=app,
                reason=child.how_it_ended,
                log=home.relative(log.path),
                detail={"log": log.tail(LOG_LINES)},
            )
        return {"app": app, "seconds": round(time.monotonic() - begun, 1)}
