"""Regular expressions of entries, matched against what an app says, within limits of time.

Neither side is to be trusted: some patterns take for ever on some texts. ``regex`` can give up in
the middle of a match, and lets other threads go on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import regex

LINE = 4096
"""Characters of a line that are looked at."""
SECONDS = 1.0
"""Of processor time that one search may take."""


class TooSlow(Exception):
    """The search was given up."""


def check(pattern: str) -> None:
    """Raises ValueError, with the reason, for what is no regular expression."""
    try:
        regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from None


def found(pattern: str, lines: Iterable[str], seconds: float = SECONDS) -> bool:
    """Does one of the lines match? For a thread: takes up to ``seconds``. Raises TooSlow."""
    compiled = regex.compile(pattern, regex.MULTILINE)
    end = time.thread_time() + seconds
    for text in _together(lines):
        try:
            if compiled.search(text, timeout=seconds, concurrent=True):
                return True
        except TimeoutError:
            raise TooSlow from None
        if time.thread_time() > end:
            raise TooSlow
    return False


def _together(lines: Iterable[str]) -> Iterator[str]:
    """Short lines in one text: each search hands the interpreter's lock over and back."""
    some: list[str] = []
    size = 0
    for line in lines:
        if some and size + len(line) > LINE:
            yield "\n".join(some)
            some, size = [], 0
        some.append(line[:LINE])
        size += len(line) + 1
    if some:
        yield "\n".join(some)
