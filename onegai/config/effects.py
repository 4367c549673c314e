"""What a change of config.json or the entries has done, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onegai.config.changes import Change, KeyPath
from onegai.config.current import Current
from onegai.config.settings import LATER, Settings, is_key
from onegai.schema import Applied

_OVERRIDDEN = "an argument or environment variable of this start wins over it"


def of_config(change: Change, current: Current, outdated: Mapping[str, list[str]]) -> Applied:
    """``outdated``: per running app, the keys that wait for its restart."""
    applied = Applied(etag=change.etag)
    wrong = {problem.key: problem.reason for problem in current.problems}
    for path in change.keys:
        name = ".".join(path)
        if path[0] == "apps" and name in wrong:
            applied.without_effect[name] = wrong[name]
        elif path[0] == "apps":
            _add(applied, path[1:], name, outdated)
        elif path[0] in current.waiting:
            applied.restart_server.append(name)
        elif path[0] in current.overridden:
            applied.without_effect[name] = _OVERRIDDEN
        elif path[0] in Settings.model_fields or is_key(path[0]):
            applied.now.append(name)
        else:
            known = path[0] in LATER
            applied.without_effect[name] = "nothing uses it yet" if known else "unknown key"
    return applied


def of_services(change: Change, current: Current, outdated: Mapping[str, list[str]]) -> Applied:
    """The same for the entries, over which config.json's ``apps`` are laid."""
    applied = Applied(etag=change.etag)
    for path in change.keys:
        name = ".".join(path)
        if len(path) > 1 and path[1] in current.settings.apps.get(path[0], {}):
            applied.without_effect[name] = f"apps.{name} of config.json wins over it"
        else:
            _add(applied, path, name, outdated)
    return applied


def _add(applied: Applied, path: KeyPath, name: str, outdated: Mapping[str, Iterable[str]]) -> None:
    """An app by itself, or one of its keys."""
    if len(path) > 1 and path[1] in outdated.get(path[0], ()):
        applied.restart_services.setdefault(path[0], []).append(name)
    else:
        applied.now.append(name)
