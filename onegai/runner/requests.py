"""Reading a request: who may ask, and a body that must be one JSON object."""

from __future__ import annotations

import ipaddress
import json
import re
from email.message import Message
from io import BufferedIOBase
from typing import Any, Dict, NoReturn, Tuple

from .answers import JSON, RequestError

_PORT = re.compile(r":\d*\Z")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}\Z")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LINE = 8192


def check_origin(headers: Message, bound_to: str) -> None:
    """Refuse what only a web page sends: there is no password here, and a browser visits anything.

    A page cannot leave out Origin, and one that resolved its own name to this machine (DNS
    rebinding) still sends that name as Host. RequestError 403.
    """
    if "Origin" in headers:
        raise RequestError(403, "requests of web pages are refused", origin=str(headers["Origin"]))
    host = headers.get("Host")
    if host is not None and not _is_ours(_PORT.sub("", host).strip("[]").lower(), bound_to):
        raise RequestError(403, "this is not the server of " + host, host=host)


def _is_ours(name: str, bound_to: str) -> bool:
    if name in ("localhost", bound_to.lower()):
        return True
    try:
        address, bound = ipaddress.ip_address(name), ipaddress.ip_address(bound_to)
    except ValueError:
        return False
    return address.is_loopback or bound.is_unspecified


def read_body(headers: Message, stream: BufferedIOBase, limit: int) -> bytes:
    """Read the body of a request that carries JSON or nothing. limit is in bytes.

    RequestError 400, 413, 415, each with the body or a part of it left unread.
    """
    chunked, length = framing(headers)
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != JSON and (kind or chunked or length):
        raise RequestError(415, "the body must be " + JSON, content_type=kind or None)
    if length > limit:
        raise _too_large(limit)
    return _read_chunks(stream, limit) if chunked else _read_exactly(stream, length)


def framing(headers: Message) -> Tuple[bool, int]:
    """Whether the body is chunked, else its length (RFC 9112, section 6). RequestError 400, 501."""
    coding = headers.get("Transfer-Encoding")
    lengths = set(headers.get_all("Content-Length", []))
    if coding is not None:
        if lengths:
            raise RequestError(400, "Content-Length and Transfer-Encoding exclude each other")
        if coding.strip().lower() != "chunked":
            raise RequestError(501, "Transfer-Encoding %s is not supported" % coding)
        return True, 0
    if not lengths:
        return False, 0
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()):
        raise RequestError(400, "Content-Length is not a number")
    return False, int(length)


def _read_exactly(stream: BufferedIOBase, length: int) -> bytes:
    body = stream.read(length) if length else b""
    if len(body) < length:
        raise ConnectionAbortedError("the client left while sending")
    return body


def _read_chunks(stream: BufferedIOBase, limit: int) -> bytes:
    body = bytearray()
    while True:
        size = _chunk_size(_read_line(stream))
        if size == 0:
            break
        if len(body) + size > limit:
            raise _too_large(limit)
        body += _read_exactly(stream, size)
        if _read_line(stream):
            raise RequestError(400, "a chunk of the body is longer than announced")
    while _read_line(stream):
        pass  # trailers
    return bytes(body)


def _chunk_size(line: bytes) -> int:
    text = line.partition(b";")[0].strip()
    if not _CHUNK_SIZE.match(text):
        raise RequestError(400, "a chunk of the body has no size")
    return int(text, 16)


def _read_line(stream: BufferedIOBase) -> bytes:
    line = stream.readline(_LINE + 1)
    if len(line) > _LINE:
        raise RequestError(400, "a line of the body's framing is too long")
    if not line.endswith(b"\n"):
        raise ConnectionAbortedError("the client left while sending")
    return line.rstrip(b"\r\n")


def _too_large(limit: int) -> RequestError:
    return RequestError(413, "the body is larger than %d bytes" % limit, limit=limit)


def parse_args(body: bytes) -> Dict[str, Any]:
    """The JSON object that the body holds; an empty one is {}. RequestError 400, 422."""
    if not body.strip():
        return {}
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            value = _well_formed(value)
    except json.JSONDecodeError as error:
        raise RequestError(
            400,
            "invalid JSON at line %d column %d: %s" % (error.lineno, error.colno, error.msg),
            line=error.lineno,
            column=error.colno,
        ) from error
    except UnicodeDecodeError as error:
        raise RequestError(
            400, "the body is not UTF-8 at byte %d" % error.start, byte=error.start
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "invalid JSON: %s" % error) from error
    if not isinstance(value, dict):
        raise RequestError(422, "the body must be a JSON object", got=type(value).__name__)
    return value


def _well_formed(value: Any) -> Any:
    """Half a surrogate pair, which no library can print or encode, becomes U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(one) for key, one in value.items()}
    return [_well_formed(one) for one in value] if isinstance(value, list) else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name + " is not JSON")
