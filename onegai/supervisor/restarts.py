"""Whether and when a crashed service is started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from onegai.config.entry import AppSpec

log = logging.getLogger(__name__)

QUICK_SECONDS = 60.0
"""A service that dies sooner than this after it was ready has crashed quickly."""
MAX_QUICK = 5
LONGEST = 60.0


class Backoff:
    """Counts quick crashes in a row: 1, 2, 4, … 60 s between them, and an end after five."""

    def __init__(self) -> None:
        self._quick = 0

    def crashed(self, lived: float) -> float | None:
        """Seconds to wait before the next start after ``lived`` seconds of being ready.

        None: give up; the count begins anew.
        """
        self._quick = self._quick + 1 if lived < QUICK_SECONDS else 1
        if self._quick >= MAX_QUICK:
            self._quick = 0
            return None
        return min(2.0 ** (self._quick - 1), LONGEST)


class Restarts:
    """Those of one service. Belongs to the event loop's thread."""

    def __init__(self, restart: Callable[[], None]) -> None:
        """``restart`` is called when it is time; what the crash has left may not be gone yet."""
        self.by_hand = False
        """The user has started it, and has not stopped it since."""
        self._restart = restart
        self._backoff = Backoff()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pending(self) -> bool:
        """One is going to come."""
        return self._timer is not None

    def crashed(self, spec: AppSpec, lived: float) -> None:
        """It has, after ``lived`` seconds of being ready. Others come back at their next call."""
        lasting = self.by_hand or spec.keep or spec.autostart
        if not lasting or spec.restart != "on-failure":
            return
        delay = self._backoff.crashed(lived)
        self.by_hand = delay is not None
        if delay is None:
            log.warning("%s: given up after several quick crashes", spec.app)
            return
        log.info("%s: restarting in %g s", spec.app, delay)
        self._timer = asyncio.get_running_loop().call_later(delay, self._now)

    def forget(self) -> None:
        """Restart no more, unless it crashes again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now(self) -> None:
        self._timer = None
        self._restart()
