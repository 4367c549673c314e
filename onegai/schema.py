"""Wire types shared by server and client. Memory is MiB, times are Unix seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Switch = Annotated[bool, WithJsonSchema({"enum": [0, 1, False, True]})]
"""On or off; people write 1 and 0."""

MOST_GB = 1_000_000
"""No machine has more memory; what is declared beyond it is a mistake."""

FileForm = Literal["url", "base64", "signed"]
"""How files stand in an answer: with a URL, with their bytes too, with a URL that needs no
password."""


class State(StrEnum):
    """States of a service; the service's owner task is the only writer."""

    ABSENT = "absent"
    INSTALLING = "installing"
    STOPPED = "stopped"
    QUEUED = "queued"
    STARTING = "starting"
    READY = "ready"
    PARKED = "parked"
    STOPPING = "stopping"
    FAILED = "failed"


class Problem(BaseModel):
    """Something that is wrong with a file of the user's, and did not stop the server."""

    app: str = Field(default="", description="the app it concerns; empty: the file as a whole")
    file: str = Field(description="path below the home")
    line: int | None = None
    key: str = Field(default="", description="the key that is wrong")
    reason: str
    remark: bool = Field(default=False, description="unusual, but it may well be meant so")

    def in_words(self) -> str:
        """As one line, for logs and terminals."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        what = " ".join(part for part in (self.app, self.key) if part)
        return f"{place}: {what + ': ' if what else ''}{self.reason}"


class StopReason(StrEnum):
    """Why a service stopped."""

    MADE_ROOM = "made_room"
    IDLE = "idle"
    CRASHED = "crashed"
    FAILED = "failed"
    STOPPED = "stopped"
    CHANGED = "changed"
    ABANDONED = "abandoned"
    RESTARTED = "restarted"
    LEFT_OVER = "left_over"


class LastStop(BaseModel):
    """Why and when a service last stopped, or released its memory."""

    reason: StopReason = Field(
        description="made_room: for the app in `app`; idle: for its idle_timeout; crashed: ended "
        "by itself; failed: could not go on; stopped: by you; changed: it was updated or "
        "uninstalled, or its entry is gone; abandoned: nobody waited for its start any more; "
        "restarted: its released memory was not free again; left_over: could not go on when "
        "OneGAI started again"
    )
    app: str = Field(default="", description="the app that it made room for")
    text: str = Field(description="the same in words")
    at: float = Field(description="when")
    parked: bool = Field(default=False, description="it runs on, and has only released its memory")


class ServiceStatus(BaseModel):
    """One service, as seen by its owner."""

    app: str
    state: State
    reason: str = Field(default="", description="why it failed; empty otherwise")
    pid: int | None = None
    port: int | None = None
    url: str | None = Field(
        default=None, description="base URL while ready; a password in it is masked"
    )
    gpu: int | None = Field(default=None, description="index of the GPU that it was started on")
    leases: int = Field(default=0, description="requests that hold it right now")
    waiting: int = Field(default=0, description="callers that wait for it to be ready")
    place: int = Field(
        default=0, description="its place among those that wait for memory, from 1; 0: it does not"
    )
    making_way: bool = Field(
        default=False,
        description="ready, but no new call gets in: another app waits for its memory",
    )
    calls: int = Field(default=0, description="calls of its functions that run")
    queued: int = Field(default=0, description="calls of its functions that wait for their turn")
    idle_seconds: float | None = Field(
        default=None, description="since its last use; None unless it is ready or parked"
    )
    since: float = Field(description="when the state began")
    start_seconds: float | None = Field(default=None, description="how long the last start took")
    unresponsive: float | None = Field(
        default=None,
        description="ready, and answers its health check no more: since when; None: it does",
    )
    last_stop: LastStop | None = Field(
        default=None, description="its last stop since OneGAI started; None: there was none"
    )
    vram: int = Field(default=0, description="declared need, MiB")
    vram_learnt: int | None = Field(
        default=None,
        description="VRAM that its recent runs took at most, MiB (their median); None: not known",
    )
    ram: int = Field(default=0, description="declared need, MiB")
    vram_used: int | None = Field(
        default=None, description="VRAM of its processes, MiB; None: the driver does not say"
    )
    rss: int | None = Field(default=None, description="resident memory of its processes, MiB")
    outdated: list[str] = Field(
        default=[],
        description="keys, and files of run/, that changed since it was started, and wait for its "
        "restart",
    )
    problems: list[str] = []


class Plan(BaseModel):
    """GET /service/plan: what a start would do now. Memory in MiB."""

    app: str
    action: Literal["none", "start", "evict", "wait", "refuse"]
    text: str = Field(description="the plan in words")
    gpu: int | None = None
    stop: list[str] = Field(default=[], description="idle services that would be stopped")
    release: list[str] = Field(default=[], description="that would release their memory instead")
    wait_for: list[str] = Field(default=[], description="services that it would have to wait for")
    error: str = Field(default="", description="code of the error that a start would be now")
    need: int = Field(
        description="VRAM that it counts for there: what it declares, or what its recent runs took"
    )
    free: int | None = Field(default=None, description="VRAM that is free there; None: unknown")
    total: int | None = None
    need_ram: int
    free_ram: int


class GpuStatus(BaseModel):
    """One GPU, MiB."""

    index: int
    name: str
    total: int
    free: int
    others: int = Field(
        default=0,
        description="used by programs that are no services (a game, OBS); where the driver does "
        "not say whose memory it is, what is used beyond what the services declare",
    )


class MemoryStatus(BaseModel):
    """The machine's memory, MiB. ``gpus`` None: the probe failed, which is not "no GPU"."""

    gpus: list[GpuStatus] | None
    ram_total: int
    ram_free: int
    fake: bool = Field(default=False, description="the numbers come from ONEGAI_FAKE_GPU")


