"""What can be done with a OneGAI, wherever it is: in this process, or behind HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from onegai.errors import Relayed, Stopped
from onegai.schema import (
    AppInfo,
    Applied,
    Document,
    Envelope,
    Event,
    FileForm,
    FunctionInfo,
    Job,
    JobState,
    Plan,
    ServiceStatus,
    StatusReport,
)

LONGEST_LINE = 4096
"""Characters of text without a line break, in what a job is told to people with."""


@dataclass(frozen=True)
class Answer:
    """What a call gave, undigested. ``envelope`` None: ``content`` is the result itself."""

    content: bytes
    media_type: str
    envelope: dict[str, Any] | None = None
    problem: str = ""
    """Why the function may not be what its file says; empty: it is."""

    @classmethod
    def of(cls, function: str, content: bytes, media_type: str, problem: str = "") -> Answer:
        """Tell an envelope from a bare result. Raises ValueError for JSON that is none."""
        if function != "raw" and media_type == "application/json":
            value = json.loads(content)
            if isinstance(value, dict) and value.keys() == Envelope.model_fields.keys():
                return cls(content, media_type, value, problem)
        return cls(content, media_type, problem=problem)

    @property
    def result(self) -> Any:
        """The result: an object where it is JSON, a str where it is text, else bytes."""
        if self.envelope is not None:
            return self.envelope["result"]
        if self.media_type.startswith("application/json"):
            return json.loads(self.content)
        if self.media_type.startswith("text/"):
            return self.content.decode("utf-8", "replace")
        return self.content

    @property
    def detail(self) -> dict[str, Any]:
        """What is told beside the result; nothing for one that is bare."""
        return dict(self.envelope["detail"]) if self.envelope is not None else {}


class Engine(Protocol):
    """One OneGAI. Every method raises OneGAIError, with the same ``code`` wherever it is.

    Closing an iterator, or cancelling what waits for an answer, lets go of what it used. What gives
    lines or events raises at the call or at the first of them.
    """

    async def apps(self) -> dict[str, AppInfo]:
        """Every app by name, the broken entries too. Measures folders, so it may take a while."""
        ...

    async def install(self, app: str, *, wait: bool = False) -> Job:
        """Begin to install, or join the install that runs.

        With ``wait``, here and below: come back when the job has ended, or raise its failure.
        """
        ...

    async def update(self, app: str, *, force: bool = False, wait: bool = False) -> Job:
        """Install again beside the app that is there, which comes back if that fails.

        Its service is stopped first, after the calls in flight, unless ``force``.
        """
        ...

    async def uninstall(
        self, app: str, *, purge: bool = False, force: bool = False, wait: bool = False
    ) -> Job:
        """Stop the service and remove apps/{app}, except data folders unless ``purge``."""
        ...

    async def jobs(self) -> list[Job]:
        """The jobs of this run of the engine, newest first."""
        ...

    async def job(self, job_id: str) -> Job:
        """One job."""
        ...

    def events(self, job_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """A job's events from the one behind ``after`` on, until it ends."""
        ...

    def follow(self, job: Job) -> AsyncGenerator[str, None]:
        """The lines of a job's output as they come, until it ends. Raises its failure."""
        ...

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; its state when it has ended."""
        ...

    async def start(self, app: str, *, restart: bool = False, wait: bool = True) -> ServiceStatus:
        """Have the service ready, or on its way with ``wait`` False. Idempotent."""
        ...

    async def stop(self, app: str, *, force: bool = False) -> list[ServiceStatus]:
        """Have the service stopped; ``"*"`` stops all. Waits for calls, unless ``force``.

        Gives those that it concerned.
        """
        ...

    async def status(self) -> StatusReport:
        """All services, the machine's memory, and everything that is wrong."""
        ...

    async def plan(self, app: str) -> Plan:
        """What a start would do now: evict whom, wait for whom, or why it is impossible."""
        ...

    async def logs(self, app: str, tail: int = 200) -> str:
        """The last lines of the service's log."""
        ...

    def log_follow(self, app: str, tail: int = 200) -> AsyncGenerator[str, None]:
        """The last lines, then new ones until the engine ends."""
        ...

    async def config_document(self) -> Document:
        """What config.json holds, with its secrets masked, and an ETag."""
        ...

    async def replace_config(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make config.json hold this, and heed it, if ``if_match`` is its ETag or ``*``."""
        ...

    async def services_document(self) -> Document:
        """The entries of all apps, with their secrets masked, and an ETag."""
        ...

    async def replace_services(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make the entries be these, and heed them, if ``if_match`` is their ETag or ``*``."""
        ...

    async def functions(self) -> dict[str, list[FunctionInfo]]:
        """What can be called: the functions of every active app that has any, as they are known."""
        ...

    async def functions_of(self, app: str) -> list[FunctionInfo]:
        """Those of one app as they are now, installed or not."""
        ...

    async def function(self, app: str, name: str) -> FunctionInfo:
        """One function, whether its app is installed or not."""
        ...

    async def answer(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Answer:
        """Call a function with JSON arguments, which may have any name.

        A Path, alone or in a list, is a file of the caller's; BadArguments if it cannot be read.
        ``files``: how files stand in what it answers.
        """
        ...

    def stream(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> AsyncGenerator[Event, None]:
        """As ``answer``, as the call's events; closing it cancels the call.

        What is wrong with the arguments, and a full queue, is raised at the first of them; what
        goes wrong then is the last one, ``error``. The others: ``queued`` {place}, ``evicting``
        {apps}, ``starting`` {app}, ``running``, ``progress`` {fraction?, text?, …}, ``output``
        {result} for each piece that the function yields, and as the last one ``done`` {result,
        detail}, where the pieces are the result unless there is another one.
        """
        ...

    async def submit(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Job:
        """As ``answer``, as a job: wrong arguments and a full queue are raised here."""
        ...

    async def result(self, job: Job) -> Answer:
        """What a call that was submitted has answered, for an hour after its end.

        Raises its error, and JobNotDone.
        """
        ...


async def output_of(engine: Engine, job: Job) -> AsyncGenerator[str, None]:
    """``Engine.follow`` by means of its other methods."""
    lines = Lines()
    async with aclosing(engine.events(job.id)) as events:
        async for event in events:
            for line in lines.feed(event.event, event.data):
                yield line
    if lines.rest:
        yield lines.rest
    raise_failure(await engine.job(job.id))


class Lines:
    """A job's events as lines for people. Pieces of text become lines where they break."""

    def __init__(self) -> None:
        self.rest = ""
        """Text whose line has not ended."""

    def feed(self, event: str, data: Mapping[str, Any]) -> list[str]:
        """The lines that are complete with this event."""
        piece = data.get("result") if event == "output" else None
        if isinstance(piece, str):
            *lines, rest = (self.rest + piece).split("\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], ""
            self.rest = rest
            return lines
        line = line_of(event, data)
        if line is None:
            return []
        lines = [self.rest, line] if self.rest else [line]
        self.rest = ""
        return lines


def line_of(event: str, data: Mapping[str, Any]) -> str | None:
    """What an event that is no piece says to people; None: nothing."""
    match event:
        case "gap":
            return f"[{data['missed']} events of this job are left out here]"
        case "output":
            return str(data["line"]) if "line" in data else None
        case "queued":
            return f"number {data['place']} in line"
        case "evicting":
            return f"{', '.join(data['apps'])}: to make room"
        case "starting":
            return f"waiting for {data['app']} to be ready"
        case "progress":
            share = f"{data['fraction']:.0%}" if "fraction" in data else ""
            return f"{share} {data.get('text', '')}".strip() or None
    return None


def raise_failure(job: Job) -> None:
    """Raise why the job failed, or that it was cancelled; nothing for one that went well."""
    if job.error is not None:
        raise failure(job.error)
    if job.state is JobState.CANCELLED:
        raise Stopped(app=f"the {job.kind} of {job.app}")


def failure(error: Mapping[str, Any]) -> Relayed:
    """What the data of an event ``error``, or a job's error, says."""
    more = {key: value for key, value in error.items() if key not in ("message", "status")}
    return Relayed.of(int(error["status"]), str(error["message"]), more)
