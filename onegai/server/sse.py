"""Server-sent events (HTML Standard, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from onegai.functions.results import json_bytes

HEARTBEAT_SECONDS = 15.0


def event(name: str, data: Any, event_id: int | None = None) -> bytes:
    """One event; JSON has no raw line breaks, so one ``data`` line is enough."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {name}\ndata: ".encode() + json_bytes(data) + b"\n\n"


def event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """A stream that proxies neither buffer nor cut for silence."""
    return StreamingResponse(
        _with_heartbeats(events),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _with_heartbeats(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A comment whenever nothing came for a while, which also finds clients that left."""
    following = asyncio.ensure_future(anext(events))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=HEARTBEAT_SECONDS)
            if not done:
                yield b": alive\n\n"
                continue
            try:
                yield following.result()
            except StopAsyncIteration:
                return
            following = asyncio.ensure_future(anext(events))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
