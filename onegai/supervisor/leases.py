"""What a request to a service holds so that it is not stopped under it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType


class Lease:
    """One hold on a ready service. ``url`` is valid until it is released. A context manager."""

    def __init__(self, gate: Gate, url: str) -> None:
        self._gate = gate
        self.url = url
        self.ending = gate.closed
        """Set when the service is about to stop, or is gone."""
        self._held = True

    def release(self) -> None:
        """Give it back; doing so twice is harmless. From any thread."""
        if self._held:
            self._held = False
            self._gate._leave()

    def again(self) -> Lease | None:
        """Another one beside it, even when nobody else gets in; None: the service is gone."""
        return self._gate.enter_again() if self._held else None

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Gate:
    """Counts the leases of one life of a service. From any thread, without the event loop.

    A life begins with a new gate, so a lease that outlives a crash or a forced stop cannot be
    mistaken for one of the next life. The owner task closes it before stopping; once closed, the
    count only falls. Paused, it lets nobody in for a while. A lock makes "shut" and "nobody
    inside" one decision.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        self._url = url
        self._open = True
        self._over = False
        self.closed = asyncio.Event()
        """Set once no more leases are given; who holds one for long should give it back."""
        self.used = False
        """A call has had a lease."""
        self._inside = 0
        self._left = time.monotonic()
        self._empty: Callable[[], object] | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def inside(self) -> int:
        """How many leases are out."""
        return self._inside

    @property
    def shut(self) -> bool:
        """Nobody gets in right now."""
        return not self._open

    @property
    def last_used(self) -> float:
        """``time.monotonic`` when the last lease was given back; now, while one is out."""
        return time.monotonic() if self._inside else self._left

    def try_enter(self, *, paused: bool = False, use: bool = True) -> Lease | None:
        """A lease, or None while the gate is shut; with ``paused`` only once it is closed.

        ``use``: it is for a call, and not just to see that the service is there.
        """
        with self._lock:
            if not self._open and (not paused or self.closed.is_set()):
                return None
            self._inside += 1
            self.used = self.used or use
            return Lease(self, self._url)

    def enter_again(self) -> Lease | None:
        """A lease for somebody who is inside, however shut it is. None once it is over."""
        with self._lock:
            if self._over or not self._inside:
                return None
            self._inside += 1
            return Lease(self, self._url)

    def close(self) -> None:
        """Let no more leases in, for good."""
        with self._lock:
            self._open = False
        self.closed.set()

    def end(self) -> None:
        """The life is over; leases that are still out are worth nothing."""
        self.close()
        with self._lock:
            self._over = True

    def close_if_idle(self) -> bool:
        """Close it if nobody is inside; says whether it did."""
        if not self.pause_if_idle():
            return False
        self.closed.set()
        return True

    def pause(self, empty: Callable[[], object]) -> None:
        """Let nobody in until ``resume``; ``empty`` is called on the loop once nobody is inside."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._open = False
            self._empty = lambda: loop.call_soon_threadsafe(empty)

    def pause_if_idle(self) -> bool:
        """Let nobody in until ``resume``, if nobody is inside; says whether it did."""
        with self._lock:
            if self._inside:
                return False
            self._open = False
            self._empty = None
            return True

    def resume(self) -> None:
        """Let leases in again, unless it is closed."""
        with self._lock:
            self._open = not self.closed.is_set()
            self._empty = None

    async def drained(self) -> None:
        """Wait until nobody is inside. The gate must be closed."""
        with self._lock:
            if self._inside == 0:
                return
            loop = asyncio.get_running_loop()
            self._drained = drained = loop.create_future()
        try:
            await drained
        finally:
            with self._lock:
                self._drained = None

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            self._left = time.monotonic()
            if self._empty is not None:
                self._empty()
            if self._drained is not None:
                drained = self._drained
                drained.get_loop().call_soon_threadsafe(
                    lambda: None if drained.done() else drained.set_result(None)
                )
