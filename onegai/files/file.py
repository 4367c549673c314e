"""Files as functions take and give them: ``audio: File``.

What a caller sends becomes a File while the arguments are checked. Where that takes more than
looking at it (a URL, a path, a job), the File is pending until ``sources`` has fetched it.
"""

from __future__ import annotations

import dataclasses
import json
import mimetypes
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel
from pydantic_core import CoreSchema, core_schema

from onegai.config import private
from onegai.errors import SdkMisuse
from onegai.files import pieces
from onegai.files.workspace import Workspace, full_disk, safe_name
from onegai.runner import media

MARK = "x-onegai-file"
"""A key of the JSON Schema of every File."""
BINARY = media.BINARY
FORMS = (
    "a file is a data: or http(s) URL, a whole path below file_roots, "
    '{"base64": "…", "name": "…"}, {"job": "…"}, or a multipart part'
)
_IN_A_HEADER = re.compile(r"[!-~]([ -~]*[!-~])?")
_SUFFIXES = {
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
    "application/ogg": ".ogg",
    "video/ogg": ".ogv",
    "image/webp": ".webp",
}
"""What Python's own table lacks or, before 3.14, has otherwise."""


@dataclasses.dataclass(frozen=True)
class JobResult:
    """The result of another job, as a source."""

    job: str


