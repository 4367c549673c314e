"""Where a request goes, and where an answer sends it on to (RFC 9110, 15.4)."""

from __future__ import annotations

import functools
from collections.abc import Container
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_plus, urljoin, urlsplit

from onegai.config.credentials import NO_ACCESS
from onegai.handles.http import Request

REDIRECTS = 5
_STATUSES = (301, 302, 303, 307, 308)
_FOR_ONE_ORIGIN = frozenset({"authorization", "cookie", "host", "proxy-authorization"})


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port: what is for one is not for another."""

    secure: bool
    host: str
    port: int
    header: str = field(compare=False)
    """As it stands in Host."""


@functools.lru_cache(maxsize=256)
def parted(base: str) -> tuple[Origin, str]:
    """Of a base URL: where to connect to, and what its paths begin with."""
    parts = urlsplit(base)
    secure = parts.scheme == "https"
    host = (parts.hostname or "").encode("idna").decode()
    port = parts.port or (443 if secure else 80)
    shown = f"[{host}]" if ":" in host else host
    header = shown if parts.port is None else f"{shown}:{port}"
    return Origin(secure, host, port, header), parts.path


def is_redirect(status: int, location: str | None) -> bool:
    """Does an answer of this status and Location send the request on?"""
    return location is not None and status in _STATUSES


def redirected(base: str, request: Request, status: int, location: str) -> tuple[str, Request]:
    """What to ask instead, and where. Raises ConnectionError.

    Another origin is not shown what was meant for this one: neither the app's credentials, even
    where the function has given them itself, nor what of them the app has put into the Location.
    """
    url = urlsplit(urljoin(base + request.target, location))
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConnectionError(f"it redirects to {location[:200]}")
    there, query = f"{url.scheme}://{url.netloc}", url.query
    headers, access = dict(request.headers), request.access
    if parted(there)[0] != parted(base)[0]:
        private = _FOR_ONE_ORIGIN | access.headers.keys()
        headers = {name: headers[name] for name in headers.keys() - private}
        query = "&".join(part for part in query.split("&") if not _is_one_of(part, access.query))
        access = NO_ACCESS
    target = (url.path or "/") + (f"?{query}" if query else "")
    if (status == 303 and request.method != "HEAD") or (
        status in (301, 302) and request.method == "POST"
    ):
        headers = {n: value for n, value in headers.items() if not n.startswith("content-")}
        return there, Request("GET", target, headers, None, access)
    return there, replace(request, target=target, headers=headers, access=access)


def _is_one_of(part: str, names: Container[str]) -> bool:
    """Is this part of a query a parameter of one of these names?"""
    return unquote_plus(part.partition("=")[0]) in names
