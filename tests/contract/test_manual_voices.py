"""docs/voices.md has the functions, the arguments and the settings that the voices have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onegai.config.home import Home
from onegai.functions.function import Function
from onegai.functions.imports import import_file, mount

APPS = ("voicevox", "aivisspeech", "openjtalk_engine")


@pytest.fixture
def functions(root: Path) -> dict[str, dict[str, Function]]:
    """Of each of the apps."""
    home = Home(root)
    mount(home)
    found = {app: import_file(home, app, again=True) for app in APPS}
    assert not [file.problem for file in found.values() if file.problem]
    return {app: dict(file.functions) for app, file in found.items()}


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/voices.md").read_text()


def named(text: str) -> list[str]:
    """What stands first in the rows of the tables."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_functions_are_the_same_and_all_of_them(
    page: str, functions: dict[str, dict[str, Function]]
) -> None:
    before, _, _ = page.partition("## Settings")
    for app in APPS:
        assert sorted({*named(before), "main"}) == sorted(functions[app])


def test_every_argument_is_told(page: str, functions: dict[str, dict[str, Function]]) -> None:
    for app in APPS:
        for function in functions[app].values():
            for argument in function.accepts.schema().get("properties", {}):
                assert f"`{argument}`" in page, (app, function.name, argument)


def test_settings_are_those_that_are_read(root: Path, page: str) -> None:
    _, _, settings = page.partition("## Settings")
    install = (root / "install/voicevox.sh").read_text()
    read = set(re.findall(r"app_setting (\w+)", install))
    assert read | {"speaker", "vram"} == set(named(settings))
    assert 'get("speaker")' in (root / "func/_voicevox_api.py").read_text()
