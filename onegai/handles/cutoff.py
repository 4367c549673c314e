"""The end of what a call's threads wait for from their apps."""

from __future__ import annotations

import threading
from typing import Protocol


class Exchange(Protocol):
    """A request whose answer is not complete."""

    def cut(self) -> None:
        """Have whoever waits for more of it wait in vain, at once."""
        ...


class Cutoff:
    """The exchanges of one call. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Exchange] = set()
        self._over = False

    def add(self, exchange: Exchange) -> None:
        """It begins; to be cut at once if the call is over."""
        with self._lock:
            self._open.add(exchange)
            if self._over:
                exchange.cut()

    def discard(self, exchange: Exchange) -> None:
        """It has ended; from here on it is not cut."""
        with self._lock:
            self._open.discard(exchange)

    def now(self) -> None:
        """Cut all of them, and whichever begins later."""
        with self._lock:
            self._over = True
            for exchange in self._open:
                exchange.cut()
