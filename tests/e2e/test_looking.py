"""What a status and an admission look at: once for all services, and never behind others' work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import fake
from test_sharing import Stage

from onegai.apps.disk import DiskUsage
from onegai.config.home import Home
from onegai.memory.probe import Memory
from onegai.memory.readings import Readings
from onegai.process import tree
from onegai.schema import JobState, State
from onegai.threads import in_writer


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@contextmanager
def busy_threads() -> Iterator[None]:
    """The event loop has one common thread, which does something that takes long."""
    over, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as common:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(common)
        common.submit(lambda: (begun.set(), over.wait(60)))
        assert begun.wait(60)
        try:
            yield
        finally:
            over.set()
            loop.set_default_executor(ThreadPoolExecutor())


async def test_a_status_looks_once_for_all_services_and_off_the_loop(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for app in ("chat", "voice", "ears"):
        stage.app(app, 1)
    async with stage.open():
        for app in stage.apps:
            await stage.call(app)
        looks: list[int] = []
        look = tree._processes

        def seen() -> list[Any]:
            looks.append(threading.get_ident())
            return look()

        # The sampler and the services' own housekeeping look now and then, too.
        monkeypatch.setattr("onegai.memory.sampler.Sampler._look_for_processes", idle)
        monkeypatch.setattr("onegai.supervisor.run.Run._look_after", lambda *_: None)
        monkeypatch.setattr(tree, "_processes", seen)
        services = (await stage.engine.status()).services
        assert all(one.rss for one in services)
        assert len(looks) == 1
        assert threading.get_ident() not in looks


async def test_a_status_of_what_is_at_rest_is_made_once_and_looks_at_no_process(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.app("chat", 1)
    stage.app("voice", 1)
    (stage.home.root / "install").mkdir()
    async with stage.open():
        await stage.call("chat")
        await stage.engine.stop("chat")
        with monkeypatch.context() as patched:
            patched.setattr(tree, "_processes", lambda: pytest.fail("a look at the processes"))
            first = await stage.engine.status()
            again = await stage.engine.status()
        pairs = list(zip(first.services, again.services, strict=True))
        assert [one is other for one, other in pairs] == [True, True]
        (stage.home.root / "install" / "voice.sh").touch()
        await stage.engine.start("chat")
        assert await stage.states() == {"chat": State.READY, "voice": State.ABSENT}


async def idle(_sampler: object) -> None:
    """Nothing to look for."""


async def test_what_takes_long_takes_no_common_thread(stage: Stage) -> None:
    """Removals have threads of their own, files that come in have theirs, and one walks."""
    stage.app("chat", 0)
    (stage.home.root / "install").mkdir()
    for name in ("one", "two"):
        stage.apps[name] = fake("ready")
        (stage.home.root / "install" / f"{name}.sh").touch()
        (stage.home.apps / name / "venv").mkdir(parents=True)
    async with stage.open():
        with busy_threads():
            async with asyncio.timeout(60):
                for name in ("one", "two"):
                    job = await stage.engine.uninstall(name, wait=True)
                    assert job.state is JobState.DONE
                assert await in_writer(lambda number: number + 1, 1) == 2


async def test_two_who_ask_for_all_apps_share_their_walks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[str] = []

    def walk(_home: Home, app: str) -> DiskUsage:
        walks.append(app)
        return DiskUsage(1, 0)

    monkeypatch.setattr("onegai.engine.apps.disk_usage", walk)
    stage.app("chat", 0)
    async with stage.open():
        await asyncio.gather(stage.engine.apps(), stage.engine.apps())
        assert walks == ["chat"]


async def test_who_waits_for_the_same_reading_shares_it() -> None:
    readings = 0

    class Slow:
        def read(self, _declared: object) -> Memory:
            nonlocal readings
            readings += 1
            time.sleep(0.05)
            return Memory((), readings, 0)

    shared = Readings(Slow())
    found = await asyncio.gather(*(shared.now() for _ in range(20)))
    # The first one had begun before the others asked.
    assert [memory.ram_total for memory in found] == [1] + [2] * 19


async def test_status_and_plan_wait_for_no_other_work(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    async with stage.open():
        await stage.call("chat")
        with busy_threads():
            async with asyncio.timeout(60):
                status = await stage.status("chat")
                assert status.rss
                assert (await stage.engine.plan("image")).stop == ["chat"]
                # Admission goes on, too: chat makes way.
                await stage.engine.start("image", wait=False)
                await stage.until("chat", lambda now: now.pid is None)
