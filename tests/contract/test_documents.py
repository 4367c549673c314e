"""The manual says what the code does: routes, errors."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from onegai import errors
from onegai.apps.folder import MARKER

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


def test_every_error_is_documented_with_its_status(root: Path) -> None:
    documented = {}
    for code, status, *sentences in rows((root / "docs/errors.md").read_text(), "code"):
        documented[names(code)[0]] = status
        assert len(sentences) == 2, code
        assert all(sentences), code
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


def test_what_errors_add_to_detail_is_documented(root: Path) -> None:
    added = {"code", "src", "hint", "cli_hint"}
    for path in (root / "onegai").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        dicts = {
            ast.unparse(target): node.value
            for node in nodes
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for target in node.targets
        }
        for node in nodes:
            if isinstance(node, ast.keyword) and node.arg == "detail":
                given = dicts.get(ast.unparse(node.value), node.value)
                if isinstance(given, ast.Dict):
                    added |= {ast.literal_eval(key) for key in given.keys if key is not None}
    table = rows((root / "docs/errors.md").read_text(), "in `detail`")
    assert {names(row[0])[0] for row in table} == added


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
