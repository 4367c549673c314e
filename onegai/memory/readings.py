"""Readings of the machine's memory: shared by those who want one, and none too old for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from contextlib import suppress

from onegai.memory.probe import Memory, Probe, vram_of

RETURN_SECONDS = 10.0
"""How long freed memory may take to come back (drivers, and WSL2 above all, are slow)."""
RETURN_POLL_SECONDS = 0.02


class Readings:
    """Those of one machine. Belongs to the event loop's thread."""

    def __init__(
        self,
        probe: Probe,
        declared: Callable[[], Mapping[int, int]] = dict,
        observe: Callable[[float, Memory], None] = lambda _begun, _memory: None,
        thread: Executor | None = None,
    ) -> None:
        """``declared``: see ``Probe.read``, which reads in ``thread``.

        ``observe`` is told of every reading: when it began (``time.monotonic``), and what.
        """
        self.tells = False
        """The last reading said which process has how much."""
        self._probe = probe
        self._declared = declared
        self._observe = observe
        self._thread = thread
        self._reading = asyncio.Lock()
        self._last: tuple[float, Memory | None] = (0.0, None)
        """When the last reading began, ``time.monotonic``, and what it gave."""
        self._freed = float("-inf")
        """When memory was last said to be free again, ``time.monotonic``."""

    async def now(self) -> Memory:
        """A reading that has begun after this call, off the event loop.

        Those who wait for the same one share it: where nvidia-smi has to be asked, one takes long.
        """
        asked = time.monotonic()
        async with self._reading:
            begun, memory = self._last
            if memory is None or begun < asked:
                begun, loop = time.monotonic(), asyncio.get_running_loop()
                memory = await loop.run_in_executor(
                    self._thread, self._probe.read, self._declared()
                )
                self._last = begun, memory
                self.tells = any(gpu.by_pid is not None for gpu in memory.gpus or ())
                self._observe(begun, memory)
            return memory

    async def settled(self) -> Memory:
        """A reading during which nobody has given memory back: what it says is not old already.

        Where somebody does all the time, the fifth one will do.
        """
        for _ in range(5):
            begun = time.monotonic()
            memory = await self.now()
            if self._freed < begun:
                break
        return memory

    def freed(self) -> None:
        """Memory has been freed just now; the driver may be slow to say so."""
        self._freed = time.monotonic()

    @property
    def may_grow(self) -> bool:
        """What was freed last may not have come back yet."""
        return time.monotonic() - self._freed < RETURN_SECONDS

    async def returned(self, pids: Collection[int]) -> None:
        """Return once the driver has taken back the VRAM of these ended processes, or in 10 s.

        At once where the driver does not say whose memory is whose; whoever waits for memory then
        waits for enough of it.
        """
        deadline = time.monotonic() + RETURN_SECONDS
        while pids and self.tells and time.monotonic() < deadline:
            with suppress(OSError):
                if not vram_of(pids, (await self.now()).gpus or ()):
                    return
            await asyncio.sleep(RETURN_POLL_SECONDS)
