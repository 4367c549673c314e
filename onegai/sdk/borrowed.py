"""Services of a running server, held from another process of the same machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp

from onegai.client import wire
from onegai.client.events import EventParser
from onegai.config.current import Current
from onegai.errors import AppError, Unreachable
from onegai.events import Tell
from onegai.schema import Event

LINGER_SECONDS = 1.0
"""How long a hold is kept after its last use, so that calls in a row share it."""


class _Borrowed:
    """One open ``POST /service/{app}/hold``: an open socket is what keeps the service."""

    def __init__(self, url: str, answer: aiohttp.ClientResponse) -> None:
        self.url = url
        self.users = 0
        self.ending = False
        self._answer = answer

    def close(self) -> None:
        self.ending = True
        self._answer.close()


class _Use:
    """A lease: one use of a hold."""

    def __init__(self, owner: BorrowedServices, app: str, borrowed: _Borrowed) -> None:
        self.url = borrowed.url
        self._owner = owner
        self._app = app
        self._borrowed = borrowed
        self._held = True

    def again(self) -> _Use | None:
        """None: when the server wants it back, another has to be asked for."""
        return None

    def release(self) -> None:
        """Give it back, from any thread; twice is harmless."""
        if self._held:
            self._held = False
            self._owner._leave(self._app, self._borrowed)


class BorrowedServices:
    """The SDK's view of a server's services. Its coroutines belong to ``loop``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        session: aiohttp.ClientSession,
        url: str,
        current: Current,
    ) -> None:
        self._loop = loop
        self._session = session
        self._url = url
        self._current = current
        self._lock = threading.Lock()
        self._borrowed: dict[str, _Borrowed] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def _headers(self) -> dict[str, str]:
        settings = self._current.settings
        return wire.credentials(settings.username, settings.password)

    def try_lease(self, app: str) -> _Use | None:
        """A use of a hold that is open. From any thread."""
        with self._lock:
            borrowed = self._borrowed.get(app)
            if borrowed is None or borrowed.ending:
                return None
            borrowed.users += 1
            return _Use(self, app, borrowed)

    async def lease(
        self, app: str, holding: frozenset[str] = frozenset(), tell: Tell | None = None
    ) -> _Use:
        """A use of a hold, opened if need be. Raises the server's own error.

        The server does not know what this process is ``holding``: two that cannot run side by side
        end in its queue_timeout. ``tell`` hears ``starting`` where none is open.
        """
        del holding
        if (use := self.try_lease(app)) is not None:
            return use
        if tell is not None:
            tell("starting", {"app": app})
        async with self._opening.setdefault(app, asyncio.Lock()):
            while (use := self.try_lease(app)) is None:
                await self._open(app)
            return use

    async def why_lost(self, app: str, reason: str) -> AppError:
        """What the server says of a service whose connection broke."""
        try:
            async with self._session.get(
                f"{self._url}/service/status", headers=self._headers
            ) as answer:
                services = (await answer.json())["result"]["services"]
            said = next(service["reason"] for service in services if service["app"] == app)
        except (aiohttp.ClientError, OSError, ValueError, KeyError, StopIteration):
            said = ""
        do = f"its log says more: bash run.sh logs {app}"
        return Unreachable(app=app, reason=said or reason, do=do)

    async def close(self) -> None:
        """Let everything go."""
        for borrowed in self._borrowed.values():
            borrowed.close()
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    async def _open(self, app: str) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            answer = await self._session.post(
                f"{self._url}/service/{app}/hold", headers=self._headers, timeout=timeout
            )
        except (aiohttp.ClientError, OSError) as error:
            raise wire.unreachable(self._url, error) from None
        if answer.status != 200:
            reply = wire.Reply(answer.status, answer.headers, await answer.read())
            raise wire.error(self._url, reply)
        events = _events(answer)
        ready = await anext(events)
        assert ready.event == "ready"
        borrowed = _Borrowed(ready.data["url"], answer)
        with self._lock:
            self._borrowed[app] = borrowed
        watcher = asyncio.create_task(self._watch(borrowed, events))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch(self, borrowed: _Borrowed, events: AsyncIterator[Event]) -> None:
        """Any event after the first, and the end, say that the service is going away."""
        with suppress(aiohttp.ClientError, OSError):
            await anext(events, None)
        with self._lock:
            borrowed.ending = True
            unused = borrowed.users == 0
        if unused:
            borrowed.close()

    def _leave(self, app: str, borrowed: _Borrowed) -> None:
        with self._lock:
            borrowed.users -= 1
            unused, ending = borrowed.users == 0, borrowed.ending
        if unused and not self._loop.is_closed():
            delay = 0 if ending else LINGER_SECONDS
            self._loop.call_soon_threadsafe(
                self._loop.call_later, delay, self._close_unused, app, borrowed
            )

    def _close_unused(self, app: str, borrowed: _Borrowed) -> None:
        with self._lock:
            if borrowed.users:
                return
            borrowed.ending = True
            if self._borrowed.get(app) is borrowed:
                del self._borrowed[app]
        borrowed.close()


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """The events of an answer as they come."""
    parser = EventParser()
    async for piece in answer.content.iter_any():
        for event in parser.feed(piece):
            yield event
