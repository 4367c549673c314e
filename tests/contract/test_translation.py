"""README.md and README.ja.md say the same: one is not changed without the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {"README.md": "[日本語](README.ja.md)", "README.ja.md": "[English](README.md)"}


@pytest.fixture
def texts(root: Path) -> list[str]:
    return [(root / name).read_text(encoding="utf-8") for name in LANGUAGES]


def prose(text: str) -> str:
    return FENCED.sub("", text)


def heading_levels(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(text), re.MULTILINE)]


def first_cells(text: str) -> list[list[str]]:
    """Of each table the first cells of the rows under its header, which is translated."""
    tables = re.findall(r"^\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", prose(text), re.MULTILINE)
    return [[line.split("|")[1].strip() for line in table.splitlines()] for table in tables]


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)]+)\)", prose(text)))


def test_each_links_to_the_other_under_its_title(texts: list[str]) -> None:
    assert [text.split("\n", 4)[2] for text in texts] == list(LANGUAGES.values())


def test_same_headings(texts: list[str]) -> None:
    english, japanese = map(heading_levels, texts)
    assert english
    assert japanese == english


def test_same_code_blocks(texts: list[str]) -> None:
    english, japanese = map(FENCED.findall, texts)
    assert english
    assert japanese == english


def test_same_rows_of_tables(texts: list[str]) -> None:
    english, japanese = map(first_cells, texts)
    assert english
    assert japanese == english


def test_same_links(texts: list[str]) -> None:
    english, japanese = map(links, texts)
    assert english - {"README.ja.md"}
    assert japanese - {"README.md"} == english - {"README.ja.md"}
