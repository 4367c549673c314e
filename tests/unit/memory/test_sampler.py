"""When the sampler looks at the memory, and what does it no harm. The probe is faked."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from onegai.config.entry import AppSpec
from onegai.memory import sampler as module
from onegai.memory.policy import Need, Occupant, Phase
from onegai.memory.probe import Gpu, Memory
from onegai.memory.profiles import Profiles
from onegai.memory.sampler import Sampler
from onegai.supervisor.run import Run

SPEC = AppSpec(app="chat", type="webapi", port=8000, exec="serve {port}", vram=4)


class FakeRun:
    """Has two processes, of which one has ended since."""

    pid = 10
    seen = (10, 11)

    def pids(self, _census: object = None) -> list[int]:
        return [10]


class Stage:
    """A sampler whose machine the test sets; time passes 500 times as fast."""

    def __init__(self, folder: Path) -> None:
        self.gpus: Callable[[], tuple[Gpu, ...] | None] = self.card
        self.looks = 0
        self.occupants: dict[str, Occupant] = {}
        self.fake_run: Any = None
        self.asked_by: set[int] = set()
        self.folder = folder
        self.sampler = Sampler(Profiles(folder / "vram.json"), self._occupants, self._run_of)

    def card(self) -> tuple[Gpu, ...]:
        return (Gpu(0, "card", 12000, 12000, {}),)

    def be(self, phase: Phase, used: float = 0.0) -> None:
        self.occupants["chat"] = Occupant("chat", Need(4096), 0, phase=phase, used=used)

    def _occupants(self) -> dict[str, Occupant]:
        self.asked_by.add(threading.get_ident())
        return self.occupants

    def _run_of(self, _app: str) -> Run | None:
        self.asked_by.add(threading.get_ident())
        run: Run | None = self.fake_run
        return run

    async def read(self) -> Memory:
        begun = asyncio.get_running_loop().time()
        self.looks += 1
        memory = Memory(self.gpus(), 16000, 8000)
        self.sampler.observe(begun, memory)
        return memory

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.sampler.run(self.read))
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def run_once(self) -> None:
        """The sampler and a run of the app, from its start to its end."""
        async with self.running():
            await self.live()

    async def live(self) -> None:
        """A run of the app; the sampler must be running."""
        for phase in (Phase.STARTING, Phase.READY):
            self.be(phase)
            looks = self.looks
            self.sampler.begin("chat") if phase is Phase.STARTING else self.sampler.changed()
            await self.until(lambda looks=looks: self.looks > looks + 1)
        self.sampler.end(SPEC, used=True)

    async def until(self, wish: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not wish():
                await asyncio.sleep(0.001)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for name in ("BUSY_SECONDS", "IDLE_SECONDS", "FAILED_SECONDS"):
        monkeypatch.setattr(module, name, getattr(module, name) / 500)
    for name in ("BUSY_WORTH", "IDLE_WORTH"):
        monkeypatch.setattr(module, name, 0)
    return Stage(tmp_path)


async def test_a_probe_that_fails_ends_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> tuple[Gpu, ...]:
        stage.gpus = stage.card
        raise RuntimeError("the driver is gone")

    stage.gpus = broken
    stage.be(Phase.STARTING)
    async with stage.running():
        stage.sampler.begin("chat")
        with caplog.at_level(logging.ERROR):
            await stage.until(lambda: stage.looks > 1)
    assert "the driver is gone" in caplog.text


async def test_services_are_asked_after_on_the_event_loop_only(stage: Stage) -> None:
    stage.be(Phase.STARTING)
    async with stage.running():
        await stage.until(lambda: stage.looks > 3)
    assert stage.asked_by == {threading.get_ident()}


async def test_gpus_that_cannot_be_read_are_not_looked_at_as_if_calls_ran(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 1000)
    stage.gpus = lambda: None
    stage.be(Phase.READY)
    async with stage.running():
        await stage.until(lambda: stage.looks == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await stage.until(lambda: stage.looks > 1)


async def test_a_pid_that_is_used_again_by_another_program_is_not_its_own(stage: Stage) -> None:
    stage.gpus = lambda: (Gpu(0, "card", 12000, 5000, {10: 1000, 11: 6000}),)
    stage.fake_run = FakeRun()
    await stage.run_once()
    assert stage.sampler.learnt(SPEC) == {0: 1000}


async def test_a_gpu_that_is_gone_for_a_while_ends_nothing(stage: Stage) -> None:
    stage.gpus = tuple
    stage.be(Phase.STARTING)
    async with stage.running():
        await stage.until(lambda: stage.looks > 0)
        stage.gpus = stage.card
        # Admission looks, too.
        await stage.read()
        looks = stage.looks
        await stage.until(lambda: stage.looks > looks)


async def test_what_could_not_be_saved_is_saved_at_the_end(stage: Stage) -> None:
    path = stage.folder / "vram.json"
    path.mkdir()
    async with stage.running():
        await stage.live()
        looks = stage.looks
        await stage.until(lambda: stage.looks > looks + 1)
        path.rmdir()
    assert Profiles(path).learnt(SPEC) == {"card": 0}
