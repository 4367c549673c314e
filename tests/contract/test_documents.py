"""The README files say what the code does: keys, routes, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

from onegai import errors
from onegai.catalog import AppSpec
from onegai.installation import MARKER
from onegai.settings import Settings

STARTS_ONLY = {"config_error", "home_locked"}
"""Errors that end the start of the server, so that nobody sees them over HTTP."""


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a header row that begins with ``heading``."""
    table = text.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        for line in table.splitlines()[2:]
    ]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_setting_is_documented(root: Path) -> None:
    config = (root / "README.md").read_text().split("## Config", 1)[1]
    documented = {name for row in rows(config, "key") for name in names(row[0])}
    assert documented == set(Settings.model_fields)


def test_documented_keys_of_an_entry_exist_with_these_defaults(root: Path) -> None:
    text = (root / "README.md").read_text().split("## Adding your own app", 1)[1]
    for keys, _meaning, default in rows(text, "key"):
        for name in names(keys):
            field = AppSpec.model_fields[name]
            if re.fullmatch(r"[0-9]+", default):
                assert float(field.default) == float(default), name


def test_every_error_is_documented_with_its_status(root: Path) -> None:
    documented = {
        names(row[0])[0]: row[1] for row in rows((root / "api/README.md").read_text(), "code")
    }
    found = {}
    pending = [errors.OneGAIError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if "code" in vars(kind) and kind.__module__ == errors.__name__:
            found[kind.code] = "–" if kind.code in STARTS_ONLY else str(kind.status)
    found["relayed"] = "any"
    found.pop("error")
    assert {code: status.split(",")[0] for code, status in documented.items()} == found


def test_every_route_is_documented(root: Path) -> None:
    text = (root / "api/README.md").read_text()
    table = text.split("| route |", 1)[1].split("\n\n", 1)[0]
    documented: dict[str, list[str]] = {}
    for method, path in re.findall(r"`(GET|POST|DELETE) (/[^`?]*)", table):
        documented.setdefault(re.sub(r"{\w+}", "{}", path), []).append(method)
    snapshot = json.loads((root / "tests/contract/openapi.json").read_text())
    own = {re.sub(r"{\w+}", "{}", path): methods for path, methods in snapshot.items()}
    for outside in ("/health", "/", "/docs", "/api/{}/{}"):  # not in the OpenAPI document
        assert documented.pop(outside)
    assert {path: sorted(methods) for path, methods in documented.items()} == own


def test_marker_is_the_same_in_shell_and_python(root: Path) -> None:
    assert f"/{MARKER}" in (root / "install" / "lib.sh").read_text()
