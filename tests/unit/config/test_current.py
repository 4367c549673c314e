"""The files that a person edits: read again when changed, kept when broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onegai.config import jsonfile
from onegai.config.current import HomeFiles
from onegai.config.home import Home
from onegai.config.settings import load_settings
from onegai.errors import ConfigError

INLINE = {"type": "inline"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    jsonfile.write(tmp_path / "config.json", {"password": "x" * 12})
    jsonfile.write(tmp_path / "services.json", {"$schema": "s", "a": INLINE})
    return Home(tmp_path)


def started(home: Home, **arguments: Any) -> HomeFiles:
    settings, problems, _ = load_settings(home, arguments, {})
    return HomeFiles(home, settings, problems, arguments)


def test_nothing_is_read_again_without_a_change(home: Home) -> None:
    found = started(home)
    catalog = found.catalog
    assert list(catalog.specs) == ["a"]
    assert not found.refresh()
    assert found.catalog is catalog
    jsonfile.write(home.services_local, {"b": INLINE})
    assert found.refresh() == ["services.local.json"]
    assert list(found.catalog.specs) == ["a", "b"]
    assert not found.refresh()


def test_func_files_come_and_go(home: Home) -> None:
    home.func.mkdir()
    home.func_file("a").write_text("")
    found = started(home)
    home.func_file("words").write_text("")
    assert found.refresh() == ["func"]
    assert {app: spec.type for app, spec in found.catalog.specs.items()} == {
        "a": "inline",
        "words": "functions",
    }
    # As an editor saves: the folder has changed, but not which files there are.
    (home.func / "_new.py").write_text("def main(args): ...")
    (home.func / "_new.py").rename(home.func_file("words"))
    assert found.refresh() == []
    home.func_file("words").unlink()
    assert found.refresh() == ["func"]
    assert list(found.catalog.specs) == ["a"]


def test_arguments_go_on_winning_over_the_file(home: Home) -> None:
    found = started(home, host="127.0.0.2")
    jsonfile.write(home.config, {"password": "y" * 12, "host": "127.0.0.3", "vram_headroom": 1})
    assert found.refresh()
    assert (found.settings.host, found.settings.vram_headroom) == ("127.0.0.2", 1)
    assert (found.settings.password, found.problems) == ("y" * 12, [])


def test_what_was_never_good_is_a_problem_only(home: Home) -> None:
    home.services_local.write_text("{")
    found = started(home)
    assert [problem.file for problem in found.problems] == ["services.local.json"]
    assert "last good" not in found.problems[0].reason
    home.services_local.unlink()
    assert found.refresh()
    assert found.problems == []


def test_overrides_of_config_reach_the_entries(home: Home) -> None:
    found = started(home)
    jsonfile.write(home.config, {"password": "x" * 12, "apps": {"a": {"vram": 2, "mine": 3}}})
    found.refresh()
    assert found.catalog.specs["a"].vram == 2
    assert found.catalog.own_settings == {"a": {"mine": 3}}
    jsonfile.write(home.config, {"password": "x" * 12, "apps": {"a": {"vram": -1}}})
    found.refresh()
    assert found.catalog.specs["a"].vram == 2
    assert [(p.app, p.key) for p in found.problems] == [("a", "vram")]


def test_check_is_strict_about_this_run_and_the_next(home: Home) -> None:
    jsonfile.write(home.config, {"password": "x" * 12, "host": "0.0.0.0"})
    found = started(home)
    for wrong in (
        {"password": "short", "host": "0.0.0.0"},
        {"password": "short", "host": "127.0.0.1"},
        {"password": "x" * 12, "port": "many"},
    ):
        with pytest.raises(ConfigError):
            found.check(wrong)
    assert found.check({"password": "x" * 12, "port": 1}).port == 58080
