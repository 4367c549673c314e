"""Who may send a request: pure functions of a request's head and the settings.

Two questions. ``origin``: does a web page of another site use the browser's stored password? (A
browser that has cached BASIC sends it along for any page.) ``credentials``: is the password right?
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from onegai.config.settings import Settings

OPEN_PATHS = frozenset({"/health"})
"""Answered without credentials, to those who only read."""


@dataclass(frozen=True)
class Head:
    """The part of a request that decides. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]

    @classmethod
    def from_asgi(cls, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Head:
        """From an ASGI scope's parts. Of repeated headers the last one counts."""
        decoded = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers
        }
        return cls(method, path, decoded)

    @property
    def is_open(self) -> bool:
        """True for what needs no credentials."""
        return self.path in OPEN_PATHS and self.method in ("GET", "HEAD")

    @property
    def is_preflight(self) -> bool:
        """True for CORS's question whether a page may send a request (Fetch Standard, 3.3)."""
        return self.method == "OPTIONS" and "access-control-request-method" in self.headers


def foreign_origin(head: Head, settings: Settings) -> str | None:
    """The site whose page sent this, when that page must not; None when all is well.

    A page must be our own or in ``cors_origins``. Opening a link that leads here is allowed: no GET
    has an effect.
    """
    origin = head.headers.get("origin")
    if origin is not None:
        # Browsers ask no preflight for a page's own origin.
        own = _is_own(origin, head) and not head.is_preflight
        return None if own or origin in settings.cors_origins else origin
    referer = head.headers.get("referer", "")
    site = head.headers.get("sec-fetch-site")
    if site is not None:
        own = site in ("same-origin", "none")
        is_document = head.headers.get("sec-fetch-dest") == "document"
    else:
        # A program; or a browser, which says less to an http address of the network.
        own = not referer or _is_own(referer, head) or _origin_of(referer) in settings.cors_origins
        is_document = "text/html" in head.headers.get("accept", "")
    if own or (is_document and head.method == "GET"):
        return None
    return referer or "unknown"


def refusal(head: Head, settings: Settings) -> str | None:
    """Why the credentials do not suffice, in words; None when they do.

    BASIC with user name and password, or the password alone as Bearer or x-api-key, as OpenAI's
    clients send it. Compared in constant time, as UTF-8 bytes.
    """
    if head.is_open:
        return None
    password = settings.password.encode()
    scheme, _, given = head.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        expected = settings.username.encode() + b":" + password
        try:
            right = hmac.compare_digest(base64.b64decode(given, validate=True), expected)
        except ValueError:
            right = False
        return None if right else "wrong user name or password"
    key = given if scheme.lower() == "bearer" else head.headers.get("x-api-key")
    if key is None:
        return "this needs a user name and a password"
    # Of the bytes of UTF-8 some are blanks to Python, but not in a header.
    right = hmac.compare_digest(key.strip(" \t").encode("latin-1"), password)
    return None if right else "wrong password"


def _is_own(url: str, head: Head) -> bool:
    """Has this URL, or origin, the host and port that the request is sent to?"""
    host = _origin_of(url).partition("://")[2]
    return host != "" and host == head.headers.get("host")


def _origin_of(url: str) -> str:
    """Of a URL or an origin; without a host for ``null`` and for what is neither."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"
