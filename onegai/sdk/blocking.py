"""This home's engine with the methods of ``client.Client``, for commands that need no server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onegai.protocol import Answer, Engine
from onegai.schema import AppInfo, Job
from onegai.sdk.local import LocalEngine


class Alone:
    """What can be done in one go: installs and calls.

    Services end with the command, or live on where ``stop_children`` is 0.
    """

    lasting = False
    """Jobs end with this program."""

    def __init__(self, local: LocalEngine) -> None:
        self._local = local

    @property
    def _engine(self) -> Engine:
        return self._local.engine

    def install(self, app: str) -> Job:
        """Begin to install."""
        return self._local.run(self._engine.install(app))

    def update(self, app: str) -> Job:
        """Begin to install the present version over what is there."""
        return self._local.run(self._engine.update(app))

    def uninstall(self, app: str, *, purge: bool = False) -> Job:
        """Begin to remove the app; ``purge``: its ``data`` folders, too."""
        return self._local.run(self._engine.uninstall(app, purge=purge))

    def follow(self, job: Job) -> Iterator[str]:
        """Lines of a job's output until it ends. Raises its failure."""
        lines = self._engine.follow(job)

        async def following() -> str | None:
            return await anext(lines, None)

        while (line := self._local.run(following())) is not None:
            yield line

    def apps(self) -> dict[str, AppInfo]:
        """All apps by name."""
        return self._local.run(self._engine.apps())

    def schema(self, app: str, function: str) -> dict[str, Any] | None:
        """JSON Schema of a function's arguments; None where there is no such function."""
        return self._local.run(self._engine.schema(app, function))

    def answer(self, app: str, function: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a function and give all that it answered; files with their bytes, not as links."""
        return self._local.run(self._engine.answer(app, function, arguments, files="base64"))
