"""How far a call is, as its function tells: from any thread, and as often as it likes."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import from_json, to_json

from onegai.events import Tell, tell_nobody

log = logging.getLogger(__name__)

LONGEST = 4096
"""Characters of a text; what is longer is cut."""


class Progress:
    """One call's. The loop is told of the newest, and asked once for all that came meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Tell) -> None:
        self._loop = loop
        self._tell = tell
        self._lock = threading.Lock()
        self._newest: dict[str, Any] | None = None
        """What the loop is to tell; None: it was not asked."""

    def tell(self, fraction: float | None, text: str, more: Mapping[str, Any]) -> None:
        """See ``context.progress``. From any thread."""
        if self._tell is tell_nobody:
            return
        data = _as_data(fraction, text, more)
        with self._lock:
            asked = self._newest is not None
            self._newest = data
        if not asked:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._told)

    def _told(self) -> None:
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is not None:
            self._tell("progress", newest)


def _as_data(fraction: Any, text: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON; what has no JSON, or is no number, is left out and logged."""
    data: dict[str, Any] = {}
    try:
        if more:
            encoded = to_json(more, bytes_mode="base64", inf_nan_mode="null", fallback=str)
            data = from_json(encoded)
        if text:
            data["text"] = str(text)[:LONGEST]
        if fraction is not None and not math.isnan(number := float(fraction)):
            data["fraction"] = min(max(number, 0.0), 1.0)
    except Exception as error:  # noqa: BLE001 - whatever the user's objects raise
        log.warning("progress: %s", error)
    return data
