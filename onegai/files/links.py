"""Links that work without a password for some minutes: an expiry time and a signature of it."""

from __future__ import annotations

import hmac
import secrets
import time
from urllib.parse import parse_qs, quote, urlencode

SECONDS = 600
_KEYS = {"expires", "signature"}


class Links:
    """Signs paths with HMAC-SHA256 and a key that ends with this object."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def signed(self, path: str, now: float | None = None) -> str:
        """The path (not quoted) as a link that is good for SECONDS."""
        expires = str(int(time.time() if now is None else now) + SECONDS)
        query = urlencode({"expires": expires, "signature": self._signature(path, expires)})
        return f"{quote(path)}?{query}"

    def check(self, path: str, query: str, now: float | None = None) -> bool | None:
        """None for a query without a signature; else whether it is right and has not expired."""
        given = parse_qs(query, keep_blank_values=True)
        if "signature" not in given:
            return None
        if not given.keys() >= _KEYS or any(len(given[key]) != 1 for key in _KEYS):
            return False
        expires, signature = given["expires"][0], given["signature"][0]
        right = hmac.compare_digest(self._signature(path, expires).encode(), signature.encode())
        # Only what is signed is read as a number.
        return right and int(expires) >= (time.time() if now is None else now)

    def _signature(self, path: str, expires: str) -> str:
        return hmac.digest(self._key, f"{expires}\n{path}".encode(), "sha256").hex()
