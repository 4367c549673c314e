"""The files that a person edits: read again when changed, kept when broken."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegai.config import current, jsonfile
from onegai.config.current import Current
from onegai.config.home import Home, Stamp, stamp
from onegai.config.settings import load_settings
from onegai.errors import ConfigError

INLINE = {"type": "inline"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    jsonfile.write(tmp_path / "config.json", {"password": "x" * 12})
    jsonfile.write(tmp_path / "services.json", {"$schema": "s", "a": INLINE})
    return Home(tmp_path)


@pytest.fixture
def read(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Gives what was read again since it was asked last."""
    caplog.set_level("INFO", current.__name__)

    def names() -> list[str]:
        told = [record.getMessage().removeprefix("read again: ") for record in caplog.records]
        caplog.clear()
        return told

    return names


def started(home: Home, **arguments: Any) -> Current:
    settings, problems, _ = load_settings(home, arguments, {})
    return Current(home, settings, problems, arguments)


async def until(look: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not look():
            await asyncio.sleep(0.01)


async def test_nothing_is_read_again_without_a_change(
    home: Home, read: Callable[[], list[str]]
) -> None:
    found = started(home)
    heard: list[list[str]] = []
    found.listen(lambda: heard.append(list(found.catalog.specs)))
    catalog = found.catalog
    assert list(catalog.specs) == ["a"]
    await found.refresh()
    assert found.catalog is catalog
    assert (read(), heard) == ([], [])
    jsonfile.write(home.services_local, {"b": INLINE})
    assert found.catalog is catalog
    await found.refresh()
    assert (read(), heard) == (["services.local.json"], [["a", "b"]])
    await found.refresh()
    assert (read(), len(heard)) == ([], 1)


async def test_func_files_come_and_go(home: Home, read: Callable[[], list[str]]) -> None:
    home.func.mkdir()
    home.func_file("a").write_text("")
    found = started(home)
    home.func_file("words").write_text("")
    await found.refresh()
    assert read() == ["func"]
    assert {app: spec.type for app, spec in found.catalog.specs.items()} == {
        "a": "inline",
        "words": "functions",
    }
    # As an editor saves: the folder has changed, but not which files there are.
    (home.func / "_new.py").write_text("def main(args): ...")
    (home.func / "_new.py").rename(home.func_file("words"))
    await found.refresh()
    assert read() == []
    home.func_file("words").unlink()
    await found.refresh()
    assert read() == ["func"]
    assert list(found.catalog.specs) == ["a"]


async def test_arguments_go_on_winning_over_the_file(
    home: Home, read: Callable[[], list[str]]
) -> None:
    found = started(home, host="127.0.0.2")
    jsonfile.write(home.config, {"password": "y" * 12, "host": "127.0.0.3", "vram_headroom": 1})
    await found.refresh()
    assert read() == ["config.json"]
    assert (found.settings.host, found.settings.vram_headroom) == ("127.0.0.2", 1)
    assert (found.settings.password, found.problems) == ("y" * 12, [])


async def test_what_was_never_good_is_a_problem_only(home: Home) -> None:
    home.services_local.write_text("{")
    found = started(home)
    assert [problem.file for problem in found.problems] == ["services.local.json"]
    assert "last good" not in found.problems[0].reason
    home.services_local.unlink()
    await found.refresh()
    assert found.problems == []


async def test_overrides_of_config_reach_the_entries(home: Home) -> None:
    found = started(home)
    jsonfile.write(home.config, {"password": "x" * 12, "apps": {"a": {"vram": 2, "mine": 3}}})
    await found.refresh()
    assert found.catalog.specs["a"].vram == 2
    assert found.catalog.own_settings == {"a": {"mine": 3}}
    jsonfile.write(home.config, {"password": "x" * 12, "apps": {"a": {"vram": -1}}})
    await found.refresh()
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


# --- the look in the background -----------------------------------------------------------------


async def test_an_edit_is_heeded_though_nobody_asks(home: Home) -> None:
    async with started(home) as found:
        for number in range(3):
            jsonfile.write(home.services_local, {f"b{number}": INLINE})
            await until(lambda app=f"b{number}": app in found.catalog.specs)


async def test_a_look_that_fails_is_not_the_last(home: Home, caplog: Any) -> None:
    found = started(home)
    heard: list[int] = []

    def listener() -> None:
        heard.append(1)
        if len(heard) == 1:
            raise RuntimeError("once")

    found.listen(listener)
    async with found:
        jsonfile.write(home.services_local, {"b": INLINE})
        await until(lambda: len(heard) == 1)
        jsonfile.write(home.services_local, {"c": INLINE})
        await until(lambda: len(heard) == 2)
    assert "RuntimeError: once" in caplog.text


class SlowDisk:
    """Holds up whoever asks for the state of a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.goes_on = threading.Event(), threading.Event()
        monkeypatch.setattr(current, "stamp", self._stamp)

    def _stamp(self, path: Path) -> Stamp | None:
        found = stamp(path)
        self.asked.set()
        assert self.goes_on.wait(60)
        return found


async def test_a_slow_disk_holds_up_the_look_only(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = started(home)
    disk = SlowDisk(monkeypatch)
    async with found:
        await until(disk.asked.is_set)
        begun = time.monotonic()
        for _ in range(100):
            await asyncio.sleep(0)
            assert list(found.catalog.specs) == ["a"]
        assert time.monotonic() - begun < 30
        disk.goes_on.set()


async def test_what_is_written_during_a_look_is_in_effect_after_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = started(home)
    disk = SlowDisk(monkeypatch)
    first = asyncio.create_task(found.refresh())
    await until(disk.asked.is_set)
    # Its own state is known by now, so this look will not see it.
    jsonfile.write(home.config, {"password": "another one"})
    second = asyncio.create_task(found.refresh())
    disk.goes_on.set()
    await first
    assert found.settings.password == "x" * 12
    await second
    assert found.settings.password == "another one"


async def test_a_look_that_is_given_up_loses_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = started(home)
    jsonfile.write(home.services_local, {"b": INLINE})
    disk = SlowDisk(monkeypatch)
    given_up = asyncio.create_task(found.refresh())
    await until(disk.asked.is_set)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    disk.goes_on.set()
    await found.refresh()
    assert list(found.catalog.specs) == ["a", "b"]
