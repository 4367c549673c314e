"""Reading and replacing config.json and the entries: pure of HTTP, on a home of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegai.config import jsonfile
from onegai.config.catalog import load_catalog
from onegai.config.changes import READ_ONLY, READ_ONLY_OF_APP, Change
from onegai.config.editing import (
    add_entry,
    change_config,
    config_document,
    forget_app,
    replace_config,
    replace_services,
    services_document,
)
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.masking import MASK
from onegai.config.settings import check_config
from onegai.errors import (
    BadRequest,
    IfMatchMissing,
    LostUpdate,
    NotWritten,
    OneGAIError,
    RemoteEditOff,
    UnreadableFile,
)

WEB = {"type": "webapi", "port": 50000, "exec": "x", "title": "Web", "ram": 1, "_why": "so"}
CONFIG = {
    "_": "mine",
    "username": "onegai",
    "password": "long enough password",
    "openai_key": "sk-1",
    "apps": {"web": {"hf_token": "hf", "vram": 0}},
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    jsonfile.write(home.config, CONFIG)
    jsonfile.write(
        home.services, {"$schema": "s", "web": WEB, "fn": {"type": "inline", "env": {"A": "1"}}}
    )
    return home


def set_config(home: Home, content: dict[str, Any], etag: str | None = "*") -> Change:
    return replace_config(home, content, etag, lambda values: check_config(home, values))


def set_services(home: Home, content: dict[str, Any], etag: str | None = "*") -> Change:
    return replace_services(home, content, etag)


def allow(home: Home) -> None:
    jsonfile.write(home.config, {**CONFIG, "remote_edit": 1})


def local(home: Home) -> dict[str, Any] | None:
    return jsonfile.read(home.services_local)


def refusal(kind: type[OneGAIError], attempt: Callable[[], object], home: Home) -> OneGAIError:
    """Its error; nothing may have been written."""
    files = home.config, home.services, home.services_local
    before = [jsonfile.read_bytes(path) for path in files]
    with pytest.raises(kind) as caught:
        attempt()
    assert [jsonfile.read_bytes(path) for path in files] == before
    return caught.value


def fields(error: OneGAIError) -> list[str]:
    return [item["field"] for item in error.detail["errors"]]


# --- ETags -----------------------------------------------------------------------------------


def test_etag_is_that_of_the_bytes_of_all_files(home: Home) -> None:
    first = services_document(home).etag
    assert services_document(home).etag == first
    assert first[0] == first[-1] == '"'
    home.services_local.write_text("{}")
    second = services_document(home).etag
    home.services_local.write_text("{ }")
    assert len({first, second, services_document(home).etag}) == 3
    assert config_document(home).etag not in (first, second)


@pytest.mark.parametrize("replace", [set_config, set_services])
def test_only_who_read_the_present_version_may_replace_it(
    home: Home, replace: Callable[..., Change]
) -> None:
    document = config_document if replace is set_config else services_document
    read = document(home)
    refusal(IfMatchMissing, lambda: replace(home, read.content, None), home)
    for wrong in ('"x"', "", f"W/{read.etag}", read.etag.strip('"'), f'"x", W/{read.etag}'):
        error = refusal(LostUpdate, lambda tag=wrong: replace(home, read.content, tag), home)
        assert "/get_json" in error.advice
    content = {**read.content, "_note": "new"}
    change = replace(home, content, f'"other", {read.etag}')
    assert change.keys == ()
    assert change.etag == document(home).etag != read.etag
    refusal(LostUpdate, lambda: replace(home, content, read.etag), home)
    assert replace(home, content, change.etag).etag == change.etag
    assert document(home).content["_note"] == "new"


# --- config.json -----------------------------------------------------------------------------


def test_config_round_trip_without_its_secrets(home: Home) -> None:
    read = config_document(home)
    shown = {**CONFIG, "password": MASK, "openai_key": MASK}
    assert read.content == {**shown, "apps": {"web": {"hf_token": MASK, "vram": 0}}}
    before = home.config.stat().st_ino
    assert set_config(home, read.content, read.etag).keys == ()
    assert home.config.stat().st_ino == before
    content = {**read.content, "username": "me", "apps": {"web": {"hf_token": MASK, "vram": 2}}}
    assert set_config(home, content).keys == (("username",), ("apps", "web", "vram"))
    assert jsonfile.read(home.config) == {
        **CONFIG,
        "username": "me",
        "apps": {"web": {"hf_token": "hf", "vram": 2}},
    }
    assert home.config.stat().st_mode & 0o777 == 0o600


def test_config_secrets_can_be_replaced_and_removed(home: Home) -> None:
    content = {**config_document(home).content, "password": "another long one"}
    del content["openai_key"]
    assert set_config(home, content).keys == (("password",), ("openai_key",))
    stored = jsonfile.read(home.config) or {}
    assert (stored["password"], "openai_key" in stored) == ("another long one", False)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": ""}, "password"),
        ({"prot": 1}, "prot"),
        ({"other_key": MASK}, "other_key"),
        ({"max_json": "lots"}, "max_json"),
        ({"apps": []}, "apps"),
        ({"apps": {"web": 1}}, "apps.web"),
        ({"apps": {"web": {"vram": "lots"}}}, "apps.web.vram"),
        ({"apps": {"wbe": {"vram": 1}}}, "apps.wbe"),
        ({"apps": {"web": {"a_token": MASK}}}, "apps.web.a_token"),
        ({"username": float("nan")}, ""),
        ({"username": "\ud800"}, ""),
    ],
)
def test_wrong_config_is_named_by_key(home: Home, change: dict[str, Any], field: str) -> None:
    content = {**config_document(home).content, **change}
    assert fields(refusal(BadRequest, lambda: set_config(home, content), home)) == [field]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("password",), "", "password"),
        (("prot",), 1, "prot"),
        (("max_json",), "lots", "max_json"),
        (("apps", "web", "vram"), "lots", "apps.web.vram"),
        (("apps", "wbe", "vram"), 1, "apps.wbe"),
        (("username",), float("nan"), ""),
        (("username",), "\ud800", ""),
        (("host",), "0.0.0.0", ""),
    ],
)
def test_who_sets_one_key_is_told_the_same(
    home: Home, path: tuple[str, ...], value: Any, field: str
) -> None:
    jsonfile.write(home.config, {**CONFIG, "password": "short", "remote_edit": 1})
    content = config_document(home).content
    inside = content
    for name in path[:-1]:
        inside = inside.setdefault(name, {})
    inside[path[-1]] = value
    whole = refusal(BadRequest, lambda: set_config(home, content), home)
    one = refusal(BadRequest, lambda: change_config(home, {path: value}), home)
    assert fields(one) == [field]
    assert one.detail == whole.detail


def test_one_key_of_many_is_changed(home: Home) -> None:
    before = home.config.stat().st_ino
    assert change_config(home, {("username",): "onegai"}).keys == ()
    assert home.config.stat().st_ino == before
    change = change_config(home, {("host",): "0.0.0.0", ("apps", "web", "vram"): 2})
    assert change.keys == (("apps", "web", "vram"), ("host",))
    assert jsonfile.read(home.config) == {
        **CONFIG,
        "apps": {"web": {"hf_token": "hf", "vram": 2}},
        "host": "0.0.0.0",
    }


def test_an_entry_is_mended_key_by_key(home: Home) -> None:
    broken = {"vram": "lots", "ram": -1}
    jsonfile.write(home.config, {**CONFIG, "apps": {"web": broken}})
    for path, value in (("title", "Web"), ("ram", -2), ("keep", "x")):
        attempt = {("apps", "web", path): value}
        refusal(BadRequest, lambda attempt=attempt: change_config(home, attempt), home)
    change_config(home, {("apps", "web", "ram"): 1})
    change_config(home, {("apps", "web", "vram"): 1})
    assert load_catalog(home, (jsonfile.read(home.config) or {})["apps"]).broken == {}


def test_an_app_may_be_in_a_file_that_does_not_parse(home: Home) -> None:
    home.services_local.write_text("{,}")
    attempt = {("apps", "mine", "vram"): 1}
    refusal(UnreadableFile, lambda: change_config(home, attempt), home)
    content = {**config_document(home).content, "apps": {"mine": {"vram": 1}}}
    refusal(UnreadableFile, lambda: set_config(home, content), home)
    assert change_config(home, {("apps", "web", "vram"): 1}).keys


def test_an_entry_comes_and_goes_and_its_file_stays_as_open_as_it_was(home: Home) -> None:
    jsonfile.write(home.services_local, {"_": "mine", "other": {"type": "inline"}}, 0o644)
    jsonfile.write(home.config, {**CONFIG, "apps": {"new": {"vram": 1}, "web": {"vram": 0}}}, 0o644)
    with home.editing():
        add_entry(home, "new", {"type": "inline"})
    assert list(local(home) or {}) == ["_", "other", "new"]
    with home.editing():
        forget_app(home, "new")
        forget_app(home, "nosuch")
    assert list(local(home) or {}) == ["_", "other"]
    assert config_document(home).content["apps"] == {"web": {"vram": 0}}
    assert home.services_local.stat().st_mode & 0o777 == 0o644
    assert home.config.stat().st_mode & 0o777 == 0o600


def test_every_wrong_key_is_named_at_once(home: Home) -> None:
    content = {"max_json": 0, "apps": {"web": {"ram": -1, "keep": "x"}}, "hots": 1}
    error = refusal(BadRequest, lambda: set_config(home, content), home)
    assert set(fields(error)) == {"max_json", "apps.web.ram", "apps.web.keep", "hots", "password"}


def test_what_is_wrong_already_and_not_touched_does_not_block(home: Home) -> None:
    broken = {**CONFIG, "typo": 1, "apps": {"web": {"vram": "lots"}, "gone": {"x": 1}}}
    jsonfile.write(home.config, broken)
    content = config_document(home).content
    assert set_config(home, {**content, "username": "me"}).keys == (("username",),)
    content["apps"]["web"]["ram"] = 2
    assert fields(refusal(BadRequest, lambda: set_config(home, content), home)) == ["apps.web.vram"]
    content["apps"]["web"]["vram"] = 1
    assert len(set_config(home, content).keys) == 2 + 1


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"host": "0.0.0.0"}, "host"),
        ({"port": 1}, "port"),
        ({"remote_edit": 1}, "remote_edit"),
        ({"file_roots": ["/"]}, "file_roots"),
        ({"cors_origins": ["http://evil"]}, "cors_origins"),
        ({"apps": {"fn": {"exec": "sh -c x"}}}, "apps.fn.exec"),
        ({"apps": {"fn": {"credentials": {"bearer": "x"}}}}, "apps.fn.credentials"),
        ({"apps": {"fn": {"env": {"LD_PRELOAD": "x"}}}}, "apps.fn.env"),
        ({"apps": {"fn": {"ready": {"log": "(a+)+b"}}}}, "apps.fn.ready"),
    ],
)
def test_read_only_keys_of_config(home: Home, change: dict[str, Any], key: str) -> None:
    content = {**config_document(home).content, **change}
    error = refusal(RemoteEditOff, lambda: set_config(home, content), home)
    assert error.detail["keys"] == [key]
    assert "remote_edit" in error.advice
    for value in (0, "0", "maybe", None):
        jsonfile.write(home.config, {**CONFIG, "remote_edit": value})
        given = {"remote_edit": value, **content} if "remote_edit" not in change else content
        refusal(RemoteEditOff, lambda given=given: set_config(home, given), home)
    allow(home)
    assert set_config(home, {"remote_edit": 1, **content, "username": "me"}).keys


def test_a_file_that_does_not_parse_is_neither_shown_nor_overwritten(home: Home) -> None:
    home.config.write_text('{"password": "x",}')
    error = refusal(UnreadableFile, lambda: config_document(home), home)
    assert "line 1" in error.message
    refusal(UnreadableFile, lambda: set_config(home, CONFIG), home)
    home.services_local.write_text("[")
    for attempt in (lambda: services_document(home), lambda: set_services(home, {})):
        refusal(UnreadableFile, attempt, home)


def test_a_failing_disk_leaves_the_old_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jsonfile.os, "fsync", full)
    content = {**config_document(home).content, "username": "me"}
    error = refusal(NotWritten, lambda: set_config(home, content), home)
    assert error.params == {"file": "config.json", "reason": "No space left on device"}
    assert not list(home.root.glob(".config*"))


# --- the entries -----------------------------------------------------------------------------


def entries(home: Home, **changes: Any) -> dict[str, Any]:
    content = services_document(home).content
    for app, keys in changes.items():
        content[app] = {**content.get(app, {}), **keys}
    return content


def test_only_differences_are_stored(home: Home) -> None:
    content = services_document(home).content
    assert content == jsonfile.read(home.services)
    assert set_services(home, content).keys == ()
    assert local(home) is None
    change = set_services(home, entries(home, web={"ram": 2, "title": "Web", "active": 0}))
    assert change.keys == (("web", "ram"), ("web", "active"))
    assert local(home) == {"web": {"ram": 2, "active": 0}}
    assert services_document(home).content["web"] == {**WEB, "ram": 2, "active": 0}
    assert set_services(home, content).keys == (("web", "ram"), ("web", "active"))
    assert local(home) == {}


def test_a_key_that_is_left_out_is_set_to_its_default(home: Home) -> None:
    content = services_document(home).content
    del content["web"]["ram"], content["web"]["title"], content["web"]["_why"]
    assert set_services(home, content).keys == (("web", "title"), ("web", "ram"))
    assert local(home) == {"web": {"ram": 0, "title": ""}}
    assert set_services(home, content).keys == ()
    assert load_catalog(home, {}).specs["web"].ram == 0


def test_what_the_merge_cannot_say_is_refused(home: Home) -> None:
    allow(home)
    content = services_document(home).content
    del content["fn"], content["web"]["type"]
    error = refusal(BadRequest, lambda: set_services(home, content), home)
    assert fields(error)[:2] == ["web.type", "fn"]
    assert "set its active to 0" in error.message


def test_own_apps_come_change_and_go(home: Home) -> None:
    allow(home)
    own = {"type": "webapi", "port": 50001, "exec": "y", "env": {"MY_TOKEN": "t", "B": "2"}}
    assert set_services(home, entries(home, own=own)).keys == (("own",),)
    assert local(home) == {"own": own}
    content = services_document(home).content
    assert content["own"]["env"] == {"MY_TOKEN": MASK, "B": "2"}
    content["own"]["env"]["B"] = "3"
    assert set_services(home, content).keys == (("own", "env"),)
    assert local(home) == {"own": {**own, "env": {"MY_TOKEN": "t", "B": "3"}}}
    content["renamed"] = content.pop("own")
    error = refusal(BadRequest, lambda: set_services(home, content), home)
    assert fields(error) == ["renamed.env.MY_TOKEN"]
    del content["renamed"]
    assert set_services(home, content).keys == (("own",),)
    assert local(home) == {}


@pytest.mark.parametrize(
    ("app", "entry", "field"),
    [
        ("web", {"ram": "lots"}, "web.ram"),
        ("web", {"nosuch": 1}, "web.nosuch"),
        ("web", {"exec": "a && b"}, "web.exec"),
        ("Bad-Name", {"type": "inline"}, "Bad-Name"),
        ("job", {"type": "inline"}, "job"),
        ("new", {"type": "webapi"}, "new."),
        ("fn", {"data": ["/etc"]}, "fn.data.0"),
        ("fn", {"app": "fn"}, "fn.app"),
    ],
)
def test_wrong_entries_are_named_by_key(home: Home, app: str, entry: Any, field: str) -> None:
    allow(home)
    error = refusal(BadRequest, lambda: set_services(home, entries(home, **{app: entry})), home)
    assert field.rstrip(".") in fields(error)


def test_an_entry_that_is_no_object_is_refused(home: Home) -> None:
    allow(home)
    for app in ("web", "new"):
        content = {**services_document(home).content, app: 5}
        assert fields(refusal(BadRequest, lambda sent=content: set_services(home, sent), home)) == [
            app
        ]


def test_a_broken_entry_does_not_block_the_others(home: Home) -> None:
    jsonfile.write(home.services_local, {"torn": {"type": "webapi"}})
    assert set_services(home, entries(home, web={"ram": 2})).keys == (("web", "ram"),)
    assert local(home) == {"torn": {"type": "webapi"}, "web": {"ram": 2}}
    content = entries(home, torn={"ram": 2})
    assert fields(refusal(BadRequest, lambda: set_services(home, content), home)) == ["torn"]


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"web": {"exec": "sh"}}, ["web.exec"]),
        ({"web": {"port": 1, "ram": 3}}, ["web.port"]),
        ({"fn": {"env": {}}}, ["fn.env"]),
        ({"fn": {"type": "command", "args": ["x"]}}, ["fn.type", "fn.args"]),
        ({"new": {"type": "inline"}}, ["new.type"]),
    ],
)
def test_read_only_keys_of_entries(home: Home, change: dict[str, Any], keys: list[str]) -> None:

    def attempt() -> Any:
        return set_services(home, entries(home, **change))

    assert refusal(RemoteEditOff, attempt, home).detail["keys"] == keys
    allow(home)
    assert attempt().keys


def test_own_apps_are_not_removed_without_remote_edit(home: Home) -> None:
    jsonfile.write(home.services_local, {"own": {"type": "inline"}})
    content = services_document(home).content
    del content["own"]
    error = refusal(RemoteEditOff, lambda: set_services(home, content), home)
    assert error.detail["keys"] == ["own.type"]


def test_read_only_keys_exist() -> None:
    assert set(AppSpec.model_fields) >= READ_ONLY_OF_APP
    assert {"host", "port", "remote_edit"} <= READ_ONLY
