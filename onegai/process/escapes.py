"""What a program writes to a terminal, as plain text."""

from __future__ import annotations

import re

# ECMA-48: CSI sequences, OSC strings, and the escapes of ECMA-35 (with or without intermediates).
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-Z\\^-~])"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Text without terminal escapes; of a progress bar's rewrites only the last one stays.

    Takes time in proportion to the text, whatever is in it.
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    return _CONTROLS.sub("", "\n".join(lines))
