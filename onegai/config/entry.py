"""One entry of services.json: what an app is and how it runs."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from onegai.config import patterns
from onegai.schema import MOST_GB, Switch

APP_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
SHELL_OPERATORS = frozenset("&;|<>")
CAP_FACTOR = 4
"""A start may take this many start_timeouts in all, however much it logs."""


def _relative_folder(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError("must be a folder below apps/{app}")
    return value


def _folder_below(value: str) -> str:
    if not value.strip("./"):
        raise ValueError("must be a folder below apps/{app}, not that folder itself")
    return _relative_folder(value)


def _no_zero(value: str) -> str:
    """Arguments and variables of a process end with a zero byte, so they can hold none."""
    if "\0" in value:
        raise ValueError("contains a zero byte")
    return value


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError(f"{name!r} cannot be the name of a variable")
    return _no_zero(name)


def _no_shell(value: str, about: ValidationInfo) -> str:
    """Refuse what only a shell understands; ``exec`` is run without one."""
    _no_zero(value)
    try:
        if not shlex.split(value):
            raise ValueError("it is empty")
        # Not POSIX: quotes stay, so that a quoted operator is told from a real one.
        lexer = shlex.shlex(value, posix=False, punctuation_chars="&;|<>")
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = list(lexer)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from None
    for word in words:
        if set(word) <= SHELL_OPERATORS:
            script = f"run/run_{about.data['app']}.sh"
            raise ValueError(f"contains {word!r}, and no shell runs it: put it in {script}")
    return value


def _sendable(value: SecretStr) -> SecretStr:
    """RFC 9110, 5.5: what any server reads as it was meant. The value is not in the error."""
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable() and text.strip(" ")):
        raise ValueError("must be one line of ASCII characters")
    return value


def _header(name: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError(f"{name!r} cannot be the name of a header")
    if name.lower() in _OF_THE_MESSAGE:
        raise ValueError(f"{name} is about the message itself, and no credential")
    return name


_OF_THE_MESSAGE = frozenset(
    "host content-length transfer-encoding connection content-type te upgrade expect".split()
)
_Sent = Annotated[SecretStr, AfterValidator(_sendable)]


class Credentials(BaseModel):
    """What an app wants to see in each request; ``{openai_key}`` is that key of config.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: dict[Annotated[str, AfterValidator(_header)], _Sent] = Field(
        default={}, description="headers by name"
    )
    query: dict[str, SecretStr] = Field(default={}, description="parameters of the query by name")
    basic: tuple[SecretStr, SecretStr] | None = Field(
        default=None, description="user name and password of BASIC"
    )
    bearer: _Sent | None = Field(default=None, description="a Bearer token")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Credentials:
        named = [name.lower() for name in self.header]
        if len(set(named)) < len(named):
            raise ValueError("a header stands there twice")
        ways = (self.basic is not None, self.bearer is not None, "authorization" in named)
        if sum(ways) > 1:
            raise ValueError("basic, bearer and a header Authorization are one header: give one")
        if not (self.header or self.query or any(ways)):
            raise ValueError("give header, query, basic or bearer")
        return self


class Ready(BaseModel):
    """How it is known that a service is ready; exactly one of the three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http: str | None = Field(
        default=None, pattern=r"^/", description="path that answers with a status below 500"
    )
    tcp: Switch | None = Field(default=None, description="true: when the port listens")
    log: str | None = Field(
        default=None, max_length=1000, description="regular expression of a line of its log"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Ready:
        if sum((self.http is not None, bool(self.tcp), self.log is not None)) != 1:
            raise ValueError('give exactly one of "http", "tcp": true, "log"')
        if self.log is not None:
            try:
                patterns.check(self.log)
            except ValueError as error:
                raise ValueError(f"log is {error}") from None
        return self


class Release(BaseModel):
    """How an app frees its VRAM without being stopped: one request to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    post: str = Field(pattern=r"^/", description="path that answers once the VRAM is free")
    body: dict[str, Any] = Field(default={}, alias="json", description="what is sent there")


class Wake(BaseModel):
    """Which proxied requests may start the app or hold a lease (used by the gateway)."""

    model_config = ConfigDict(frozen=True, extra="allow")


