"""How the supervisor itself asks services."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import aiohttp

from onegai.config.credentials import NO_ACCESS, Access


@dataclass(frozen=True)
class Asking:
    """``session`` follows no proxy and keeps no connection: a child may be gone at any time."""

    session: aiohttp.ClientSession
    access: Callable[[str], Access]
    """What an app is shown. Raises KeyMissing."""

    def let_in(
        self, app: str, method: str, url: str, seconds: float, json: Any = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The app's answer to a request with its credentials, in so many seconds.

        To where that leads goes only what has a body, and no credentials: what is shown to one
        origin is not shown to another. Raises KeyMissing.
        """
        shown = self.access(app)
        return self.session.request(
            method,
            url,
            params=dict(shown.query),
            headers=dict(shown.headers),
            json=json,
            allow_redirects=json is not None and shown is NO_ACCESS,
            timeout=aiohttp.ClientTimeout(total=seconds),
        )
