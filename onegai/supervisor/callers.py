"""Who waits for a service to be ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from onegai.errors import OneGAIError
from onegai.events import Tell
from onegai.supervisor.leases import Gate, Lease


@dataclass(eq=False)
class Caller:
    """One that waits. ``holding``: the services that it holds meanwhile."""

    holding: frozenset[str] = frozenset()
    may_evict: bool = True
    """Others make way for it; not for a restart after a crash, or an autostart."""
    use: bool = True
    """It will use the service; else it only wants it to be there."""
    tell: Tell | None = None
    """Hears ``evicting`` and ``starting`` while it waits."""
    since: float = field(default_factory=time.monotonic)
    lease: asyncio.Future[Lease] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _told: tuple[str, dict[str, Any]] | None = None

    def hear(self, event: str, data: dict[str, Any]) -> None:
        """Tell it, unless that is what it has heard last."""
        if self.tell is not None and self._told != (event, data):
            self._told = event, data
            self.tell(event, data)


class Callers:
    """All that wait for one service, in the order of their arrival. Belongs to the loop."""

    def __init__(self) -> None:
        self._waiting: list[Caller] = []
        self.present = asyncio.Event()
        """Set while anybody waits."""
        self.gone = asyncio.Event()
        """Set while nobody waits."""
        self.gone.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Caller]:
        return iter(self._waiting)

    async def wait(self, caller: Caller) -> Lease:
        """The lease that it gets once the service is ready. Raises why it gets none."""
        self._join(caller)
        try:
            return await caller.lease
        except asyncio.CancelledError:
            if (
                caller.lease.done()
                and not caller.lease.cancelled()
                and not caller.lease.exception()
            ):
                caller.lease.result().release()
            raise
        finally:
            self._leave([caller])

    def want(self, caller: Caller) -> None:
        """Let somebody wait who wants no lease, and to whom a failure is no news."""

        def settled(lease: asyncio.Future[Lease]) -> None:
            if not lease.cancelled() and lease.exception() is None:
                lease.result().release()

        caller.lease.add_done_callback(settled)
        self._join(caller)

    def tell(self, event: str, **data: Any) -> None:
        """Let all of them hear it."""
        for caller in self._waiting:
            caller.hear(event, data)

    def let_in(self, gate: Gate, holding: frozenset[str] | None = None) -> None:
        """Give a lease to each; with ``holding`` to those that hold any of these, past a pause."""
        for caller in list(self._waiting):
            if caller.lease.done() or (holding is not None and not caller.holding & holding):
                continue
            lease = gate.try_enter(paused=holding is not None, use=caller.use)
            if lease is None:
                return
            caller.lease.set_result(lease)
            self._leave([caller])

    def fail(self, error: OneGAIError, callers: Iterable[Caller] | None = None) -> None:
        """Send all of them away, or these."""
        sent = list(self._waiting if callers is None else callers)
        for caller in sent:
            if not caller.lease.done():
                caller.lease.set_exception(error)
        self._leave(sent)

    def _join(self, caller: Caller) -> None:
        self._waiting.append(caller)
        self.present.set()
        self.gone.clear()

    def _leave(self, callers: Iterable[Caller]) -> None:
        for caller in callers:
            if caller in self._waiting:
                self._waiting.remove(caller)
        if not self._waiting:
            self.present.clear()
            self.gone.set()
