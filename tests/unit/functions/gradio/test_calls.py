"""Streamed outputs, of which an app tells what has changed."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from onegai.functions.gradio.calls import changed

JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers(0, 3) | strategies.text("ab"),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text("xy"), inner),
    max_leaves=12,
)


def difference(old: Any, new: Any, path: tuple[Any, ...] = ()) -> list[list[Any]]:
    """As Gradio's servers make it; what a list has lost, from its first to its last."""
    if type(old) is not type(new):
        return [["replace", list(path), new]]
    if isinstance(old, str) and new.startswith(old):
        return [["append", list(path), new[len(old) :]]] if new != old else []
    edits: list[list[Any]] = []
    if isinstance(old, list):
        common = min(len(old), len(new))
        for place in range(common):
            edits += difference(old[place], new[place], (*path, place))
        edits += [["delete", [*path, place], None] for place in range(common, len(old))]
        edits += [["add", [*path, place], new[place]] for place in range(common, len(new))]
    elif isinstance(old, dict):
        for key in old:
            there = key in new
            some = difference(old[key], new[key], (*path, key)) if there else []
            edits += some if there else [["delete", [*path, key], None]]
        edits += [["add", [*path, key], new[key]] for key in new if key not in old]
    elif old != new:
        edits.append(["replace", list(path), new])
    return edits


@hypothesis.given(strategies.lists(JSON, min_size=2, max_size=2), JSON)
def test_changes_lead_from_one_output_to_the_next(before: list[Any], after: Any) -> None:
    first = repr(before)
    assert changed(before, [difference(before[0], after), []]) == [after, before[1]]
    assert repr(before) == first


def test_an_output_that_was_not_there_before() -> None:
    assert changed([], [[["replace", [], "x"]]]) == ["x"]


@pytest.mark.parametrize(
    "changes",
    [
        [["append", ["a"], "x"]],
        [["append", [0, "b"], "x"]],
        [["delete", [5], None]],
        ["nonsense"],
        None,
    ],
)
def test_changes_that_do_not_fit_are_harmless(changes: Any) -> None:
    assert changed([[]], [changes]) == [[]]
