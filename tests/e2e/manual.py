"""The blocks of a page of docs/, as a reader meets them: files, requests, scripts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"# (\S+\.(?:py|sh|lock))\n")
"""The first line of a block that is a file of the reader's; a shell script has it after ``#!``."""


@dataclass
class Exchange:
    """A request, and what the page says about its answer."""

    method: str
    path: str
    body: Any
    status: int
    media_type: str
    expected: str

    def check(self, status: int, media_type: str, content: bytes) -> None:
        told = f"{self.method} {self.path}: {status} {media_type} {content[:500]!r}"
        assert (status, media_type.partition(";")[0]) == (self.status, self.media_type), told
        if self.media_type == "application/json":
            assert contains(json.loads(content), json.loads(self.expected)), told
        elif self.expected.endswith("…"):
            assert content.startswith(self.expected.removesuffix("…").encode()), told
        else:
            assert content.decode().strip("\n") == self.expected, told


@dataclass
class Page:
    """A page of the manual, taken apart."""

    files: dict[str, str] = field(default_factory=dict)
    services: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)


def read_page(path: Path) -> Page:
    """Every block of python, json and http, and every file, whatever it is written in."""
    page = Page()
    for language, text in BLOCK.findall(path.read_text(encoding="utf-8")):
        named = NAMED.match(text.removeprefix("#!/usr/bin/env bash\n"))
        if named:
            assert named[1] not in page.files, f"{named[1]} is shown twice"
            page.files[named[1]] = text
        elif language == "python":
            page.scripts.append(text)
        elif language == "http":
            lines = text.splitlines()
            pairs = zip(lines[::2], lines[1::2], strict=True)
            page.exchanges += [exchange(*pair) for pair in pairs]
        elif language == "json":
            value = json.loads(text)
            (page.config if "apps" in value else page.services).update(value)
    return page


def exchange(request: str, answer: str) -> Exchange:
    method, path, body = re.fullmatch(r"([A-Z]+) (/\S*)(?: (\{.*\}))?", request).groups()
    status, media_type, expected = answer.split(" ", 2)
    return Exchange(
        method, path, json.loads(body) if body else None, int(status), media_type, expected
    )


def contains(found: Any, shown: Any) -> bool:
    """What the page shows is there; an object may hold more than it shows."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(
            key in found and contains(found[key], value) for key, value in shown.items()
        )
    return bool(found == shown)


def promised_output(script: str) -> list[str]:
    """What the comments behind the prints of a script say."""
    return re.findall(r"print\(.*\)  # (.*)$", script, re.MULTILINE)
