"""docs/plugins.md names every helper of install scripts, option of the runner, reserved name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_documents import names, rows

from onegai.config.catalog import RESERVED


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.fixture
def lib(root: Path) -> str:
    return (root / "install" / "lib.sh").read_text(encoding="utf-8")


def first_cells(text: str, heading: str) -> list[str]:
    return [names(row[0])[0] for row in rows(text, heading)]


def test_helpers_and_their_arguments(text: str, lib: str) -> None:
    documented = first_cells(text, "helper")
    functions = re.findall(r"^([a-z]\w*)\(\) \{", lib, re.MULTILINE)
    assert sorted(line.split()[0] for line in documented) == sorted(functions)
    for line in documented:
        assert re.search(rf"^#   {re.escape(line)}  ", lib, re.MULTILINE), line


def test_variables_of_install_scripts(text: str, lib: str) -> None:
    [paragraph] = re.findall(r"^# After install_begin: .*\n", lib, re.MULTILINE)
    given = re.findall(r"\$[A-Z_]+", paragraph)
    section = text.split("### Helpers", 1)[1]
    assert sorted(first_cells(section, "variable")) == sorted(given)


def test_options_of_the_runner(root: Path, text: str) -> None:
    source = (root / "onegai" / "runner" / "command.py").read_text(encoding="utf-8")
    options = re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", source)
    section = text.split("## The run file: the runner", 1)[1]
    assert sorted(first_cells(section, "option")) == sorted(options)


def test_what_tests_of_apps_are_given(root: Path, text: str) -> None:
    used = {"ONEGAI_URL", "ONEGAI_USERNAME", "ONEGAI_PASSWORD"}
    for script in (root / "tests").glob("test_*.sh"):
        used |= set(re.findall(r"\$\{(ONEGAI_\w+)", script.read_text(encoding="utf-8")))
    assert set(first_cells(text.split("## Tests of an app", 1)[1], "variable")) == used


def test_reserved_names(text: str) -> None:
    paragraph = text.split("\n## Reserved names\n", 1)[1].split("\n## ", 1)[0]
    assert sorted(names(paragraph)) == sorted(RESERVED)
