"""Links between the pages lead somewhere, headings included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_translation import PAGES, prose


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(root: Path, page: str) -> None:
    path = root / page
    for link in re.findall(r"\]\(([^)]+)\)", prose(path.read_text(encoding="utf-8"))):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.is_relative_to(root), link
        assert found.exists(), link
        if anchor:
            assert anchor in anchors(found), link


def test_every_page_of_the_manual_is_in_its_index(root: Path) -> None:
    """In Japanese where there is such a page."""
    pages = {path.name for path in (root / "docs").glob("*.md")}
    for suffix in (".md", ".ja.md"):
        index = (root / "docs" / f"README{suffix}").read_text(encoding="utf-8")
        linked = set(re.findall(r"\]\((\w+(?:\.ja)?\.md)\)", index))
        english = {name for name in pages if not name.endswith(".ja.md")}
        best = {name.replace(".md", suffix) for name in english} & pages
        best |= {name for name in english if name.replace(".md", suffix) not in pages}
        assert linked - {"README.md", "README.ja.md"} == best - {f"README{suffix}"}
