"""What apps really took counts in their next runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from onegai.errors import NeverReady, NotEnoughMemory
from onegai.schema import State
from tests.e2e.test_sharing import SLEEPS, Stage

GB = 1024


@pytest.fixture(params=[True, False], ids=["driver tells", "driver does not tell"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    stage.probe.tells = request.param
    return stage


async def run_once(stage: Stage, app: str) -> None:
    """Start, a look, a call, a look (the status looks at the memory), stop."""
    await stage.engine.start(app)
    await stage.status(app)
    await stage.call(app)
    await stage.status(app)
    await stage.engine.stop(app)


async def test_a_lazy_loader_that_declares_too_little(stage: Stage) -> None:
    stage.app("lazy", 2, "--mib", "512", "--grow", str(6 * GB))
    stage.app("image", 8)
    async with stage.open():
        await stage.engine.start("lazy")
        # Ready at 0.5 GB, declared with 2: for all that is known, both fit.
        assert (await stage.engine.plan("image")).action == "start"
        await stage.engine.stop("lazy")
        # A run without a call says little.
        assert (await stage.status("lazy")).vram_learnt is None
        await run_once(stage, "lazy")
        status = await stage.status("lazy")
        assert status.vram_learnt == 6 * GB
        assert "took 6.0 GB of VRAM, and it declares 2" in status.problems[0]
    async with stage.open():
        await stage.status("lazy")
        await stage.engine.start("lazy")
        plan = await stage.engine.plan("image")
        assert (plan.action, plan.stop) == ("evict", ["lazy"])
        await stage.call("image")
        assert (await stage.states())["lazy"] is State.STOPPED
        plan = await stage.engine.plan("lazy")
        assert (plan.action, plan.need) == ("evict", 6 * GB)
        assert "its recent runs took 6.0 GB of VRAM, it declares 2" in plan.text


async def test_only_what_is_declared_makes_a_refusal(stage: Stage) -> None:
    stage.app("lazy", 4, "--mib", str(4 * GB), "--grow", str(10 * GB))
    async with stage.open():
        await run_once(stage, "lazy")
        assert (await stage.status("lazy")).vram_learnt == 10 * GB
        stage.probe.others = 7 * GB
        await stage.engine.start("lazy")
        await stage.engine.stop("lazy")
        stage.probe.others = 9 * GB
        with pytest.raises(NotEnoughMemory) as refused:
            await stage.engine.start("lazy")
        assert refused.value.extra["need"] == 4 * GB


async def test_one_that_evicts_nobody_is_not_kept_out_by_what_was_learnt(stage: Stage) -> None:
    stage.app("lazy", 4, "--mib", "512", "--grow", str(10 * GB))
    async with stage.open():
        await run_once(stage, "lazy")
    stage.apps["lazy"]["autostart"] = 1
    stage.app("image", 6, autostart=1)
    async with stage.open():
        settled = (State.READY, State.FAILED)
        for app in stage.apps:
            status = await stage.until(app, lambda status: status.state in settled)
            assert (status.state, status.reason) == (State.READY, "")


async def test_one_that_declares_nothing_is_never_checked(stage: Stage) -> None:
    stage.app("sly", 0, "--mib", str(3 * GB))
    stage.app("image", 9)
    async with stage.open():
        for _ in range(2):
            await run_once(stage, "sly")
        status = await stage.status("sly")
        assert status.vram_learnt == 3 * GB
        assert "took 3.0 GB of VRAM, and it declares none" in status.problems[0]
        await stage.call("image")
        await stage.call("sly")
        assert set((await stage.states()).values()) == {State.READY}


async def test_another_command_line_is_another_app(stage: Stage) -> None:
    stage.app("chat", 2, "--mib", str(5 * GB))
    async with stage.open():
        await run_once(stage, "chat")
        assert (await stage.status("chat")).vram_learnt == 5 * GB
    stage.app("chat", 2, "--mib", str(1 * GB))
    async with stage.open():
        assert (await stage.status("chat")).vram_learnt is None
        await run_once(stage, "chat")
        assert (await stage.status("chat")).vram_learnt == 1 * GB


async def test_a_run_that_did_not_get_ready_teaches_nothing(stage: Stage) -> None:
    never = {"ready": {"log": "never said"}, "start_timeout": 0.5}
    stage.app("chat", 2, "--mib", str(5 * GB), **never)
    async with stage.open():
        with pytest.raises(NeverReady):
            await stage.engine.start("chat")
        assert (await stage.status("chat")).vram_learnt is None
    assert not stage.home.profiles.exists()


async def test_the_file_is_for_people_to_read(stage: Stage) -> None:
    stage.app("chat", 2, "--mib", str(5 * GB))
    async with stage.open():
        await run_once(stage, "chat")
    (run,) = json.loads(stage.home.profiles.read_text())["chat"]["card"]["runs"]
    assert (run["ready"], run["peak"]) == (5 * GB, 5 * GB)


async def test_nobody_waits_in_vain_for_a_guess(stage: Stage) -> None:
    """By what they declare both fit, by what they took they do not; and the calls of one last."""
    stage.app("lazy", 4, "--mib", str(3 * GB), "--grow", str(8 * GB))
    stage.app("image", 6, "--mib", str(4 * GB), queue_timeout=2)
    async with stage.open():
        await run_once(stage, "lazy")
        stage.func("lazy", SLEEPS.replace("chat", "lazy"))
        await stage.engine.functions_of("lazy")  # the edit counts from now on
        busy = asyncio.create_task(stage.call("lazy", s=6))
        await stage.until("lazy", lambda status: status.leases == 1)
        assert (await stage.engine.plan("image")).wait_for == ["lazy"]
        await stage.call("image")
        assert not busy.done()
        busy.cancel()
