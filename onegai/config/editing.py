"""config.json and the entries of services: the one place where they are read and changed.

A document is shown to programs over HTTP without its secrets, with an ETag of what lies on disk.
It is replaced as a whole, by somebody who names the ETag of what was read. The user's own commands
change single keys, and may change all of them. Nothing is written unless all of it is good.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from onegai.config import jsonfile
from onegai.config.catalog import Catalog, load_catalog
from onegai.config.changes import (
    Change,
    KeyPath,
    Values,
    apps_of,
    check_config_change,
    check_entry_change,
    config_changes,
    entry_changes,
)
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.jsonfile import is_comment
from onegai.config.masking import masked, unmasked
from onegai.config.settings import LATER, Settings, check_config, is_key, usable_key
from onegai.errors import (
    BadRequest,
    ConfigError,
    IfMatchMissing,
    LostUpdate,
    NotWritten,
    UnknownApp,
    UnreadableFile,
)
from onegai.schema import Document


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
        (stored,), etag = _read(home, home.config)
        _check_match(if_match, etag, "/config/get_json")
        wanted = _meant(sent, stored)
        check_config_change(stored, config_changes(stored, wanted))
        return _write_config(home, stored, wanted, check)


def change_config(home: Home, values: Mapping[KeyPath, Any]) -> Change:
    """Set these keys of config.json. Raises as ``replace_config``, which checks the same."""
    with home.editing():
        (stored,), _ = _read(home, home.config)
        wanted: Any = stored
        for path, value in values.items():
            wanted = _with(wanted, path, value)
        check = partial(check_config, home)
        return _write_config(home, stored, _meant(wanted, stored), check)


def _write_config(
    home: Home, stored: Values, wanted: Values, check: Callable[[Values], Settings]
) -> Change:
    changed = tuple(config_changes(stored, wanted))
    apps = {path[1]: None for path in changed if len(path) > 1}
    errors = _Errors()
    _check_settings(wanted, stored, errors)
    before = load_catalog(home, apps_of(stored))
    after = load_catalog(home, apps_of(wanted))
    errors.add_entries(before, after, apps, "apps.")
    for app in apps:
        if app in apps_of(wanted) and app not in after.broken:
            try:
                after.spec(app)
            except UnknownApp as error:
                errors.add(f"apps.{app}", error.message)
    errors.raise_them()
    try:
        check(wanted)
    except ConfigError as error:
        errors.add("", error.params["reason"])
    errors.raise_them()
    _write(home, home.config, wanted, stored)
    return Change(changed, _read(home, home.config)[1])


def replace_services(home: Home, sent: Values, if_match: str | None) -> Change:
    """Make the entries be these, by what services.local.json says differently.

    Raises as ``replace_config``.
    """
    paths = home.services, home.services_local
    with home.editing():
        (shipped, local), etag = _read(home, *paths)
        _check_match(if_match, etag, "/service/get_json")
        errors = _Errors()
        present = _merged(shipped, local)
        wanted_local = _local_part(_meant(sent, present), shipped, errors)
        wanted = _merged(shipped, wanted_local)
        changed = tuple(entry_changes(present, wanted))
        (config,), _ = _read(home, home.config)
        check_entry_change(config, changed, present, wanted)
        contents = {home.services: shipped, home.services_local: wanted_local}
        before = load_catalog(home, apps_of(config))
        after = load_catalog(home, apps_of(config), contents.__getitem__)
        errors.add_entries(before, after, {path[0]: None for path in changed}, "")
        errors.raise_them()
        _write(home, home.services_local, wanted_local, local)
        return Change(changed, _read(home, *paths)[1])


def add_entry(home: Home, app: str, entry: Values) -> None:
    """Add an entry to services.local.json, inside of ``home.editing``; it is checked already.

    Raises UnreadableFile and NotWritten.
    """
    (local,), _ = _read(home, home.services_local)
    _write(home, home.services_local, {**local, app: entry}, local)


def forget_app(home: Home, app: str) -> None:
    """Take an app out of services.local.json and of config.json, inside of ``home.editing``.

    Its entry goes first, so that no server finds its keys without it. Raises as ``add_entry``.
    """
    (local, config), _ = _read(home, home.services_local, home.config)
    _write(home, home.services_local, _without(local, app), local)
    if app in apps_of(config):
        _write(home, home.config, {**config, "apps": _without(config["apps"], app)}, config)


# --- what is sent -----------------------------------------------------------------------------


class _Errors:
    """What is wrong with a document, by key."""

    def __init__(self) -> None:
        self._found: list[dict[str, str]] = []

    def add(self, field: str, message: str) -> None:
        self._found.append({"field": field, "message": message})

    def add_entries(
        self, before: Catalog, after: Catalog, changed: Iterable[str], prefix: str
    ) -> None:
        """Entries that this change breaks, or touches without mending; others may stay broken."""
        for app in after.broken:
            old, new = _wrong(before, app), _wrong(after, app)
            if app in before.broken and (app not in changed or new < old):
                continue
            for key, reason in new:
                self.add(prefix + ".".join(part for part in (app, key) if part), reason)

    def raise_them(self) -> None:
        """Raises BadRequest if there are any."""
        if self._found:
            named = (f"{item['field'] or 'body'}: {item['message']}" for item in self._found)
            raise BadRequest(
                reason="; ".join(named),
                do="correct that and send it again; nothing was written",
                detail={"errors": self._found},
            )


def _wrong(catalog: Catalog, app: str) -> Set[tuple[str, str]]:
    """Of an entry: key and reason."""
    return {(one.key, one.reason): None for one in catalog.problems_of(app)}.keys()


def _meant(sent: Values, stored: Values) -> dict[str, Any]:
    """With the secrets for which masks stand. Raises BadRequest, also for what is no JSON."""
    errors = _Errors()
    try:
        json.dumps(sent, allow_nan=False, ensure_ascii=False).encode()
        found = unmasked(sent, stored, errors.add)
    except UnicodeEncodeError:
        errors.add("", "it holds text that is no Unicode (a lone surrogate)")
    except ValueError:
        errors.add("", "it holds a number that is no JSON (NaN or Infinity)")
    except RecursionError:
        errors.add("", "it is nested too deeply")
    errors.raise_them()
    return found


def _check_match(if_match: str | None, etag: str, path: str) -> None:
    """RFC 9110, 13.1.1; the comparison is strong, so a weak tag never matches."""
    if if_match is None:
        raise IfMatchMissing(path=path)
    given = [tag.strip() for tag in if_match.split(",")]
    if etag not in given and given != ["*"]:
        raise LostUpdate(path=path)


# --- config.json ------------------------------------------------------------------------------


def _check_settings(wanted: Values, stored: Values, errors: _Errors) -> None:
    for key in jsonfile.content(wanted):
        known = key in Settings.model_fields or key in LATER or is_key(key)
        if is_key(key) and wanted[key] and not usable_key(wanted[key]):
            errors.add(key, "a key is one line of ASCII characters")
        if not known and key not in stored:
            errors.add(
                key, f"unknown key{jsonfile.meant(key, Settings.model_fields.keys() | LATER)}"
            )
    try:
        Settings.model_validate(jsonfile.content(wanted))
    except ValidationError as error:
        for item in error.errors():
            errors.add(".".join(str(part) for part in item["loc"]), item["msg"])


# --- the entries ------------------------------------------------------------------------------


def _with(old: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of nested objects with one value set."""
    if not path:
        return value
    inside = old if isinstance(old, dict) else {}
    return {**inside, path[0]: _with(inside.get(path[0]), path[1:], value)}


def _without(values: Values, key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


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


# --- files ------------------------------------------------------------------------------------


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
        jsonfile.write(path, value, _mode(home, path))
    except OSError as error:
        raise NotWritten(file=home.relative(path), reason=error.strerror or str(error)) from None


def _mode(home: Home, path: Path) -> int:
    """config.json has secrets and is the owner's alone; the user may have opened the other."""
    if path == home.config:
        return 0o600
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o600
