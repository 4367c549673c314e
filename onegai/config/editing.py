"""config.json and the entries of services, read and replaced by programs over HTTP.

A document is shown without its secrets, with an ETag of what lies on disk. It is replaced as a
whole, by somebody who names the ETag of what was read; nothing is written unless all of it is good.
What decides which programs run, where, and who may call can be changed only in the file, unless
that says ``remote_edit``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from onegai.config import jsonfile
from onegai.config.catalog import Catalog, load_catalog
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.jsonfile import is_comment
from onegai.config.masking import masked, unmasked
from onegai.config.settings import LATER, Settings
from onegai.errors import (
    BadRequest,
    ConfigError,
    IfMatchMissing,
    LostUpdate,
    NotWritten,
    RemoteEditOff,
    UnreadableFile,
)
from onegai.schema import Document

READ_ONLY = frozenset({"host", "port", "cors_origins", "file_roots", "remote_edit"})
"""Keys of config.json that only ``remote_edit`` lets change over HTTP."""

READ_ONLY_OF_APP = frozenset(
    "type exec args repl functions cwd env url port public_port owner_check ready".split()
)
"""The same of an entry, and of ``apps`` in config.json: what is run, where, and who is believed."""

Values = Mapping[str, Any]
KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What a replacement has changed; an app that came or went is named without its keys."""

    keys: tuple[KeyPath, ...]
    etag: str


def config_document(home: Home) -> Document:
    """What config.json holds. Raises UnreadableFile."""
    (stored,), etag = _read(home, home.config)
    return Document(content=masked(stored), etag=etag)


def services_document(home: Home) -> Document:
    """The entries of both files as one, before config.json's ``apps``. Raises UnreadableFile."""
    (shipped, local), etag = _read(home, home.services, home.services_local)
    return Document(content=masked(_merged(shipped, local)), etag=etag)


def replace_config(
    home: Home, sent: Values, if_match: str | None, check: Callable[[Values], Settings]
) -> Change:
    """Make config.json hold this. ``check`` raises ConfigError for what cannot be used.

    Waits for others that change files. Raises EditLocked, UnreadableFile, IfMatchMissing,
    LostUpdate, BadRequest, RemoteEditOff and NotWritten; the file is as it was then.
    """
    with home.editing():
        return _replace_config(home, sent, if_match, check)


def _replace_config(
    home: Home, sent: Values, if_match: str | None, check: Callable[[Values], Settings]
) -> Change:
    (stored,), etag = _read(home, home.config)
    _check_match(if_match, etag, "/config/get_json")
    errors = _Errors()
    wanted = errors.unmasked(sent, stored)
    changed = tuple(_config_changes(stored, wanted))
    if not _remote_edit(stored):
        _refuse_read_only([path for path in changed if _is_read_only(path)])
    _check_settings(wanted, stored, errors)
    before = load_catalog(home, _apps(stored))
    after = load_catalog(home, _apps(wanted))
    errors.add_entries(before, after, {path[1] for path in changed if len(path) > 1}, "apps.")
    for app in {path[1]: None for path in changed if len(path) > 1}:
        if app in _apps(wanted) and app not in {*after.specs, *after.broken}:
            errors.add(f"apps.{app}", "there is no such app")
    errors.raise_them()
    try:
        check(wanted)
    except ConfigError as error:
        errors.add("", error.params["reason"])
    errors.raise_them()
    _write(home, home.config, wanted, stored)
    return Change(changed, _read(home, home.config)[1])


def replace_services(
    home: Home, sent: Values, if_match: str | None, overrides: Mapping[str, Values]
) -> Change:
    """Make the entries be these, by what services.local.json says differently.

    ``overrides`` are config.json's ``apps``. Raises as ``replace_config``.
    """
    with home.editing():
        return _replace_services(home, sent, if_match, overrides)


