"""How bytes come in and go out of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl


class Writer(asyncio.Transport):
    """What an answer is written with: its head goes with what comes in the same turn of the loop.

    So an answer that is there takes one system call, and wakes its client once.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self._begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write; the first time, in a moment."""
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.writelines([held, data])
        elif self._begun:
            self._transport.write(data)
        else:
            self._begun = True
            self._held = bytes(data)
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._held is not None and not self._transport.is_closing():
            self._transport.write(self._held)
        self._held = None

    def close(self) -> None:
        """Close, when all is written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Is it, or has it been, closed?"""
        return self._transport.is_closing()


class Flow(FlowControl):
    """Reading stands still while something waits unparsed, whoever wants to read more.

    Everybody does that watches for the client to leave.
    """

    def __init__(self, transport: asyncio.Transport, wanted: Callable[[], None]) -> None:
        super().__init__(transport)
        self._held = False
        self._wanted = wanted

    def hold(self) -> None:
        """Read no more for now."""
        self._held = True
        self.pause_reading()

    def go_on(self) -> None:
        """Read on."""
        self._held = False
        super().resume_reading()

    def resume_reading(self) -> None:
        """Called by who reads a body."""
        self._wanted()
        if not self._held:
            super().resume_reading()
