"""config.json: shown without its secrets, and changed key by key."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from onegai.cli.backend import COMMAND, WRONG, Failure, backend
from onegai.config.home import Home
from onegai.config.jsonfile import content, is_comment
from onegai.config.masking import is_secret, masked
from onegai.errors import BadRequest, OneGAIError, UnreadableFile

_KEYS = "docs/settings.md lists the keys"


@click.command(short_help="Show config.json, or set a key of it.")
@click.argument("key", required=False)
@click.argument("value", required=False)
def config(key: str | None, value: str | None) -> None:
    """Show config.json without its secrets, or one KEY of it, or set it to VALUE.

    Settings of an app are apps.APP.KEY. VALUE is JSON or text; - reads it from stdin, so that a
    password does not stand in the shell's history.
    """
    home = Home.find()
    if key is None:
        click.echo(_everything(home))
    elif value is None:
        found, file = _look_up(home, key)
        click.echo(_text(masked(found, key)))
        if file:
            click.echo(f"({file})", err=True)
    else:
        value = sys.stdin.readline().rstrip("\r\n") if value == "-" else value
        stored = set_key(home, key, value)
        click.echo(f"{key} = {_text(masked(stored, key))}   ({_in_effect(home, key)})")


def _in_effect(home: Home, key: str) -> str:
    """When the change counts, if ever. A server that runs is asked."""
    whose = ""
    if key.startswith("apps."):
        _, app, name, *_rest = key.split(".")
        whose, meaningless = _whose(home, app, name)
        if meaningless:
            return whose
    return "; ".join(filter(None, (whose, _when(home, key))))


def _whose(home: Home, app: str, key: str) -> tuple[str, bool]:
    """What is to be said of a key of ``apps.{app}``, if anything, and whether it is a mistake."""
    from onegai.config.catalog import mistyped
    from onegai.config.entry import ENTRY_KEYS

    if key in ENTRY_KEYS:
        return "", False
    mistake = mistyped(home, app, key)
    return mistake or f"a setting of {app}'s own", bool(mistake)


def _when(home: Home, key: str) -> str:
    from onegai.config.settings import LATER

    if key in LATER:
        return "nothing uses it yet"
    if "url" not in (home.running_server() or {}):
        return "from the next start on"
    try:
        with backend(home) as server:
            server.config_document()  # which has it look at the file
            status = server.status()
    except (Failure, OneGAIError) as failure:
        return f"the server could not be asked when it counts: {failure.message}"
    if key in status.overridden:
        return "not now: an argument or environment variable of the running server wins over it"
    if any((item.file, item.key) == ("config.json", key) for item in status.problems):
        return "once the server is restarted"
    _, _, name = key.partition(".")
    for service in status.services:
        if name in {f"{service.app}.{outdated}" for outdated in service.outdated}:
            return f"once {service.app} is restarted: {COMMAND} restart {service.app}"
    return "in effect"


def set_key(home: Home, key: str, text: str) -> Any:
    """Set a key after checking that the file is usable then; gives what was set.

    Raises Failure, UnreadableFile, EditLocked and NotWritten; the file is not touched then.
    """
    from onegai.config import curlrc
    from onegai.config.editing import change_config
    from onegai.config.settings import check_config, load_settings, stored_config

    path = _path(key)
    if not home.config.exists() and load_settings(home, {}, {})[2]:
        click.echo("made config.json with a random password", err=True)
    refusal: BadRequest | None = None
    for value in _readings(key, text):
        try:
            change_config(home, {path: value})
            break
        except BadRequest as error:
            refusal = refusal or error
    else:
        assert refusal is not None
        raise _refused(refusal)
    if key in ("username", "password", "host", "port") and home.running_server() is None:
        curlrc.write(home, check_config(home, stored_config(home)))
    return value


def _path(key: str) -> tuple[str, ...]:
    """Where it is in config.json. Raises Failure for what is no name of a setting."""
    head, *path = key.split(".")
    if head == "apps" and len(path) < 2:
        raise Failure("name one setting of one app", "apps.APP.KEY", status=WRONG)
    if path and head != "apps":
        raise Failure(f"config.json has no key {key!r}", _KEYS, status=WRONG)
    return head, *path


def _refused(error: BadRequest) -> Failure:
    wrong = (
        f"{item['field']}: {item['message']}" if item["field"] else item["message"]
        for item in error.detail["errors"]
    )
    return Failure("; ".join(wrong), f"{_KEYS}; nothing was changed", status=WRONG)


def _readings(key: str, text: str) -> list[Any]:
    """What the text may mean: JSON, then itself. A secret is a text, or an object of some."""
    try:
        value = json.loads(text)
    except ValueError:
        return [text]
    return [text] if is_secret(key) and not isinstance(value, dict) else [value, text]


def _look_up(home: Home, key: str) -> tuple[Any, str]:
    """What config.json says, else the file of entries that is named, else the default."""
    from onegai.config.settings import Settings, stored_config

    path = key.split(".")
    value: Any = {**_defaults(), **stored_config(home)}
    for part in path:
        if not isinstance(value, dict) or part not in value:
            break
        value = value[part]
    else:
        return value, ""
    if path[0] == "apps" and len(path) == 3:
        return _of_entry(home, *path[1:])
    known = ", ".join(sorted(Settings.model_fields))
    raise Failure(f"{key} is not set", f"the keys are: {known}", status=WRONG)


def _of_entry(home: Home, app: str, key: str) -> tuple[Any, str]:
    """A key of an entry that config.json does not have, and the file that has it."""
    from pydantic_core import to_jsonable_python

    from onegai.config import jsonfile
    from onegai.config.catalog import load_catalog
    from onegai.config.entry import ENTRY_KEYS, AppSpec

    catalog = load_catalog(home, {})
    if app not in catalog.broken:
        catalog.spec(app)
    for path in (home.services_local, home.services):
        try:
            entry = (jsonfile.read(path) or {}).get(app)
        except jsonfile.Unreadable as error:
            raise UnreadableFile(file=home.relative(path), reason=error.reason) from None
        if isinstance(entry, dict) and key in entry:
            return entry[key], home.relative(path)
    if key not in ENTRY_KEYS or AppSpec.model_fields[key].is_required():
        name = f"apps.{app}.{key}"
        raise Failure(f"{name} is not set", _KEYS, status=WRONG)
    return to_jsonable_python(AppSpec.model_fields[key].get_default(), exclude_none=True), "default"


def _everything(home: Home) -> str:
    from onegai.config.settings import stored_config

    stored, defaults = stored_config(home), _defaults()
    shown = masked({**defaults, **stored})
    apps = shown.pop("apps")
    lines = [
        f"{key} = {_text(value)}" + ("" if key in stored else "   (default)")
        for key, value in shown.items()
        if not is_comment(key)
    ]
    of_apps = content(apps) if isinstance(apps, dict) else {}
    for app, keys in of_apps.items():
        for key, value in content(keys).items() if isinstance(keys, dict) else ():
            whose, _mistake = _whose(home, app, key)
            lines.append(f"apps.{app}.{key} = {_text(value)}" + (f"   ({whose})" if whose else ""))
    if not home.config.exists():
        lines.append("config.json is made at the first start, with a random password")
    return "\n".join(lines)


def _defaults() -> dict[str, Any]:
    from onegai.config.settings import Settings

    return {
        name: field.default
        for name, field in Settings.model_fields.items()
        if not field.is_required()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
