"""Pages in English and Japanese say the same: one is not changed without the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
FOLDERS = (".", "api", "bench", "docs", "setup")
PAGES = sorted(
    str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.md")
)
FOR_THE_CODE = {"docs/architecture.md"}
"""Whoever changes the code reads English."""
TRANSLATED = [page.removesuffix(".ja.md") + ".md" for page in PAGES if page.endswith(".ja.md")]


@pytest.fixture(params=TRANSLATED)
def pair(request: pytest.FixtureRequest, root: Path) -> list[Path]:
    """The English page and the Japanese one."""
    english = root / request.param
    return [english, english.with_suffix(".ja.md")]


@pytest.fixture
def texts(pair: list[Path]) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in pair]


def prose(text: str) -> str:
    return FENCED.sub("", text)


def heading_levels(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(text), re.MULTILINE)]


def tables(text: str) -> list[list[str]]:
    """The rows of each table under its header, which is translated."""
    found = re.findall(r"^\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", prose(text), re.MULTILINE)
    return [table.splitlines() for table in found]


def name_of(row: str) -> str:
    """The first cell if it is a name: code alone, a link, one word. Else it is a sentence: ""."""
    cell = row.split("|")[1].strip().replace(".ja.md", ".md")
    words = re.sub(r"`[^`]+`,?", "", cell).split()
    return cell if not words or words == [cell] else ""


def codes(row: str) -> list[str]:
    """What does not depend on the language, in whichever order the sentence wants it."""
    return sorted(re.findall(r"`[^`]+`", row))


def links(text: str, page: Path) -> list[str]:
    """Where the page leads, without headings; the same for a page and its translation."""
    found = []
    for link in re.findall(r"\]\(([^)]+)\)", prose(text)):
        target = link.partition("#")[0] or page.name
        if target != page.name:
            found.append(target.replace(".ja.md", ".md"))
    return sorted(found)


def test_the_readme_and_the_whole_manual_are_translated() -> None:
    manual = {page for page in PAGES if page.startswith("docs/") and not page.endswith(".ja.md")}
    assert set(TRANSLATED) == ({"README.md"} | manual) - FOR_THE_CODE


def test_each_links_to_the_other_under_its_title(pair: list[Path], texts: list[str]) -> None:
    english, japanese = pair
    expected = [f"[日本語]({japanese.name})", f"[English]({english.name})"]
    assert [text.split("\n", 4)[2] for text in texts] == expected


def test_same_headings(texts: list[str]) -> None:
    english, japanese = map(heading_levels, texts)
    assert english
    assert japanese == english


def test_same_code_blocks(texts: list[str]) -> None:
    english, japanese = map(FENCED.findall, texts)
    assert japanese == english


def test_same_rows_of_tables(texts: list[str]) -> None:
    """Their names, and all that stands in code: keys, defaults, examples."""
    english, japanese = map(tables, texts)
    for ours, theirs in zip(english, japanese, strict=True):
        for row, translated in zip(ours, theirs, strict=True):
            assert codes(translated) == codes(row), translated
            if name := name_of(row):
                assert name_of(translated) == name


def test_same_numbers_of_errors(root: Path) -> None:
    english, japanese = (
        tables((root / "docs" / name).read_text(encoding="utf-8"))[1]
        for name in ("errors.md", "errors.ja.md")
    )
    assert [row.split("|")[2] for row in japanese] == [row.split("|")[2] for row in english]


def test_same_links(pair: list[Path], texts: list[str]) -> None:
    english, japanese = (links(*each) for each in zip(texts, pair, strict=True))
    assert english
    assert japanese == english


def test_japanese_pages_lead_to_japanese_ones(pair: list[Path], texts: list[str]) -> None:
    english, japanese = pair
    for link in re.findall(r"\]\(([^)#]+)", prose(texts[1])):
        target = japanese.parent / link
        if target.suffix == ".md" and not link.endswith(".ja.md") and target != english:
            assert not target.with_suffix(".ja.md").exists(), link
