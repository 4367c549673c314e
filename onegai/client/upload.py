"""The body of a request that carries files of the caller."""

from __future__ import annotations

from collections.abc import Iterator

from onegai.client.form import Attached, Form
from onegai.files import local

PIECE = 1 << 16


class Upload:
    """The body of a request that is a form: ``size`` bytes, read from the disk as they are sent.

    A file is sent as long as it was at first: what is added to it meanwhile is left out, and one
    that has become shorter is an error. Raises BadArguments, which names file and argument.
    """

    def __init__(self, form: Form) -> None:
        self._parts = [(part, _size(part)) for part in form.parts]
        self.size = sum(size for _part, size in self._parts)

    def pieces(self) -> Iterator[bytes]:
        """All of it in order. Raises BadArguments."""
        for part, size in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from _content(part, size)


def _size(part: bytes | Attached) -> int:
    return len(part) if isinstance(part, bytes) else local.size_of(part.field, part.path)


def _content(attached: Attached, size: int) -> Iterator[bytes]:
    """So many bytes of a file."""
    path = local.expanded(attached.field, attached.path)
    left = size
    try:
        with path.open("rb") as source:
            while left:
                piece = source.read(min(left, PIECE))
                if not piece:
                    message = f"{path} has become shorter while it was sent"
                    raise local.unusable(attached.field, message)
                left -= len(piece)
                yield piece
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror}"
        raise local.unusable(attached.field, reason) from None
