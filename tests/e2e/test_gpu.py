"""Start, eviction, stop and learning on a real NVIDIA GPU, with a program that takes its memory."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from harness import HANDLE_FUNC, fake

from onegai.memory.probe import Gpu, MachineProbe
from onegai.schema import State
from tests.e2e.test_sharing import Stage

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU"),
]

TAKES = 2048
NOISE = 300
"""MiB that other programs may take or free meanwhile."""


def card() -> Gpu:
    gpus = MachineProbe().read({}).gpus
    assert gpus
    return gpus[0]


class RealStage(Stage):
    """Two apps that say they need 60 % of the card each, and take 2 GB."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.probe = MachineProbe()
        self.vram = round(card().total * 0.6 / 1024, 1)

    def real(self, name: str, *options: str) -> None:
        self.apps[name] = fake("cuda", "--mib", str(TAKES), *options, vram=self.vram)
        self.apps[name]["env"] = {"CUDA_VISIBLE_DEVICES": "0"}
        self.func(name, HANDLE_FUNC.format(app=name))


@pytest.fixture
def stage(tmp_path: Path) -> RealStage:
    return RealStage(tmp_path)


def timed(what: str, begun: float) -> None:
    print(f"{what}: {1000 * (time.monotonic() - begun):.0f} ms")


async def test_start_eviction_and_stop(stage: RealStage) -> None:
    stage.real("chat")
    stage.real("image")
    before = card().free
    async with stage.running():
        begun = time.monotonic()
        await stage.call("chat")
        timed("first call, app started", begun)
        assert before - card().free >= TAKES - NOISE
        assert (await stage.engine.plan("image")).stop == ["chat"]
        begun = time.monotonic()
        await stage.call("image")
        timed("call of the other one, the first evicted", begun)
        assert await stage.states() == {"chat": State.STOPPED, "image": State.READY}
        assert before - card().free < 2 * TAKES
        begun = time.monotonic()
        await stage.engine.stop("image")
        timed("stop, memory back", begun)
        assert before - card().free < NOISE


async def test_what_it_took_is_learnt(stage: RealStage) -> None:
    stage.real("lazy", "--grow", "3072")
    async with stage.running():
        await stage.engine.start("lazy")
        ready = await stage.status("lazy")
        await stage.call("lazy")
        used = await stage.status("lazy")
        await stage.engine.stop("lazy")
        learnt = (await stage.status("lazy")).vram_learnt
        print(f"ready with {ready.vram_used} MiB, then {used.vram_used}; learnt {learnt}")
        assert learnt is not None
        assert TAKES + 3072 - NOISE <= learnt <= TAKES + 3072 + 3 * NOISE + 500