def _replace_services(
    home: Home, sent: Values, if_match: str | None, overrides: Mapping[str, Values]
) -> Change:
    paths = home.services, home.services_local
    (shipped, local), etag = _read(home, *paths)
    _check_match(if_match, etag, "/service/get_json")
    errors = _Errors()
    present = _merged(shipped, local)
    wanted_local = _local_part(errors.unmasked(sent, present), shipped, errors)
    wanted = _merged(shipped, wanted_local)
    changed = tuple(_entry_changes(present, wanted))
    (config,), _ = _read(home, home.config)
    if not _remote_edit(config):
        _refuse_read_only(_read_only_of_entries(changed, present, wanted))
    contents = {home.services: shipped, home.services_local: wanted_local}
    before = load_catalog(home, overrides)
    after = load_catalog(home, overrides, contents.__getitem__)
    errors.add_entries(before, after, {path[0] for path in changed}, "")
    errors.raise_them()
    _write(home, home.services_local, wanted_local, local)
    return Change(changed, _read(home, *paths)[1])


# --- what is sent -----------------------------------------------------------------------------


class _Errors:
    """What is wrong with a document, by key."""

    def __init__(self) -> None:
        self._found: list[dict[str, str]] = []

    def add(self, field: str, message: str) -> None:
        self._found.append({"field": field, "message": message})

    def add_entries(self, before: Catalog, after: Catalog, changed: set[str], prefix: str) -> None:
        """Entries that this change breaks, or touches without mending; others may stay broken."""
        for problem in after.problems:
            app = problem.app
            if app in after.broken and (app not in before.broken or app in changed):
                path = ".".join(part for part in (app, problem.key) if part)
                self.add(prefix + path, problem.reason)

    def unmasked(self, sent: Values, stored: Values) -> dict[str, Any]:
        """Raises BadRequest for what no JSON file can hold."""
        try:
            json.dumps(sent, allow_nan=False, ensure_ascii=False).encode()
            return unmasked(sent, stored, self.add)
        except UnicodeEncodeError:
            self.add("", "it holds text that is no Unicode (a lone surrogate)")
        except ValueError:
            self.add("", "it holds a number that is no JSON (NaN or Infinity)")
        except RecursionError:
            self.add("", "it is nested too deeply")
        self.raise_them()
        raise AssertionError

    def raise_them(self) -> None:
        """Raises BadRequest if there are any."""
        if self._found:
            named = (f"{item['field'] or 'body'}: {item['message']}" for item in self._found)
            raise BadRequest(
                reason="; ".join(named),
                do="correct that and send it again; nothing was written",
                detail={"errors": self._found},
            )


def _check_match(if_match: str | None, etag: str, path: str) -> None:
    """RFC 9110, 13.1.1; the comparison is strong, so a weak tag never matches."""
    if if_match is None:
        raise IfMatchMissing(path=path)
    given = [tag.strip() for tag in if_match.split(",")]
    if etag not in given and given != ["*"]:
        raise LostUpdate(path=path)


def _remote_edit(config: Values) -> bool:
    """What the file says: an environment variable does not open it."""
    try:
        return TypeAdapter(bool).validate_python(config.get("remote_edit", False))
    except ValidationError:
        return False


def _refuse_read_only(paths: Iterable[KeyPath]) -> None:
    if keys := [".".join(path) for path in paths]:
        raise RemoteEditOff(keys=", ".join(keys), detail={"keys": keys})


def _is_read_only(path: KeyPath) -> bool:
    if path[0] == "apps":
        return path[-1] in READ_ONLY_OF_APP
    return path[0] in READ_ONLY


def _read_only_of_entries(paths: Iterable[KeyPath], before: Values, after: Values) -> list[KeyPath]:
    """An app that came or went changes all of its keys."""
    found: list[KeyPath] = []
    for app, *key in paths:
        entry = after.get(app, before.get(app))
        keys = key or (entry if isinstance(entry, dict) else [])
        found += [(app, name) for name in keys if name in READ_ONLY_OF_APP]
    return found


# --- config.json ------------------------------------------------------------------------------


