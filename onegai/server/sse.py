"""Server-sent events (HTML Standard, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

from fastapi import Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from onegai.files.pieces import PIECE
from onegai.functions.results import json_bytes
from onegai.schema import Event
from onegai.server.envelope import send_part
from onegai.server.leaving import Clients

HEARTBEAT_SECONDS = 15.0
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
"""Proxies neither keep nor buffer it."""


def event(name: str, data: Any, event_id: int | None = None) -> bytes:
    """One event; JSON has no raw line breaks, so one ``data`` line is enough."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return b"".join((f"{head}event: {name}\ndata: ".encode(), _json(data), b"\n\n"))


async def encoded(events: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
    """Each with its id; in a thread, if that takes a while."""
    async for one in events:
        if _has_large(one.data):
            yield await asyncio.to_thread(event, one.event, one.data, one.id)
        else:
            yield event(one.event, one.data, one.id)


def _json(data: Any) -> bytes:
    """As ``json_bytes``, whose pieces large texts inside of it are, too."""
    if isinstance(data, dict) and _has_large(data):
        items = (json_bytes(key) + b":" + _json(value) for key, value in data.items())
        return b"".join((b"{", b",".join(items), b"}"))
    return json_bytes(data)


def _has_large(data: Any) -> bool:
    """Is there a large text in it, as a file has that is base64?"""
    if isinstance(data, str):
        return len(data) > PIECE
    return isinstance(data, dict) and any(map(_has_large, data.values()))


async def send_events(send: Send, events: AsyncGenerator[bytes, None]) -> None:
    """Send them, and close them.

    A comment goes out whenever nothing came for a while: proxies do not cut it for silence.
    """
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    heart = _Heart(send)
    beating = asyncio.create_task(heart.beat())
    try:
        async with aclosing(events):
            async for one in events:
                await heart.send(one)
    finally:
        beating.cancel()
        await asyncio.wait([beating])
    await send({"type": "http.response.body", "body": b""})


class _Heart:
    """Beats when nothing else has been sent for a while, and never inside of an event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._one_at_a_time = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._quiet_since = self._loop.time()

    async def send(self, part: bytes) -> None:
        """Send one event, which may take long."""
        async with self._one_at_a_time:
            await send_part(self._send, part)
            self._quiet_since = self._loop.time()

    async def beat(self) -> None:
        while True:
            left = self._quiet_since + HEARTBEAT_SECONDS - self._loop.time()
            if left > 0:
                await asyncio.sleep(left)
            else:
                await self.send(b": alive\n\n")


class EventStream(Response):
    """These events as an answer, until its client leaves."""

    def __init__(self, clients: Clients, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._clients = clients
        self._events = events

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        with suppress(ClientDisconnect):
            await self._clients.unless_left(receive, send_events(send, self._events))
