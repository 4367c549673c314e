"""services.json + services.local.json + config.json's ``apps`` → one AppSpec per app.

A bad entry is listed with its key and reason, and hides no other. Keys are merged per app: what
the later source names wins. A func file without an entry is an app, too: functions only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from onegai.config import jsonfile
from onegai.config.entry import APP_NAME, ENTRY_KEYS, AppSpec
from onegai.config.home import Home
from onegai.errors import BrokenEntry, Inactive, UnknownApp, UnreadableFile
from onegai.schema import Problem

RESERVED = frozenset(
    "api app service config job events health metrics proxy docs redoc openapi v1 mcp obs console "
    "file".split()
)
_APP_KEY = "unknown key: an app is named by its entry's name"


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


def named_apps(home: Home) -> set[str]:
    """Those that the files of entries name, good or bad. Reads them."""
    found: set[str] = set()
    for path in (home.services, home.services_local):
        with suppress(jsonfile.Unreadable):
            found |= jsonfile.content(jsonfile.read(path) or {}).keys()
    return found


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
