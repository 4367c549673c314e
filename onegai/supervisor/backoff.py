"""When to start a crashed service again. No clock of its own."""

from __future__ import annotations

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
