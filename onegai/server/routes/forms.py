"""multipart/form-data as the arguments of a call: read as it comes, the files to disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from onegai.config import private
from onegai.config.settings import MIB
from onegai.errors import BadMultipart, BodyTooLarge
from onegai.files.file import File
from onegai.files.workspace import Workspace, full_disk
from onegai.functions.texts import decoded, from_text, kinds_of
from onegai.threads import in_writer

MAX_PARTS = 1000
_PIECE = 1 << 19


@dataclass(frozen=True)
class Exact:
    """A part that says of itself that it is JSON: its value."""

    value: Any


Part = tuple[str, str | File | Exact]


async def read_parts(request: Request, workspace: Workspace, max_text: int) -> list[Part]:
    """The parts with their names, in order; those with a file name are files in ``workspace``.

    Texts and JSON have ``max_text`` bytes at most, all together. Raises BadMultipart, BodyTooLarge,
    DiskFull, and starlette's ClientDisconnect.
    """
    _kind, options = parse_options_header(request.headers.get("content-type"))
    if not (boundary := options.get(b"boundary")):
        raise BadMultipart(reason="its Content-Type header names no boundary")
    reader = _Reader(workspace, max_text)
    try:
        parser = reader.parser(boundary)
        pieces = bytearray()
        async for piece in request.stream():
            pieces += piece
            if len(pieces) >= _PIECE:
                await in_writer(parser.write, bytes(pieces))
                pieces.clear()
        await in_writer(parser.write, bytes(pieces))
        parser.finalize()
    except FormParserError as error:
        raise BadMultipart(reason=str(error)) from None
    finally:
        reader.close()
    if not reader.complete:
        raise BadMultipart(reason="its last part has no end")
    return reader.parts


class _Reader:
    """What the parser calls. Each part is collected until it ends."""

    def __init__(self, workspace: Workspace, max_text: int) -> None:
        self.parts: list[Part] = []
        self.complete = False
        self._workspace = workspace
        self._max_text = max_text
        self._text_size = 0
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._name = ""
        self._file_name = ""
        self._is_json = False
        self._text = bytearray()
        self._file: File | None = None
        self._out: IO[bytes] | None = None

    def parser(self, boundary: bytes) -> MultipartParser:
        """One that calls this reader."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._ends,
            },
        )

    def close(self) -> None:
        """Close the file that is being written, if any."""
        if self._out is not None:
            with full_disk(self._workspace.folder):
                self._out.close()
            self._out = None

    def _part_begins(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise BadMultipart(reason=f"it has more than {MAX_PARTS} parts")
        self._headers, self._text, self._file = {}, bytearray(), None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise BadMultipart(reason="a part has no name in its Content-Disposition")
        self._name = options[b"name"].decode("utf-8", "replace")
        media_type, _ = parse_options_header(self._headers.get(b"content-type"))
        self._is_json = media_type == b"application/json"
        if (name := options.get(b"filename")) is None:
            return
        self._file_name = name.decode("utf-8", "replace")
        path = self._workspace.new(self._file_name)
        with full_disk(path):
            self._out = private.make_file(path).open("wb")
        self._file = File(path, self._file_name, media_type.decode("latin-1"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._out is not None:
            with full_disk(self._workspace.folder):
                self._out.write(data[start:end])
            return
        self._text_size += end - start
        if self._text_size > self._max_text:
            raise BodyTooLarge(limit_mib=round(self._max_text / MIB, 1))
        self._text += data[start:end]

    def _part_ends(self) -> None:
        self.close()
        if self._file is None and self._is_json:
            try:
                self.parts.append((self._name, Exact(decoded(self._text))))
            except ValueError as error:
                raise BadMultipart(reason=f"the part {self._name} is no JSON: {error}") from None
        elif self._file is None:
            self.parts.append((self._name, self._text.decode("utf-8", "replace")))
        elif self._file.size or self._file_name:
            # A form's file field in which nothing was chosen has neither name nor content.
            self.parts.append((self._name, self._file))

    def _ends(self) -> None:
        self.complete = True


def as_arguments(parts: list[Part], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the parts stand for, by the JSON Schema of the function's arguments.

    A text for an argument that is no text is read as JSON, where it is some. A part that comes
    several times, or whose argument is a list, is a list; one that is Exact and comes once is its
    value.
    """
    kinds = kinds_of(schema)
    found: dict[str, list[str | File | Exact]] = {}
    for name, value in parts:
        found.setdefault(name, []).append(value)
    return {name: _argument(values, kinds(name)) for name, values in found.items()}


def _argument(parts: list[str | File | Exact], kinds: set[str]) -> Any:
    match parts:
        case [Exact(value)]:
            return value
    values = [
        part.value
        if isinstance(part, Exact)
        else from_text(part, kinds)
        if isinstance(part, str)
        else part
        for part in parts
    ]
    one = len(values) == 1 and ("array" not in kinds or isinstance(values[0], list))
    return values[0] if one else values
