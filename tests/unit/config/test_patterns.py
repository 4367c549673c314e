"""Regular expressions of entries: what they find, and that no pattern and no text holds us up."""

import time

import pytest

from onegai.config import patterns
from onegai.config.patterns import LINE, TooSlow, found


@pytest.mark.parametrize(
    ("pattern", "lines", "expected"),
    [
        ("^Model loaded$", ["loading", "Model loaded", "x"], True),
        ("^Model loaded$", ["no Model loaded"], False),
        ("loaded", [], False),
        ("準備(完了|OK)", ["準備完了"], True),
        ("end$", ["x" * (LINE - 3) + "end"], True),
        ("end$", ["x" * LINE + "end"], False),
        ("first", ["first" + "x" * LINE, *["y" * 100] * 1000], True),
        ("last", [*["y" * 100] * 1000, "last"], True),
    ],
)
def test_found(pattern: str, lines: list[str], expected: bool) -> None:
    assert found(pattern, lines) is expected


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(x|xx)+$y", "(?=(x+)+y)", "x(?R)?y"])
def test_a_pattern_that_takes_for_ever_is_given_up(pattern: str) -> None:
    begun = time.thread_time()
    with pytest.raises(TooSlow):
        found(pattern, ["x" * 100_000], 0.1)
    assert time.thread_time() - begun < 2


def test_many_lines_have_one_limit_together() -> None:
    begun = time.thread_time()
    with pytest.raises(TooSlow):
        found("^(a?){20}a{20}$", ["a" * 19] * 1_000_000, 0.1)
    assert time.thread_time() - begun < 2


@pytest.mark.parametrize(
    "pattern", ["(", "a{99999999999999999999}", "*", "(?1)", "\\p{x}", "(" * 900 + ")" * 900]
)
def test_what_is_no_regular_expression(pattern: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        patterns.check(pattern)
