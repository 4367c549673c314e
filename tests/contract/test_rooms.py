"""Everything in onegai/ has a room, and docs/architecture.md has them all."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

LINES = 400
LONGER = {"errors.py"}
"""The table of errors is read by its rows."""


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture
def rooms(page: str) -> dict[str, str]:
    """The question that each room answers, in the order of the page."""
    return dict(re.findall(r"^\| `(\w+(?:\.py|/))` \| (.*\?) \|$", page, re.MULTILINE))


@pytest.fixture
def package(root: Path) -> Path:
    return root / "onegai"


def modules(package: Path) -> list[str]:
    return sorted(str(path.relative_to(package)) for path in package.rglob("*.py"))


def test_every_room_is_on_the_page(package: Path, rooms: dict[str, str]) -> None:
    found = {
        path.partition("/")[0] + "/" if "/" in path else path
        for path in modules(package)
        if not path.startswith("__")
    }
    assert found == set(rooms)


def test_the_page_has_the_rooms_in_the_order_of_the_layers(
    root: Path, rooms: dict[str, str]
) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    [layers] = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    floors = {name: floor for floor, some in enumerate(layers) for name in some.split(" | ")}
    order = [floors[room.removesuffix("/").removesuffix(".py")] for room in rooms]
    assert order == sorted(order)
    assert len(order) == len(floors)


def test_every_folder_begins_with_its_question(package: Path, rooms: dict[str, str]) -> None:
    for room, question in rooms.items():
        if room.endswith("/"):
            text = (package / room / "__init__.py").read_text(encoding="utf-8")
            assert (ast.get_docstring(ast.parse(text)) or "").split("\n")[0] == question, room


def test_no_file_is_long(package: Path) -> None:
    long = {
        path
        for path in modules(package)
        if (package / path).read_text(encoding="utf-8").count("\n") > LINES
    }
    assert long == LONGER


def test_unit_tests_lie_as_the_files_do(root: Path, package: Path) -> None:
    """The name of a test begins with that of its file, or of its room."""
    strays = []
    for path in (root / "tests" / "unit").rglob("test_*.py"):
        folder = path.parent.relative_to(root / "tests" / "unit")
        names = {file.stem for file in (package / folder).glob("*.py")} | {folder.name}
        words = path.stem.removeprefix("test_").split("_")
        if not names & {"_".join(words[:count]) for count in range(1, len(words) + 1)}:
            strays.append(str(path.relative_to(root)))
    assert strays == []


def test_every_file_that_the_page_names_is_there(root: Path, package: Path, page: str) -> None:
    named = set(re.findall(r"`([\w/.]+\.(?:py|md|json))`", page))
    missing = {name for name in named if not any((at / name).exists() for at in (package, root))}
    assert missing == set()
