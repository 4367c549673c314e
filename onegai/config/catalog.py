"""services.json + services.local.json + config.json's ``apps`` → one AppSpec per app.

A bad entry is listed with its key and reason, and hides no other. Keys are merged per app: what
the later source names wins. A func file without an entry is an app, too: functions only.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from onegai.config import jsonfile, patterns
from onegai.config.home import Home
from onegai.errors import BrokenEntry, Inactive, UnknownApp, UnreadableFile
from onegai.schema import MOST_GB, Problem, Switch

APP_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
RESERVED = frozenset(
    "api app service config job events health metrics proxy docs redoc openapi v1 mcp obs console "
    "file".split()
)
_APP_KEY = "unknown key: an app is named by its entry's name"
SHELL_OPERATORS = frozenset("&;|<>")


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
    functions: dict[str, Any] | None = Field(
        default=None, description="declared functions of a webapi"
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


@dataclass(frozen=True)
class Catalog:
    """All entries that are good, and what is wrong with the others."""

    specs: Mapping[str, AppSpec]
    broken: Mapping[str, Problem] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    own_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Per app: the keys of config.json's ``apps`` that are the app's own settings."""

    def spec(self, app: str) -> AppSpec:
        """The app's entry. Raises UnknownApp, BrokenEntry, UnreadableFile."""
        spec = self.specs.get(app)
        if spec is not None:
            return spec
        if (problem := self.broken.get(app)) is not None:
            reason = f"{problem.key}: {problem.reason}" if problem.key else problem.reason
            raise BrokenEntry(app=app, reason=reason, file=problem.file)
        for unread in self.problems:
            if not unread.app:  # the file as a whole, which may have it
                raise UnreadableFile(file=unread.file, reason=unread.reason)
        names = ", ".join(sorted(self.specs))
        raise UnknownApp(
            app=app, do=f"the apps are: {names}" if names else "services.json is empty"
        )

    def active(self, app: str) -> AppSpec:
        """The entry of an app that is switched on. Raises UnknownApp, BrokenEntry, Inactive."""
        spec = self.spec(app)
        if not spec.active:
            raise Inactive(app=app)
        return spec

    def problems_of(self, app: str) -> list[Problem]:
        """The problems that name this app."""
        return [problem for problem in self.problems if problem.app == app]


def load_catalog(
    home: Home,
    overrides: Mapping[str, Mapping[str, Any]],
    read: Callable[[Path], Mapping[str, Any] | None] = jsonfile.read,
) -> Catalog:
    """Read both files and lay ``overrides`` (config.json's ``apps``) over them. Never raises.

    ``read`` gives what a file holds, or raises Unreadable.
    """
    problems: list[Problem] = []
    broken: dict[str, Problem] = {}

    def refuse(problem: Problem) -> None:
        problems.append(problem)
        broken.setdefault(problem.app, problem)

    merged, origin = _merged_files(home, read, problems, refuse)
    for app in func_apps(home):
        if app not in origin:
            merged[app], origin[app] = {"type": "functions"}, home.relative(home.func_file(app))
    own_settings = _lay_over(home, merged, origin, overrides, problems)
    specs: dict[str, AppSpec] = {}
    for app, entry in merged.items():
        try:
            specs[app] = AppSpec.model_validate({**entry, "app": app})
            if "app" in entry:
                refuse(Problem(app=app, file=origin[app], key="app", reason=_APP_KEY))
        except ValidationError as error:
            off = entry.get("active") in (0, False)
            for key, reason in _reasons(error):
                refuse(Problem(app=app, file=origin[app], key=key, reason=reason, remark=off))
    specs = {app: spec for app, spec in specs.items() if app not in broken}
    problems.extend(_shared_ports(specs.values(), origin))
    return Catalog(specs, broken, tuple(problems), own_settings)


