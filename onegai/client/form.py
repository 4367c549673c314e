"""The bodies of requests: JSON, and forms where there are files of the caller."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onegai.errors import BadArguments
from onegai.files.local import parts_of

JSON = "application/json"
_BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Attached:
    """A file whose content is sent; ``field`` is the argument that it is for."""

    field: str
    path: Path


@dataclass(frozen=True)
class Form:
    """A body of multipart/form-data (RFC 7578): bytes as they are sent, and files in between."""

    boundary: str
    parts: tuple[bytes | Attached, ...]


def form_of(arguments: Mapping[str, Any]) -> Form:
    """These arguments, with the files that they name. Raises BadArguments."""
    boundary = secrets.token_hex(16)
    parts: list[bytes | Attached] = []
    for key, argument in arguments.items():
        for value in parts_of(argument):
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(key)}"'
            if isinstance(value, Path):
                head += f'; filename="{_quoted(value.name)}"\r\nContent-Type: {_BINARY}'
                content: bytes | Attached = Attached(key, value)
            else:
                head += f"\r\nContent-Type: {JSON}"
                content = encoded(value)
            parts += [f"{head}\r\n\r\n".encode("utf-8", "surrogateescape"), content, b"\r\n"]
    return Form(boundary, (*parts, f"--{boundary}--\r\n".encode()))


def encoded(value: Any) -> bytes:
    """As JSON. Raises BadArguments for what that cannot hold."""
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArguments(
            reason=f"the arguments cannot be sent as JSON: {error}",
            do='a file is a Path, alone or in a list; its bytes are {"base64": "…", "name": "…"}',
        ) from None


def _quoted(name: str) -> str:
    """As it stands in quotes in a header."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return re.sub(r"[\r\n\0]", lambda found: quote(found[0]), escaped)