def _check_settings(wanted: Values, stored: Values, errors: _Errors) -> None:
    for key in jsonfile.content(wanted):
        known = key in Settings.model_fields or key in LATER or key.endswith("_key")
        if not known and key not in stored:
            errors.add(
                key, f"unknown key{jsonfile.meant(key, Settings.model_fields.keys() | LATER)}"
            )
    try:
        Settings.model_validate(jsonfile.content(wanted))
    except ValidationError as error:
        for item in error.errors():
            errors.add(".".join(str(part) for part in item["loc"]), item["msg"])


def _apps(config: Values) -> dict[str, dict[str, Any]]:
    """The key ``apps``, without what is of no use in it."""
    apps = config.get("apps")
    if not isinstance(apps, dict):
        return {}
    return {app: keys for app, keys in apps.items() if isinstance(keys, dict)}


def _config_changes(before: Values, after: Values) -> Iterable[KeyPath]:
    for key in _changed_keys(before, after):
        if key != "apps":
            yield (key,)
            continue
        old, new = _apps(before), _apps(after)
        for app in _changed_keys(old, new):
            for name in _changed_keys(old.get(app, {}), new.get(app, {})):
                yield "apps", app, name


# --- the entries ------------------------------------------------------------------------------


def _merged(shipped: Values, local: Values) -> dict[str, Any]:
    merged = dict(shipped)
    for app, entry in local.items():
        both = isinstance(entry, dict) and isinstance(merged.get(app), dict)
        merged[app] = {**merged[app], **entry} if both else entry
    return merged


def _local_part(wanted: Values, shipped: Values, errors: _Errors) -> dict[str, Any]:
    """What services.local.json must say so that the entries are these."""
    local: dict[str, Any] = {}
    for app, entry in wanted.items():
        base = shipped.get(app)
        if is_comment(app) or not isinstance(entry, dict) or not isinstance(base, dict):
            if app not in shipped or entry != base:
                local[app] = entry
            continue
        part = {key: value for key, value in entry.items() if key not in base or base[key] != value}
        for key in base:
            if key not in entry and not is_comment(key):
                _leave_out(app, key, base[key], part, errors)
        if part:
            local[app] = part
    for app in shipped:
        if app not in wanted and not is_comment(app):
            errors.add(app, "it is in services.json and cannot be left out: set its active to 0")
    return local


def _leave_out(app: str, key: str, base: Any, part: dict[str, Any], errors: _Errors) -> None:
    """A key of services.json is undone by its default, as leaving it out would not change it."""
    field = AppSpec.model_fields.get(key)
    if field is None or field.is_required():
        errors.add(f"{app}.{key}", "it is in services.json and cannot be left out")
        return
    default = to_jsonable_python(field.get_default(), exclude_none=True)
    if default != base:
        part[key] = default


def _entry_changes(before: Values, after: Values) -> Iterable[KeyPath]:
    for app in _changed_keys(before, after):
        old, new = before.get(app), after.get(app)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from ((app, key) for key in _changed_keys(old, new))
        else:
            yield (app,)


# --- files ------------------------------------------------------------------------------------


def _changed_keys(before: Values, after: Values) -> list[str]:
    """In the order of the later one; comments are no change."""
    return [
        key
        for key in {**after, **before}
        if not is_comment(key)
        and (key not in before or key not in after or before[key] != after[key])
    ]


def _read(home: Home, *paths: Path) -> tuple[list[dict[str, Any]], str]:
    """The files' objects, and one ETag for their bytes. Raises UnreadableFile."""
    found, digest = [], hashlib.sha256()
    for path in paths:
        try:
            data = jsonfile.read_bytes(path)
            found.append({} if data is None else jsonfile.parse(data))
        except jsonfile.Unreadable as error:
            raise UnreadableFile(file=home.relative(path), reason=error.reason) from None
        digest.update(b"none\0" if data is None else b"%d\0" % len(data) + data)
    return found, f'"{digest.hexdigest()[:32]}"'


def _write(home: Home, path: Path, value: Values, stored: Values) -> None:
    if json.dumps(value) == json.dumps(stored):
        return
    try:
        jsonfile.write(path, value)
    except OSError as error:
        raise NotWritten(file=home.relative(path), reason=error.strerror or str(error)) from None