class StatusReport(BaseModel):
    """GET /service/status."""

    services: list[ServiceStatus]
    memory: MemoryStatus
    problems: list[Problem]
    overridden: list[str] = Field(
        default=[],
        description="keys of config.json over which an argument or environment variable wins",
    )
    functions_only: list[str] = Field(
        default=[], description="active apps that have no service: they are there to be called"
    )


class FunctionSummary(BaseModel):
    """One function of an app, in a list of apps."""

    name: str
    summary: str = Field(default="", description="the first line of what is told of it")
    derived: bool = Field(default=False, description="made from main or raw, whichever exists")
    streams: bool = Field(default=False, description="gives its result in pieces")


class FunctionInfo(FunctionSummary):
    """GET /api/{app}/{function}: all that there is to know of a function."""

    model_config = ConfigDict(serialize_by_alias=True)

    about: str = Field(default="", description="all that is told of it")
    arguments: dict[str, Any] = Field(
        alias="schema", description="JSON Schema of its arguments, models in $defs"
    )


class AppInfo(BaseModel):
    """GET /app/list, one entry."""

    app: str
    title: str = ""
    about: str = ""
    type: str = Field(default="", description="empty when the entry itself is broken, or gone")
    active: bool = True
    installed: bool
    installable: bool = Field(description="there is an install script")
    by_hand: bool = Field(default=False, description="installed, and not by its install script")
    state: State
    job: Job | None = Field(
        default=None, description="what installs, updates or uninstalls it right now"
    )
    size: int | None = Field(default=None, description="MiB on disk; None: not measured yet")
    shared: int | None = Field(
        default=None, description="MiB of it that uv's cache or another app holds too (hard links)"
    )
    functions: list[FunctionSummary] = []
    problems: list[Problem] = []


class JobState(StrEnum):
    """States of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True for the states a job never leaves."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Job(BaseModel):
    """A recorded piece of work that outlives its HTTP request."""

    id: str
    kind: str = Field(description="what is done, for example install")
    app: str
    function: str = Field(default="", description="what is called, for a job of kind call")
    state: JobState
    created: float
    started: float | None = None
    ended: float | None = None
    result: Any = None
    result_url: str | None = Field(
        default=None, description="where the result of a call is, for an hour after its end"
    )
    error: dict[str, Any] | None = Field(
        default=None, description="for a failed job: message, HTTP status, code, src, hint, log"
    )
    log: list[str] = Field(default=[], description="the last lines of its output")


class Event(BaseModel):
    """One event of a call or a job; ``id`` grows."""

    id: int
    event: str = Field(
        description="queued, evicting, starting, running, progress, output, done or error; of a "
        "job also state, and gap (some are stored no more)"
    )
    data: dict[str, Any]


class Document(BaseModel):
    """config.json or the entries, with secrets masked."""

    content: dict[str, Any]
    etag: str = Field(description="of what lies on disk, in quotes")


class Applied(BaseModel):
    """What a change of config.json or the entries has done; keys are paths like ``apps.x.vram``."""

    etag: str = Field(description="of the file as it is now")
    now: list[str] = Field(default=[], description="keys that are in effect")
    restart_services: dict[str, list[str]] = Field(
        default={}, description="per running app: keys that wait for its restart"
    )
    restart_server: list[str] = Field(
        default=[], description="keys that wait for the restart of OneGAI"
    )
    without_effect: dict[str, str] = Field(default={}, description="keys, and why they do nothing")


class Envelope(BaseModel):
    """OneGAI's own JSON answers. ``status`` 1: failed, and ``result`` says why in words."""

    status: int
    servertime: float
    result: Any
    detail: dict[str, Any] = {}
