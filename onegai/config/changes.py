"""What differs between two versions of config.json or of the entries, and who may change it.

What decides which programs run, where, and who may call can be changed only in the file, unless
that says ``remote_edit``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from onegai.config.jsonfile import is_comment
from onegai.errors import RemoteEditOff

READ_ONLY = frozenset({"host", "port", "cors_origins", "file_roots", "remote_edit"})
"""Keys of config.json that only ``remote_edit`` lets change over HTTP."""

READ_ONLY_OF_APP = frozenset(
    "type exec args repl functions cwd env url credentials port public_port owner_check "
    "ready".split()
)
"""The same of an entry, and of ``apps`` in config.json: what is run, where, and who is believed."""

Values = Mapping[str, Any]
KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What a replacement has changed; an app that came or went is named without its keys."""

    keys: tuple[KeyPath, ...]
    etag: str


def check_config_change(stored: Values, changed: Iterable[KeyPath]) -> None:
    """May these keys of config.json be changed over HTTP? Raises RemoteEditOff."""
    if not _remote_edit(stored):
        _refuse(path for path in changed if _is_read_only(path))


def check_entry_change(
    config: Values, changed: Iterable[KeyPath], before: Values, after: Values
) -> None:
    """The same of entries; an app that came or went changes all of its keys."""
    if _remote_edit(config):
        return
    found: list[KeyPath] = []
    for app, *key in changed:
        entry = after.get(app, before.get(app))
        keys = key or (entry if isinstance(entry, dict) else [])
        found += [(app, name) for name in keys if name in READ_ONLY_OF_APP]
    _refuse(found)


def _remote_edit(config: Values) -> bool:
    """What the file says: an environment variable does not open it."""
    try:
        return TypeAdapter(bool).validate_python(config.get("remote_edit", False))
    except ValidationError:
        return False


def _refuse(paths: Iterable[KeyPath]) -> None:
    if keys := [".".join(path) for path in paths]:
        raise RemoteEditOff(keys=", ".join(keys), detail={"keys": keys})


def _is_read_only(path: KeyPath) -> bool:
    if path[0] == "apps":
        return path[-1] in READ_ONLY_OF_APP
    return path[0] in READ_ONLY


def apps_of(config: Values) -> dict[str, dict[str, Any]]:
    """The key ``apps``, without what is of no use in it."""
    apps = config.get("apps")
    if not isinstance(apps, dict):
        return {}
    return {app: keys for app, keys in apps.items() if isinstance(keys, dict)}


def config_changes(before: Values, after: Values) -> Iterable[KeyPath]:
    """The keys of config.json that differ; of ``apps``, those of each app."""
    for key in _changed_keys(before, after):
        if key != "apps":
            yield (key,)
            continue
        old, new = apps_of(before), apps_of(after)
        for app in _changed_keys(old, new):
            for name in _changed_keys(old.get(app, {}), new.get(app, {})):
                yield "apps", app, name


def entry_changes(before: Values, after: Values) -> Iterable[KeyPath]:
    """The keys of entries that differ; only its name of an app that came or went."""
    for app in _changed_keys(before, after):
        old, new = before.get(app), after.get(app)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from ((app, key) for key in _changed_keys(old, new))
        else:
            yield (app,)


def _changed_keys(before: Values, after: Values) -> list[str]:
    """In the order of the later one; comments are no change."""
    return [
        key
        for key in {**after, **before}
        if not is_comment(key)
        and (key not in before or key not in after or before[key] != after[key])
    ]
