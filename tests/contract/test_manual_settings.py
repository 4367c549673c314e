"""docs/settings.md names every key and variable with its default, and no other."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from test_documents import names, rows

from onegai.config.entry import AppSpec, Ready
from onegai.config.home import Home
from onegai.config.settings import ENV_PREFIX, FILE_ONLY, LATER, Settings, load_settings

ENTRY = {"app": "x", "type": "webapi", "port": 1, "exec": "x"}
CONFIG = {"password": "correct horse battery"}
FOR_PEOPLE = {"homepage", "license", "tags"}
"""Keys of an entry that no code needs to read."""
NOT_FOR_USERS = {
    "ONEGAI_INSTALL_PARENT",
    "ONEGAI_DOWNLOAD_PAUSE",
    "ONEGAI_DOWNLOAD_REPORT",
    "ONEGAI_ROOT",
}
"""What lib.sh tells itself, what tests set, a variable of scripts that is not exported."""


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs" / "settings.md").read_text(encoding="utf-8")


def part(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def of_config(text: str) -> list[list[str]]:
    return rows(part(text, "config.json"), "key")


def of_entries(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """The keys that do something, and those that do nothing yet."""
    section = part(text, "services.json and services.local.json")
    now, later = section.split("do nothing yet:", 1)
    return rows(now, "key"), rows(later, "key")


def keys(table: Iterable[list[str]]) -> list[str]:
    found = [names(row[0]) for row in table]
    assert all(len(cell) == 1 for cell in found), "one key a row"
    return [cell[0] for cell in found]


def check_row(row: list[str], model: type[BaseModel], base: dict[str, Any]) -> None:
    """Five cells; the default is the code's, the example is one that the code takes."""
    key, (_, _, _unit, default, example) = names(row[0])[0], row
    field = model.model_fields[key]
    if default.startswith("none"):
        assert field.default is None, key
    elif default == "required" or key == "password":
        assert field.is_required(), key
    else:
        shown = json.loads(names(default)[0])
        assert getattr(model.model_validate({**base, key: shown}), key) == field.default, key
    given = json.loads(names(example)[0])
    assert getattr(model.model_validate({**base, key: given}), key) != field.default, key


def test_every_key_of_config_json(text: str) -> None:
    assert sorted(keys(of_config(text))) == sorted(Settings.model_fields)
    for row in of_config(text):
        check_row(row, Settings, CONFIG)


def test_keys_of_config_json_that_do_nothing_yet(text: str) -> None:
    table = rows(part(text, "config.json").split("do nothing yet:", 1)[1], "key")
    assert sorted(keys(table)) == sorted(LATER)


def test_every_key_of_an_entry(text: str) -> None:
    now, later = of_entries(text)
    assert sorted(keys(now) + keys(later)) == sorted(AppSpec.model_fields.keys() - {"app"})
    for row in now + later:
        check_row(row, AppSpec, ENTRY)


def test_keys_that_do_nothing_yet_are_those_that_no_code_reads(root: Path, text: str) -> None:
    now, later = of_entries(text)
    read = set()
    for path in (root / "onegai").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.search(
                r"\b(spec|self)$" if path.name == "entry.py" else r"\bspec$",
                ast.unparse(node.value),
            ):
                read.add(node.attr)
    read |= set(re.findall(r'entry\.get\("(\w+)"', (root / "install/app_folder.py").read_text()))
    known = set(AppSpec.model_fields)
    assert set(keys(later)) == known - read - FOR_PEOPLE - {"app"}
    assert set(keys(now)) >= read & known - {"app"}


def test_every_way_of_being_ready(text: str) -> None:
    [paragraph] = re.findall(r"^\*\*ready\*\*.*?\n\n", text, re.DOTALL | re.MULTILINE)
    ways = [json.loads(name) for name in names(paragraph) if name.startswith("{")]
    assert {key for way in ways for key in way} == set(Ready.model_fields)
    for way in ways:
        Ready.model_validate(way)


def test_every_environment_variable(root: Path, text: str) -> None:
    found = {ENV_PREFIX + key.upper() for key in Settings.model_fields.keys() - FILE_ONLY}
    sources = [*(root / "onegai").rglob("*.py"), *(root / "install").iterdir()]
    for path in [*sources, *(root / "setup").glob("*.sh")]:
        if path.suffix in (".py", ".sh"):
            found |= set(re.findall(r"\bONEGAI_[A-Z][A-Z_]*[A-Z]\b", path.read_text("utf-8")))
    documented = keys(rows(part(text, "Environment variables"), "variable"))
    assert sorted(documented) == sorted(found - NOT_FOR_USERS)


def test_examples_of_environment_variables_are_taken(tmp_path: Path, text: str) -> None:
    environ = {
        name: names(example)[0]
        for name, (_, meaning, example) in (
            (names(row[0])[0], row) for row in rows(part(text, "Environment variables"), "variable")
        )
        if meaning.startswith("as ")
    }
    settings, problems, _made = load_settings(Home(tmp_path), {}, environ)
    assert problems == []
    default = Settings(password="x")
    for name in environ:
        key = name.removeprefix(ENV_PREFIX).lower()
        assert getattr(settings, key) != getattr(default, key)


def test_example_files_are_usable(text: str) -> None:
    config, entries = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S))
    Settings.model_validate(config)
    for app, entry in entries.items():
        AppSpec.model_validate({**entry, "app": app})
