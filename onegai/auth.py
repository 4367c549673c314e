"""Who may send a request: pure functions of its head and of plain values.

Two questions. Does a web page of another site use the browser's stored password? (A browser that
has cached BASIC sends it along for any page.) And is the password right? ``decide`` asks both, and
says what CORS adds to the answer.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from onegai.errors import ForbiddenOrigin, OneGAIError, SignatureRefused, Unauthorized

OPEN_PATHS = frozenset({"/health"})
"""Answered without credentials, to those who only read."""

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Access:
    """Who may come in: whoever knows these two, and the pages of these origins."""

    username: str
    password: str
    origins: Collection[str] = ()

    @cached_property
    def basic(self) -> bytes:
        """The Authorization header as nearly every client writes it (RFC 7617)."""
        return b"Basic " + base64.b64encode(self.pair)

    @cached_property
    def pair(self) -> bytes:
        """What BASIC encodes."""
        return f"{self.username}:{self.password}".encode()

    @cached_property
    def key(self) -> bytes:
        """The password alone."""
        return self.password.encode()


class Head(NamedTuple):
    """The part of a request that decides. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]

    @classmethod
    def of(cls, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Self:
        """From its parts. Of repeated headers the last one counts."""
        return cls(method, path, {name.lower(): value for name, value in headers})

    def get(self, name: bytes) -> str | None:
        """The value of a header as text."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def is_open(self) -> bool:
        """True for what needs no credentials."""
        return self.path in OPEN_PATHS and self.method in ("GET", "HEAD")

    @property
    def is_preflight(self) -> bool:
        """True for CORS's question whether a page may send a request (Fetch Standard, 3.3)."""
        return self.method == "OPTIONS" and b"access-control-request-method" in self.headers

    @property
    def kind(self) -> str:
        """The media type of the body, without its parameters; empty where none is told."""
        told = self.headers.get(b"content-type", b"")
        if told == b"application/json":
            return "application/json"
        return told.decode("latin-1").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Decision:
    """What becomes of a request, and the ``headers`` that every answer to it gets."""

    headers: Headers = ()
    error: OneGAIError | None = None
    """It is refused with this."""
    wrong: bool = False
    """It is refused for a wrong password, not for none."""
    preflight: bool = False
    """It is answered with 200, the headers, and nothing else."""
    known: bool = False
    """It showed the right password, or a link that we have signed."""


def decide(head: Head, access: Access, signed: bool | None = None) -> Decision:
    """May this come in? ``signed``: whether the signature of its link is right, None without one.

    A signed link is for pages that have no password, of whatever site: ``<audio src>``.
    """
    if signed is False:
        return Decision(error=SignatureRefused())
    if not signed and (foreign := foreign_origin(head, access.origins)) is not None:
        return Decision(error=ForbiddenOrigin(origin=foreign))
    headers = _VARY
    origin = head.get(b"origin")
    if origin is not None and origin in access.origins:
        headers = (*_VARY, (b"access-control-allow-origin", origin.encode("latin-1")), *_LISTED)
        if head.is_preflight:
            return Decision((*headers, *_preflight(head)), preflight=True)
    if not signed and (reason := refusal(head, access)) is not None:
        wrong = b"authorization" in head.headers or b"x-api-key" in head.headers
        return Decision(headers, Unauthorized(reason=reason), wrong)
    known = bool(signed) or not head.is_open
    return _KNOWN if known and headers is _VARY else Decision(headers, known=known)


_VARY: Headers = ((b"vary", b"Origin"),)
"""What a cache must know: with another Origin, the answer would be another."""
_KNOWN = Decision(_VARY, known=True)
_LISTED: Headers = (
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", b"ETag, Location, Retry-After, Preference-Applied"),
)
_METHODS: Headers = (
    (b"access-control-allow-methods", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    (b"access-control-max-age", b"600"),
)


def _preflight(head: Head) -> Headers:
    """What a preflight of a listed page is told: all that it asks for."""
    told = list(_METHODS)
    if (asked := head.headers.get(b"access-control-request-headers")) is not None:
        told.append((b"access-control-allow-headers", asked))
    for network in (b"private-network", b"local-network"):
        if b"access-control-request-" + network in head.headers:
            told.append((b"access-control-allow-" + network, b"true"))
    return tuple(told)


def foreign_origin(head: Head, origins: Collection[str]) -> str | None:
    """The site whose page sent this, when that page must not; None when all is well.

    A page must be our own or of ``origins``. Opening a link that leads here is allowed: no GET has
    an effect.
    """
    origin = head.get(b"origin")
    if origin is not None:
        # Browsers ask no preflight for a page's own origin.
        own = _is_own(origin, head) and not head.is_preflight
        return None if own or origin in origins else origin
    referer = head.get(b"referer") or ""
    site = head.headers.get(b"sec-fetch-site")
    if site is not None:
        own = site in (b"same-origin", b"none")
        is_document = head.headers.get(b"sec-fetch-dest") == b"document"
    else:
        # A program; or a browser, which says less to an http address of the network.
        own = not referer or _is_own(referer, head) or _origin_of(referer) in origins
        is_document = b"text/html" in head.headers.get(b"accept", b"")
    if own or (is_document and head.method == "GET"):
        return None
    return referer or "unknown"


def refusal(head: Head, access: Access) -> str | None:
    """Why the credentials do not suffice, in words; None when they do.

    BASIC with user name and password, or the password alone as Bearer or x-api-key, as OpenAI's
    clients send it. Compared in constant time, as UTF-8 bytes.
    """
    if head.is_open:
        return None
    whole = head.headers.get(b"authorization", b"")
    if hmac.compare_digest(whole, access.basic):
        return None
    scheme, _, given = whole.partition(b" ")
    if scheme.lower() == b"basic":
        try:
            right = hmac.compare_digest(base64.b64decode(given, validate=True), access.pair)
        except ValueError:
            right = False
        return None if right else "wrong user name or password"
    key = given if scheme.lower() == b"bearer" else head.headers.get(b"x-api-key")
    if key is None:
        return "this needs a user name and a password"
    # Of the bytes of UTF-8 some are blanks to Python, but not in a header.
    right = hmac.compare_digest(key.strip(b" \t"), access.key)
    return None if right else "wrong password"


def _is_own(url: str, head: Head) -> bool:
    """Has this URL, or origin, the host and port that the request is sent to?"""
    host = _origin_of(url).partition("://")[2]
    return host != "" and host == head.get(b"host")


def _origin_of(url: str) -> str:
    """Of a URL or an origin; without a host for ``null`` and for what is neither."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"
