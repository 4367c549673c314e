"""Learns what services take of the GPUs: looks at the memory while any of them is at work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Protocol

from onegai.config.entry import AppSpec
from onegai.memory.learning import Learning, Reading
from onegai.memory.policy import Occupant, Phase
from onegai.memory.probe import Gpu, Memory, vram_of
from onegai.memory.profiles import Profiles
from onegai.process import tree

log = logging.getLogger(__name__)

BUSY_SECONDS = 1.0
"""Between two looks while a service starts or is used."""
IDLE_SECONDS = 5.0
"""Between two looks while all are idle: a call's rise is told from what was before it."""
FAILED_SECONDS = 60.0
"""Between two tries of what failed: a look, or saving."""
BUSY_WORTH, IDLE_WORTH = 20, 400
"""A pause is at least so many times as long as a look takes: nvidia-smi needs half a second."""


class Watched(Protocol):
    """What runs of a service."""

    @property
    def pid(self) -> int | None:
        """Its first process; None before there is one, and after it."""
        ...

    def pids(self, census: tree.Census) -> list[int]:
        """All of its processes, found in the census."""
        ...


class Sampler:
    """Feeds ``Learning`` and keeps what it has learnt. ``run`` must be running."""

    def __init__(
        self,
        profiles: Profiles,
        occupants: Callable[[], Mapping[str, Occupant]],
        run_of: Callable[[str], Watched | None],
        thread: Executor | None = None,
    ) -> None:
        """It looks for processes in ``thread``."""
        self._profiles = profiles
        self._occupants = occupants
        self._run_of = run_of
        self._thread = thread
        self._learning = Learning()
        self._gpus: tuple[Gpu, ...] = ()
        self._pids: dict[Watched, list[int]] = {}
        """Those that were alive at the last look; a pid may be another program's by now."""
        self._gpu_seen = asyncio.Event()
        self._changed = asyncio.Event()
        self._unsaved = False
        self._try_saving = float("-inf")
        """When saving is worth a try, ``time.monotonic``; the last one may have failed."""
        self._looked = float("-inf")
        """When the last look began, ``time.monotonic``."""

    # --- what is known (tenancy.Gpus) ------------------------------------------------------

    def learnt(self, spec: AppSpec) -> Mapping[int, int]:
        """Per GPU: VRAM that its recent runs there took, MiB."""
        if not (by_name := self._profiles.learnt(spec)):
            return {}
        return {gpu.index: by_name[gpu.name] for gpu in self._gpus if gpu.name in by_name}

    def named(self, device: str) -> int | None:
        """The index of a device of CUDA_VISIBLE_DEVICES: an index, or how its UUID begins."""
        if device.isdecimal():
            return int(device)
        if not device.startswith("GPU-"):
            return None
        found = (gpu.index for gpu in self._gpus if gpu.uuid.startswith(device))
        return next(found, None)

    # --- what it is told -------------------------------------------------------------------

    def begin(self, app: str) -> None:
        """The app is about to start."""
        self._learning.begin(app, time.monotonic())
        self._changed.set()

    def changed(self) -> None:
        """A service has become ready."""
        self._changed.set()

    def end(self, spec: AppSpec, *, used: bool) -> None:
        """The app's run is over: keep what it took, if it was ``used``.

        Many load their model at the first call, so a run without one says little.
        """
        sample = self._learning.end(spec.app)
        if sample is not None and used:
            self._profiles.add(spec, sample)
            self._unsaved = True
            self._changed.set()

    def observe(self, begun: float, memory: Memory) -> None:
        """A reading of the memory, whoever wanted it. What a fake repeats teaches nothing."""
        self._looked = begun
        if not memory.gpus:
            return
        self._gpus = memory.gpus
        self._gpu_seen.set()
        if memory.fake:
            return
        occupants = self._occupants()
        own = {}
        for app in occupants:
            run = self._run_of(app)
            if run is not None and run.pid is not None:
                pids = {run.pid, *self._pids.get(run, ())}
                own[app] = {gpu.index: vram_of(pids, [gpu]) or 0 for gpu in self._gpus}
        self._learning.observe(Reading(begun, memory, occupants, own))

    # --- its task --------------------------------------------------------------------------

    async def run(self, read: Callable[[], Awaitable[Memory]]) -> None:
        """Look when something starts or is ready, and now and then while services run.

        Ends on a machine that pretends to have GPUs; without any it waits for one. What fails here
        is logged, and nothing else fails with it.
        """
        cost = 0.0
        try:
            while True:
                try:
                    await self._something_to_see(cost)
                    if self._unsaved and time.monotonic() >= self._try_saving:
                        await self._save_in_thread()
                    begun = time.monotonic()
                    await self._look_for_processes()
                    memory = await read()
                except Exception:
                    log.exception("what apps take of the VRAM cannot be learnt now")
                    await asyncio.sleep(FAILED_SECONDS)
                    continue
                cost = time.monotonic() - begun
                if memory.fake:
                    return
                if memory.gpus == ():
                    await self._gpu_seen.wait()
        finally:
            if self._unsaved:
                self._save(self._profiles.content())

    async def _save_in_thread(self) -> None:
        """Ends only once it is saved, even if it is cancelled."""
        self._unsaved = False
        content = self._profiles.content()
        saving = asyncio.get_running_loop().run_in_executor(None, self._save, content)
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await saving
            raise

    def _save(self, content: dict[str, Any]) -> None:
        try:
            self._profiles.save(content)
        except (OSError, ValueError) as error:
            self._unsaved, self._try_saving = True, time.monotonic() + FAILED_SECONDS
            log.warning("what was learnt of the apps' VRAM cannot be kept: %s", error)

    async def _something_to_see(self, cost: float) -> None:
        """Return when it is worth a look; ``cost`` is the seconds that the last one took."""
        while not self._changed.is_set():
            occupants = self._occupants().values()
            if any(self._is_at_work(one) for one in occupants):
                await self._wait(max(BUSY_SECONDS, cost * BUSY_WORTH))
                break
            if any(one.need.vram for one in occupants):
                await self._wait(max(IDLE_SECONDS, cost * IDLE_WORTH))
                break
            await self._wait(BUSY_SECONDS if occupants else None)
        self._changed.clear()

    async def _wait(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _is_at_work(self, one: Occupant) -> bool:
        return one.phase is not Phase.READY or one.used >= self._looked

    async def _look_for_processes(self) -> None:
        """Have the runs know their processes. Some milliseconds of /proc, in a thread."""
        if any(gpu.by_pid is not None for gpu in self._gpus):
            runs = [run for app in self._occupants() if (run := self._run_of(app)) is not None]
            loop = asyncio.get_running_loop()
            self._pids = await loop.run_in_executor(self._thread, _pids_of, runs)


def _pids_of(runs: list[Watched]) -> dict[Watched, list[int]]:
    census = tree.Census()
    return {run: run.pids(census) for run in runs}
