"""The time that calls may take: one timer for all of them, not one for each."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """Ends what takes too long, as ``asyncio.timeout`` does. Belongs to one event loop.

    Calls of one app have the same time, so a later one ends later: the timer stays as it is while
    calls come and go, and looks for the next deadline when it is due.
    """

    def __init__(self) -> None:
        self._limits: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Limit:
        """A context manager, to be entered at once by the task that it limits."""
        return Limit(self, seconds)

    def add(self, limit: Limit) -> None:
        """Have it end in time."""
        self._limits.add(limit)
        if self._timer is None or limit.when < self._timer.when():
            self._set(limit.when)

    def discard(self, limit: Limit) -> None:
        """It need not end in time any more."""
        self._limits.discard(limit)

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._due)

    def _due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for limit in [limit for limit in self._limits if limit.when <= now]:
            self._limits.discard(limit)
            limit.end()
        if self._limits:
            self._set(min(limit.when for limit in self._limits))


class Limit:
    """What one block may take. Leaving it late raises TimeoutError; ``when`` is loop time."""

    __slots__ = ("_cancelling", "_deadlines", "_over", "_task", "when")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._deadlines = deadlines
        self._task = task
        self._cancelling = task.cancelling()
        self._over = False
        self.when = task.get_loop().time() + seconds

    def end(self) -> None:
        """Cancel what runs inside."""
        self._over = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._deadlines.add(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadlines.discard(self)
        if self._over:
            mine = self._task.uncancel() <= self._cancelling
            if mine and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error
