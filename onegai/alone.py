"""This home's engine with the methods of ``client.Client``, for commands that need no server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from onegai.client import Answer, ServerError
from onegai.engine import Engine
from onegai.files import file_fields
from onegai.local import LocalEngine
from onegai.schema import Job, JobEvent, JobState

T = TypeVar("T")


class Alone:
    """What can be done in one go: install and the like, and calls; services end with the process.

    Raises OneGAIError where the client raises ServerError; only a job's failure is one here, too.
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
        return self._local.run(_now(lambda: self._engine.install(app)))

    def update(self, app: str) -> Job:
        """Begin to install the present version over what is there."""
        return self._local.run(_now(lambda: self._engine.update(app)))

    def uninstall(self, app: str, *, purge: bool = False) -> Job:
        """Begin to remove the app; ``purge``: its ``data`` folders, too."""
        return self._local.run(_now(lambda: self._engine.uninstall(app, purge=purge)))

    def follow(self, job: Job) -> Iterator[str]:
        """Lines of a job's output until it ends. Raises its failure as ServerError."""
        events = self._engine.jobs.events(job.id)

        async def following() -> JobEvent | None:
            return await anext(events, None)

        while (event := self._local.run(following())) is not None:
            if event.event == "output":
                yield str(event.data["line"])
        ended = self._engine.jobs.get(job.id)
        if ended.state is not JobState.DONE:
            error = ended.error or {"message": f"the job was {ended.state}", "status": 500}
            raise ServerError(int(error["status"]), str(error["message"]), error)

    def apps(self) -> dict[str, dict[str, Any]]:
        """AppInfo of all apps by name, as objects of JSON."""
        found = self._local.run(self._engine.apps())
        return {info.app: info.model_dump(mode="json") for info in found}

    def file_arguments(self, app: str, function: str) -> frozenset[str]:
        """The arguments of a function that are files."""
        found = self._local.run(_now(self._engine.functions)).get(app, {}).get(function)
        return file_fields(found.schema()) if found else frozenset()

    def answer(self, app: str, function: str, arguments: Mapping[str, object]) -> Answer:
        """Call a function and give all that it answered."""
        outcome = self._local.run(self._engine.call(app, function, dict(arguments), files="base64"))
        envelope = None
        if outcome.envelope:
            envelope = {
                "status": 0,
                "servertime": time.time(),
                "result": json.loads(outcome.body.content),
                "detail": json.loads(outcome.detail_json),
            }
        return Answer(outcome.body.content, outcome.body.media_type, envelope)


async def _now(begin: Callable[[], T]) -> T:
    """Run a plain function on the engine's loop."""
    return begin()