class File:
    """A file: bytes, or a path that is read when it is needed.

    ``name`` has no folders in it. The media type is told from the bytes; where they do not tell,
    it is ``media_type`` as given, else what the name's suffix means.
    """

    def __init__(self, content: bytes | Path, name: str = "", media_type: str = "") -> None:
        self._source: str | Path | JobResult | None = None
        self._workspace: Workspace | None = None
        self._given_type = media_type
        self._given_name = name
        self._content: bytes | None = None
        self._path: Path | None = None
        self._copy: Path | None = None
        self._fill(content)

    @classmethod
    def pending(cls, source: str | Path | JobResult, name: str = "") -> File:
        """One that is to be fetched first: text (URL, path or base64), a path, a job's result."""
        file = cls(b"", name)
        file._source = source
        return file

    @property
    def source(self) -> str | Path | JobResult | None:
        """Where a pending file comes from; None when it is there."""
        return self._source

    def arrive(self, content: bytes | Path, name: str = "", media_type: str = "") -> None:
        """End of being pending."""
        self._source = None
        self._given_name = self._given_name or name
        self._given_type = self._given_type or media_type
        self._fill(content)

    def use(self, workspace: Workspace) -> None:
        """Where ``path`` puts bytes that lie in memory."""
        self._workspace = workspace

    @property
    def name(self) -> str:
        """Its name, with a suffix where one can be told."""
        self._check()
        if self._given_name:
            return safe_name(self._given_name)
        if self._path is not None:
            return safe_name(self._path.name)
        return "file" + suffix_of(self.media_type)

    @property
    def media_type(self) -> str:
        """For example ``audio/wav``."""
        self._check()
        if self._path is None:
            head = (self._content or b"")[: media.HEAD]
        else:
            with self._path.open("rb") as file:
                head = file.read(media.HEAD)
        sniffed = media.sniff(head)
        if sniffed != BINARY:
            return sniffed
        if is_media_type(self._given_type) and self._given_type != BINARY:
            return self._given_type
        named = self._given_name or (self._path.name if self._path else "")
        return mimetypes.guess_type(named)[0] or BINARY

    @property
    def size(self) -> int:
        """Bytes."""
        self._check()
        return self._path.stat().st_size if self._path else len(self._content or b"")

    @property
    def path(self) -> Path:
        """Where it lies, for programs that want a path; not to be kept beyond the call."""
        self._check()
        if self._path is not None:
            return self._path
        if self._copy is None or not self._copy.exists():
            path = self._new_path()
            with full_disk(path):
                private.make_file(path).write_bytes(self._content or b"")
            self._copy = path
        return self._copy

    def read(self) -> bytes:
        """All of it."""
        self._check()
        return self._path.read_bytes() if self._path else (self._content or b"")

    def open(self) -> BinaryIO:
        """A stream for reading."""
        return self.path.open("rb")

    def copy_to(self, path: Path) -> None:
        """Write all of it there."""
        self._check()
        if self._path is None:
            path.write_bytes(self._content or b"")
        else:
            shutil.copyfile(self._path, path)

    def __repr__(self) -> str:
        return f"File({self._source or self.name!r})"

    def _fill(self, content: bytes | Path) -> None:
        if isinstance(content, Path):
            self._path, self._content = content, None
        else:
            self._path, self._content = None, content

    def _check(self) -> None:
        if self._source is not None:
            raise SdkMisuse(
                reason="a file argument was used before it was fetched",
                do="use it in the function, not in a validator; a File made by a call's arguments "
                "is fetched before the function runs",
            )

    def _new_path(self) -> Path:
        name = self._given_name or self.name
        if self._workspace is not None and not self._workspace.closed:
            return self._workspace.new(name)
        folder = tempfile.mkdtemp(prefix="onegai-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder, safe_name(name))

    # --- pydantic --------------------------------------------------------------------------

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            from_argument,
            serialization=core_schema.plain_serializer_function_ser_schema(
                as_argument, when_used="json"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        text = "an http(s) URL, a data: URL, base64, or a whole path below file_roots"
        return {
            MARK: True,
            "anyOf": [
                {"type": "string", "pattern": r"\S", "description": text},
                {
                    "type": "object",
                    "properties": {"base64": {"type": "string"}, "name": {"type": "string"}},
                    "required": ["base64"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {"job": {"type": "string", "description": "its result"}},
                    "required": ["job"],
                    "additionalProperties": False,
                },
            ],
        }


def file_fields(schema: Mapping[str, Any]) -> frozenset[str]:
    """The arguments of a function's JSON Schema that are files or have some in them."""
    fields = schema.get("properties", {})
    return frozenset(name for name, field in fields.items() if _has_file(field, schema, set()))


def _has_file(part: Any, schema: Mapping[str, Any], seen: set[str]) -> bool:
    """``seen``: the references that were followed already."""
    text = json.dumps(part)
    if MARK in text:
        return True
    references = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', text)) - seen
    seen |= references
    models = schema.get("$defs", {})
    return any(_has_file(models.get(name), schema, seen) for name in references)


def as_argument(file: File) -> dict[str, str]:
    """The JSON that another call takes as this file."""
    return {"base64": pieces.to_base64(file.read()).decode(), "name": file.name}


def from_argument(value: Any) -> File:
    """What a caller has sent, as a File. Raises ValueError, for who knows the field to name it."""
    if isinstance(value, File):
        return value
    if isinstance(value, bytes | bytearray):
        return File(bytes(value))
    if isinstance(value, Path):
        return File.pending(value)
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"it is empty; {FORMS}")
        return _from_data_url(value) if value[:5].lower() == "data:" else File.pending(value)
    if isinstance(value, Mapping):
        keys = set(value)
        if not all(isinstance(part, str) for part in value.values()):
            raise ValueError(f"its values must be strings; {FORMS}")
        if keys == {"job"}:
            return File.pending(JobResult(value["job"]))
        if keys in ({"base64"}, {"base64", "name"}):
            return File(from_base64(value["base64"]), value.get("name", ""))
    raise ValueError(f"it is no file: {FORMS}")


def from_base64(text: str) -> bytes:
    """Raises ValueError. White space does not count."""
    try:
        return pieces.from_base64(text)
    except ValueError as error:
        reason = str(error).partition(";")[0]
        raise ValueError(f"the base64 cannot be decoded: {reason}") from None


def _from_data_url(url: str) -> File:
    """RFC 2397. Raises ValueError."""
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise ValueError("the data: URL has no comma before its data")
    media_type, *parameters = head.split(";")
    if [part.strip().lower() for part in parameters[-1:]] == ["base64"]:
        content = from_base64(unquote_to_bytes(body).decode("latin-1"))
    else:
        content = unquote_to_bytes(body)
    return File(content, media_type=media_type.strip().lower() or "text/plain")


def find(
    value: Any, kinds: type | tuple[type, ...], at: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """All values of these kinds inside models, dataclasses, dicts and lists, with their places."""
    inside: Any = ()
    if isinstance(value, kinds):
        yield ".".join(at), value
    elif isinstance(value, BaseModel):
        inside = {**vars(value), **(value.model_extra or {})}.items()
    elif isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, list | tuple | set | frozenset):
        inside = enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = vars(value).items() if hasattr(value, "__dict__") else ()
    for key, one in inside:
        yield from find(one, kinds, (*at, str(key)))


def is_media_type(text: str) -> bool:
    """May it stand in a Content-Type header? What is not ASCII or breaks the line may not."""
    return _IN_A_HEADER.fullmatch(text) is not None


def suffix_of(media_type: str) -> str:
    """The usual suffix of a file of this type, with its dot; empty where there is none."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind == BINARY:
        return ""
    return _SUFFIXES.get(kind) or mimetypes.guess_extension(kind) or ""


def pending(arguments: Any, workspace: Workspace) -> list[tuple[str, File]]:
    """The files that are to be fetched, with their places; all files get the workspace."""
    found = list(find(arguments, File))
    for _place, file in found:
        file.use(workspace)
    return [(place, file) for place, file in found if file.source is not None]
