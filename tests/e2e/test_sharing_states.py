"""The table at the top of supervisor/service.py: asking for a ready service, from each state."""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from harness import HANDLE_FUNC, fake
from test_sharing import RELEASE, SLEEPS, Stage

from onegai.apps.folder import AppFolder
from onegai.errors import Installing, NotInstalled, OneGAIError
from onegai.schema import State
from onegai.supervisor import service


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def with_script(stage: Stage) -> None:
    stage.app("a", 0)
    script = stage.home.install_script("a")
    script.parent.mkdir()
    script.write_text("exit 1\n")


@asynccontextmanager
async def absent(stage: Stage) -> AsyncIterator[None]:
    with_script(stage)
    async with stage.open():
        yield


@asynccontextmanager
async def installing(stage: Stage) -> AsyncIterator[None]:
    with_script(stage)
    lock = AppFolder(stage.home.apps, "a").lock
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with stage.open():
            yield


@asynccontextmanager
async def stopped(stage: Stage) -> AsyncIterator[None]:
    stage.app("a", 0)
    async with stage.open():
        yield


@asynccontextmanager
async def failed(stage: Stage) -> AsyncIterator[None]:
    stage.app("a", 0)
    async with stage.open():
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", stage.apps["a"]["port"]))
            stranger.listen()
            with pytest.raises(OneGAIError):
                await stage.call("a")
        yield


@asynccontextmanager
async def queued(stage: Stage) -> AsyncIterator[None]:
    stage.app("a", 8)
    stage.app("chat", 7)
    stage.func("chat", SLEEPS)
    async with stage.open():
        busy = asyncio.create_task(stage.call("chat", s=0.5))
        await stage.until("chat", lambda status: status.leases == 1)
        first = asyncio.create_task(stage.call("a"))
        await stage.until("a", lambda status: status.state is State.QUEUED)
        yield
        await asyncio.gather(busy, first)


@asynccontextmanager
async def starting(stage: Stage) -> AsyncIterator[None]:
    stage.apps["a"] = fake("slow", "--delay", "0.5")
    stage.func("a", HANDLE_FUNC.format(app="a"))
    async with stage.open():
        first = asyncio.create_task(stage.call("a"))
        await stage.until("a", lambda status: status.pid)
        yield
        await first


@asynccontextmanager
async def ready(stage: Stage) -> AsyncIterator[None]:
    stage.app("a", 0)
    async with stage.open():
        await stage.call("a")
        yield


@asynccontextmanager
async def parked(stage: Stage) -> AsyncIterator[None]:
    stage.app("a", 8, release=RELEASE)
    stage.app("chat", 7)
    async with stage.open():
        await stage.call("a")
        await stage.call("chat")
        yield


@asynccontextmanager
async def stopping(stage: Stage) -> AsyncIterator[None]:
    stage.apps["a"] = fake("ready", "--ignore-term", stop_timeout=0.5)
    stage.func("a", HANDLE_FUNC.format(app="a"))
    async with stage.open():
        await stage.call("a")
        stop = asyncio.create_task(stage.engine.stop("a"))
        await stage.until("a", lambda status: status.state is State.STOPPING)
        yield
        await stop


Prepare = Callable[[Stage], AbstractAsyncContextManager[None]]
REFUSED: dict[Prepare, type[OneGAIError]] = {absent: NotInstalled, installing: Installing}
STARTED: tuple[Prepare, ...] = (stopped, failed, stopping)
JOINED: tuple[Prepare, ...] = (queued, starting, ready, parked)


def named(states: list[Prepare]) -> list[object]:
    return [pytest.param(prepare, id=prepare.__name__) for prepare in states]


def test_every_row_of_the_table_has_its_test() -> None:
    rows = re.findall(r"^    ([a-z]+)  +\S", service.__doc__ or "", re.MULTILINE)
    tested = [prepare.__name__ for prepare in (*REFUSED, *STARTED, *JOINED)]
    assert sorted(rows) == sorted([*tested, "state"])


@pytest.mark.parametrize("prepare", named([*REFUSED]))
async def test_refused(stage: Stage, prepare: Prepare) -> None:
    async with prepare(stage):
        assert (await stage.status("a")).state == prepare.__name__
        with pytest.raises(REFUSED[prepare]):
            await stage.engine.start("a")


@pytest.mark.parametrize("prepare", named([*STARTED, *JOINED]))
async def test_ready_in_the_end(stage: Stage, prepare: Prepare) -> None:
    async with prepare(stage):
        before = await stage.status("a")
        assert before.state == prepare.__name__
        assert await stage.call("a")
        after = await stage.status("a")
        assert after.state is State.READY
        if prepare in STARTED:
            assert after.pid not in (None, before.pid)
        elif before.pid is not None:
            assert after.pid == before.pid