class AppSpec(BaseModel):
    """One entry of services.json. Seconds and GB as in the file; ``*_mib`` for the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    app: str
    active: Switch = Field(default=True, description="1: callable through the API")
    type: Literal["gradio", "webapi", "command", "inline", "functions"] = Field(
        description="gradio, webapi: a process with a port; command, inline, functions: functions "
        "only; a func file without an entry is of type functions"
    )
    port: int | None = Field(
        default=None, ge=1, le=65535, description="its fixed port on 127.0.0.1"
    )
    exec: Annotated[str, AfterValidator(_no_shell)] | None = Field(
        default=None,
        description="start command, run in apps/{app}/{cwd} without a shell; {port}, {app_dir} and "
        "{root} are replaced",
    )
    cwd: Annotated[str, AfterValidator(_relative_folder)] = Field(
        default="", description="folder below apps/{app}"
    )
    env: dict[
        Annotated[str, AfterValidator(_variable)], Annotated[str, AfterValidator(_no_zero)]
    ] = Field(
        default={}, description="extra environment; {port}, {app_dir} and {root} are replaced"
    )
    vram: float = Field(
        default=0,
        ge=0,
        le=MOST_GB,
        description="GB of VRAM that it takes at most; 0: none, or not checked",
    )
    ram: float = Field(
        default=0,
        ge=0,
        le=MOST_GB,
        description="GB of RAM that it takes at most; 0: not checked",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/]+",
        description="base URL of a service that runs elsewhere; nothing is started",
    )
    credentials: Credentials | None = Field(
        default=None,
        description="added to each request to it: header, query, basic, bearer; {openai_key} in "
        "a value is that key of config.json",
    )
    ready: Ready = Field(default=Ready(http="/"), description="how it is known to be ready")
    start_timeout: float = Field(
        default=600, gt=0, description="seconds without a line of log; four times that in all"
    )
    stop_timeout: float = Field(default=10, ge=0, description="seconds between SIGTERM and SIGKILL")
    call_timeout: float = Field(
        default=3600, gt=0, description="seconds a call may take, with all waiting"
    )
    idle_timeout: float = Field(
        default=0, ge=0, description="stop after so many idle seconds; 0: never"
    )
    keep: Switch = Field(default=False, description="1: never evicted for another app")
    autostart: Switch = Field(default=False, description="1: started with the server")
    concurrency: int | None = Field(
        default=None,
        ge=1,
        description="calls at once, the rest wait in order; without it 8, gradio and command 1",
    )
    queue: int = Field(default=64, ge=0, description="how many calls may wait; more are refused")
    queue_timeout: float = Field(
        default=600,
        gt=0,
        description="seconds a call may wait for its turn, and the app for memory",
    )
    restart: Literal["on-failure", "never"] = Field(
        default="on-failure",
        description="after a crash, of what was started by hand or has keep or autostart",
    )
    release: Release | None = Field(
        default=None,
        description='frees VRAM without stopping: {"post": "/free", "json": {...}}',
    )
    wake: Wake | None = Field(
        default=None, description="which proxied requests may start it or hold a lease"
    )
    public_port: int | None = Field(
        default=None, ge=0, le=65535, description="port of its own pages behind auth; 0: none"
    )
    owner_check: Switch = Field(
        default=True, description="0: the port's listener need not be our child (containers)"
    )
    openapi: str | None = Field(
        default=None,
        pattern=r"^(/|https?://[^/]+)",
        description="path or URL of a webapi's OpenAPI document, where it is not found by itself",
    )
    functions: dict[str, Any] | None = Field(
        default=None,
        description="of a webapi: functions that its OpenAPI document lacks (path, method, args), "
        "other names for those it has, null for those that are not wanted",
    )
    args: list[str] | None = Field(default=None, description="arguments of a command")
    repl: dict[str, Any] | None = Field(
        default=None, description="a command that stays open between calls"
    )
    disk: float = Field(default=0, ge=0, description="GB of disk needed to install")
    data: tuple[Annotated[str, AfterValidator(_folder_below)], ...] = Field(
        default=(),
        description="folders below apps/{app} that survive uninstall and update (models, voices)",
    )
    title: str = Field(default="", description="its name, for people")
    about: str = Field(default="", description="what it is, in one line")
    homepage: str = Field(default="", description="where it comes from")
    license: str = Field(default="", description="licences of the app and its models")
    tags: tuple[str, ...] = Field(default=(), description="words to find it by")

    @model_validator(mode="after")
    def _can_run(self) -> AppSpec:
        if self.type in ("gradio", "webapi") and self.url is None:
            if self.exec is None:
                raise ValueError("needs exec (how to start it) or url (where it runs)")
            if self.port is None:
                raise ValueError("needs a port")
        return self

    @property
    def has_service(self) -> bool:
        """True when there is a process to start or a URL to speak to."""
        return self.type in ("gradio", "webapi")

    @property
    def calls_at_once(self) -> int:
        """``concurrency``, or what suits the type: Gradio and commands are used one by one."""
        return self.concurrency or (1 if self.type in ("gradio", "command") else 8)

    @property
    def started_as(self) -> str:
        """Tells one way to start its process from another. A hash: ``env`` may hold secrets."""
        facts = self.model_dump(mode="json", include={"type", "port", "exec", "cwd", "env"})
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def vram_mib(self) -> int:
        """Declared VRAM, MiB (1 GB of the file is 2**30 bytes)."""
        return round(self.vram * 1024)

    @property
    def ram_mib(self) -> int:
        """Declared RAM, MiB."""
        return round(self.ram * 1024)


ENTRY_KEYS = AppSpec.model_fields.keys() - {"app"}
