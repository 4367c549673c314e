"""docs/memory.md and docs/scheduling.md name keys, codes, files and states that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_documents import names, rows

from onegai.config.entry import AppSpec
from onegai.config.settings import Settings
from onegai.memory import deadlock, policy
from onegai.schema import State

ENTRY = {"app": "x", "type": "webapi", "port": 1, "exec": "x", "vram": 1}


@pytest.fixture
def memory(root: Path) -> str:
    return (root / "docs" / "memory.md").read_text(encoding="utf-8")


@pytest.fixture
def scheduling(root: Path) -> str:
    return (root / "docs" / "scheduling.md").read_text(encoding="utf-8")


def test_what_to_set_changes_something(memory: str) -> None:
    shown = [name for _, cell in rows(memory, "you want") for name in names(cell) if ": " in name]
    assert len(shown) > 7
    for text in shown:
        [(key, value)] = json.loads(f"{{{text}}}").items()
        if key in AppSpec.model_fields:
            made = AppSpec.model_validate({**ENTRY, key: value})
            assert getattr(made, key) != getattr(AppSpec.model_validate(ENTRY), key), text
        else:
            settings = Settings.model_validate({"password": "x" * 12, key: value})
            assert getattr(settings, key) == value, text


def test_refusals_are_errors_of_the_table(root: Path, memory: str) -> None:
    known = rows((root / "docs" / "errors.md").read_text(encoding="utf-8"), "code")
    shown = {names(code)[0] for code, *_ in rows(memory, "code")}
    assert len(shown) > 5
    assert shown <= {names(code)[0] for code, *_ in known}


def test_files_exist(root: Path, scheduling: str) -> None:
    shown = re.findall(r"`((?:onegai|tests)/[\w/.]+)`", scheduling)
    assert len(shown) > 8
    for name in shown:
        assert (root / name).is_file(), name


def test_every_state_is_drawn(scheduling: str) -> None:
    drawn = scheduling.split("## States", 1)[1].split("```")[1]
    assert {state for state in State if re.search(rf"\b{state}\b", drawn)} == set(State)


def test_what_the_recipe_names_is_there(root: Path, scheduling: str) -> None:
    recipe = scheduling.split("## Adding an eviction rule", 1)[1]
    assert {"Occupant", "Place.decide", "_movable", "BESIDE"} <= set(names(recipe))
    place = policy.Place
    assert policy.Occupant
    assert place.decide
    assert place._movable
    assert deadlock.deadlocked
    assert "\nBESIDE" in (root / "tests/unit/memory/test_policy.py").read_text(encoding="utf-8")
