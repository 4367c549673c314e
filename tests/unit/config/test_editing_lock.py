"""Whoever changes a file reads it only when nobody else is at it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from onegai.cli.config import set_key
from onegai.config import jsonfile
from onegai.config.editing import (
    config_document,
    replace_config,
    replace_services,
    services_document,
)
from onegai.config.home import Home
from onegai.config.settings import check_config, load_settings
from onegai.errors import LostUpdate

CONFIG = {"password": "long enough password"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    jsonfile.write(home.config, CONFIG)
    jsonfile.write(home.services, {"a": {"type": "inline"}})
    return home


def opened(path: Path) -> int:
    """How often this process has a file open."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += link.readlink() == path
    return count


def while_changing(home: Home, path: Path, content: Any, work: Callable[[], Any]) -> Future[Any]:
    """Begin the work while somebody else changes a file. Gives its outcome."""
    with ThreadPoolExecutor(1) as thread:
        with home.editing():
            outcome = thread.submit(work)
            while opened(home.root / "data" / "edit.lock") < 2 and not outcome.done():
                pass
            jsonfile.write(path, content)
        outcome.exception(20)
    return outcome


def test_replacing_config(home: Home) -> None:
    document = config_document(home)

    def work() -> None:
        replace_config(
            home,
            {**document.content, "username": "me"},
            document.etag,
            lambda values: check_config(home, values),
        )

    changed = {**CONFIG, "vram_headroom": 1}
    assert isinstance(while_changing(home, home.config, changed, work).exception(), LostUpdate)
    assert jsonfile.read(home.config) == changed


def test_replacing_entries(home: Home) -> None:
    document = services_document(home)
    wanted = {"a": {"type": "inline", "title": "A"}}
    made = {"b": {"type": "inline"}}

    def work() -> None:
        replace_services(home, wanted, document.etag)

    outcome = while_changing(home, home.services_local, made, work)
    assert isinstance(outcome.exception(), LostUpdate)
    assert jsonfile.read(home.services_local) == made


def test_setting_a_key(home: Home) -> None:
    changed = {**CONFIG, "vram_headroom": 1}
    outcome = while_changing(home, home.config, changed, lambda: set_key(home, "username", "me"))
    outcome.result()
    assert jsonfile.read(home.config) == {**changed, "username": "me"}


def test_two_first_starts(home: Home) -> None:
    home.config.unlink()
    settings, _problems, made = while_changing(
        home, home.config, CONFIG, lambda: load_settings(home, {}, {})
    ).result()
    assert (settings.password, made) == (CONFIG["password"], False)
    assert jsonfile.read(home.config) == CONFIG