def _merged_files(
    home: Home,
    read: Callable[[Path], Mapping[str, Any] | None],
    problems: list[Problem],
    refuse: Callable[[Problem], None],
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The entries of both files, merged per app, and the file that named each app last."""
    merged: dict[str, dict[str, Any]] = {}
    origin: dict[str, str] = {}
    for path in (home.services, home.services_local):
        name = home.relative(path)
        try:
            entries = jsonfile.content(read(path) or {})
        except jsonfile.Unreadable as error:
            problems.append(Problem(file=name, line=error.line, reason=error.reason))
            continue
        for app, entry in entries.items():
            origin[app] = name
            if (reason := bad_name(app)) is not None:
                refuse(Problem(app=app, file=name, reason=reason))
            elif not isinstance(entry, dict):
                refuse(Problem(app=app, file=name, reason="the entry must be an object, {...}"))
            else:
                merged.setdefault(app, {}).update(jsonfile.content(entry))
    return merged, origin


def _lay_over(
    home: Home,
    merged: dict[str, dict[str, Any]],
    origin: dict[str, str],
    overrides: Mapping[str, Mapping[str, Any]],
    problems: list[Problem],
) -> dict[str, Mapping[str, Any]]:
    """Apply config.json's ``apps``; what no entry key is called is the app's own setting."""
    own: dict[str, Mapping[str, Any]] = {}
    config = home.relative(home.config)
    for app, keys in overrides.items():
        if app not in merged:
            problems.append(Problem(app=app, file=config, key=f"apps.{app}", reason="no such app"))
            continue
        known = {key: value for key, value in keys.items() if key in AppSpec.model_fields}
        if known:
            merged[app].update(known)
            origin[app] = f"{origin[app]} with apps.{app} of {config}"
        own[app] = {key: value for key, value in keys.items() if key not in known}
        problems += (
            Problem(app=app, file=config, key=f"apps.{app}.{key}", reason=reason)
            for key in own[app]
            if (reason := mistyped(home, app, key))
        )
    return own


def mistyped(home: Home, app: str, key: str) -> str:
    """What is wrong with a key of config.json's ``apps`` that no entry has; empty: nothing.

    It is a setting of the app's own, unless it is near a key of entries and func/{app}.py does not
    have that word.
    """
    if jsonfile.is_comment(key) or not (meant := jsonfile.meant(key, ENTRY_KEYS)):
        return ""
    try:
        uses = home.func_file(app).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        uses = ""
    return "" if key in uses else f"unknown key{meant}"


def func_apps(home: Home) -> list[str]:
    """The names of func files that are names of apps: each is an app, with an entry or without."""
    stems = sorted(path.stem for path in home.func.glob("*.py"))
    return [stem for stem in stems if bad_name(stem) is None]


def bad_name(app: str) -> str | None:
    """Why no app can have this name; None if it can."""
    if not APP_NAME.fullmatch(app):
        return "an app's name is a-z, then a-z, 0-9 and _, at most 64 characters"
    if app in RESERVED:
        return f"the name {app!r} is reserved for OneGAI's own routes"
    return None


def _reasons(error: ValidationError) -> Iterable[tuple[str, str]]:
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            yield key, f"unknown key{jsonfile.meant(key, () if '.' in key else ENTRY_KEYS)}"
        elif item["type"] == "value_error":
            yield key, str(item["ctx"]["error"])
        else:
            yield key, item["msg"]


def _shared_ports(specs: Iterable[AppSpec], origin: Mapping[str, str]) -> Iterable[Problem]:
    users: dict[int, list[str]] = defaultdict(list)
    for spec in specs:
        if spec.port is not None and spec.url is None:
            users[spec.port].append(spec.app)
    for port, apps in users.items():
        if len(apps) > 1:
            for app in apps:
                others = ", ".join(other for other in apps if other != app)
                yield Problem(
                    app=app,
                    file=origin[app],
                    key="port",
                    reason=f"{port} is also the port of {others}: only one of them can run",
                )
