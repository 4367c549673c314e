"""The names of functions: those that the operations of an OpenAPI document have, made usable."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 64


def function_names(operations: Sequence[tuple[str, str, str]]) -> list[str]:
    """A name for each (operationId, method, path), in their order; no two are alike.

    That is the operationId as an identifier, without what FastAPI adds to it. Where several would
    have one name, they have their whole operationId, else method and path, else a number.
    """
    tries = [
        [
            _identifier(_without_path(given, method, path)) if given else "",
            _identifier(given) if given else "",
            _identifier(f"{method}_{path}"),
        ]
        for given, method, path in operations
    ]
    names: list[str] = ["" for _ in operations]
    open_places = set(range(len(operations)))
    for step in range(3):
        offered = Counter(tries[place][step] for place in open_places)
        taken = set(names)
        settled = {
            place
            for place in open_places
            if (name := tries[place][step]) and offered[name] == 1 and name not in taken
        }
        for place in settled:
            names[place] = tries[place][step]
        open_places -= settled
    for place in sorted(open_places):
        names[place] = _numbered(tries[place][2], set(names))
    return names


def _without_path(given: str, method: str, path: str) -> str:
    """FastAPI's ``read_item_items__item_id__get`` is ``read_item`` with path and method."""
    tail = re.sub(r"\W", "_", path) + "_" + method.lower()
    return given.removesuffix(tail) or given


def _identifier(text: str) -> str:
    name = re.sub(r"_{2,}", "_", re.sub(r"[^0-9A-Za-z_]+", "_", text)).strip("_")[:LONGEST]
    name = name.rstrip("_") or "operation"
    if name[0].isdigit():
        name = f"operation_{name}"[:LONGEST]
    return f"{name}_" if keyword.iskeyword(name) else name


def _numbered(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while (numbered := f"{name[: LONGEST - 5]}_{number}") in taken:
        number += 1
    return numbered
