"""What is large, a piece at a time.

One call of the C library's for all of it would let no other thread run until it ends, the event
loop's neither.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator

PIECE = 3 << 18
"""Bytes, or characters. A multiple of 3, so that base64 can be made in pieces."""
_BASE64_PIECE = PIECE // 3 * 4


def utf8(text: str) -> bytes:
    """The text; what is no Unicode becomes question marks."""
    if len(text) <= PIECE:
        return text.encode("utf-8", "replace")
    return b"".join(map(utf8, _texts(text, PIECE)))


def well_formed(text: str) -> str:
    """The text; half a surrogate pair, as one has that was cut in the middle, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def json_of_text(text: str) -> bytes:
    """The same as JSON."""
    pieces = (json.dumps(piece, ensure_ascii=False)[1:-1] for piece in _texts(text, PIECE))
    return b"".join((b'"', *map(utf8, pieces), b'"'))


def to_base64(content: bytes) -> bytes:
    """The content as base64."""
    view = memoryview(content)
    return b"".join(
        binascii.b2a_base64(view[at : at + PIECE], newline=False)
        for at in range(0, len(content), PIECE)
    )


def from_base64(text: str) -> bytes:
    """What base64 stands for; white space does not count. Raises ValueError."""
    text = "".join("".join(piece.split()) for piece in _texts(text, PIECE))
    *pieces, last = [*_texts(text, _BASE64_PIECE)] or [""]
    if pieces and not last.strip("="):  # some Pythons take padding that nothing needs
        last = pieces.pop() + last
    if any(piece.endswith("=") for piece in pieces):
        raise ValueError("Excess data after padding")
    return b"".join(base64.b64decode(piece, validate=True) for piece in (*pieces, last))


def _texts(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))
