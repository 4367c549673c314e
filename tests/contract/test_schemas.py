"""schemas/: what editors complete and check is what the models say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.schemafiles import documents, text_of, write
from onegai.config.settings import LATER, Settings, load_settings


def test_the_files_are_current(root: Path, tmp_path: Path) -> None:
    made = documents()
    assert sorted(path.name for path in (root / "schemas").iterdir()) == sorted(made)
    for name, document in made.items():
        advice = "run: venv/bin/python -m onegai.config.schemafiles"
        assert (root / "schemas" / name).read_text("utf-8") == text_of(document), advice
    write(tmp_path)
    assert (tmp_path / "config.schema.json").read_text("utf-8") == text_of(
        made["config.schema.json"]
    )


def keys_of(schema: dict[str, Any]) -> set[str]:
    return set(schema["properties"]) - {"$schema"}


def test_every_key_is_there_and_described() -> None:
    services, config = documents()["services.schema.json"], documents()["config.schema.json"]
    assert keys_of(services["$defs"]["App"]) == set(AppSpec.model_fields) - {"app"}
    assert keys_of(config) == set(Settings.model_fields) | LATER
    parts = services["$defs"]
    for schema in (parts["App"], parts["Ready"], parts["Release"], config):
        for key, part in schema["properties"].items():
            assert part["description"], key


def test_no_reference_leads_nowhere() -> None:
    for document in documents().values():
        for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(document)):
            assert name in document["$defs"]


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("voice_2", True), ("_old", True), ("$schema", True), ("Voice", False), ("a-b", False)],
)
def test_names_of_apps(name: str, allowed: bool) -> None:
    schema = documents()["services.schema.json"]
    patterns = [*schema["patternProperties"], *map(re.escape, schema["properties"])]
    assert any(re.search(pattern, name) for pattern in patterns) is allowed
    assert name not in schema["propertyNames"]["not"]["enum"]
    assert "job" in schema["propertyNames"]["not"]["enum"]


def test_files_name_their_schema(root: Path, tmp_path: Path) -> None:
    named = json.loads((root / "services.json").read_text("utf-8"))["$schema"]
    assert (root / named).is_file()
    home = Home(tmp_path)
    (tmp_path / "schemas").mkdir()
    write(tmp_path / "schemas")
    assert load_settings(home, {}, {})[1] == []
    named = json.loads(home.config.read_text("utf-8"))["$schema"]
    assert (tmp_path / named).is_file()
