"""docs/comfyui.md has the functions, the arguments and the settings that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onegai.config.home import Home
from onegai.functions.function import Function
from onegai.functions.imports import import_file, mount


@pytest.fixture
def functions(root: Path) -> dict[str, Function]:
    home = Home(root)
    mount(home)
    found = import_file(home, "comfyui", again=True)
    assert found.problem is None
    return dict(found.functions)


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/comfyui.md").read_text()


def named(text: str) -> list[str]:
    """What stands first in the rows of the tables."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_functions_and_arguments(page: str, functions: dict[str, Function]) -> None:
    before, _, _ = page.partition("## Settings")
    arguments = functions["main"].accepts.schema()["properties"]
    assert sorted(named(before)) == sorted([*functions, *arguments])
    assert functions["workflows"].lease == "none"


def test_settings_are_those_that_are_read(root: Path, page: str) -> None:
    _, _, settings = page.partition("## Settings")
    install = set(re.findall(r"app_setting (\w+)", (root / "install/comfyui.sh").read_text()))
    func = (root / "func/comfyui.py").read_text()
    own = set(re.findall(r'config\("comfyui"\)\.get\("(\w+)"\)', func))
    assert install | own | {"vram", "env"} == set(named(settings))
    assert "COMFYUI_OPTIONS" in (root / "run/run_comfyui.sh").read_text()
