"""What those are told who wait for a service: for whom it waits, and when its start begins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from harness import PASSWORD, Server, fake
from test_sharing import RELEASE, Stage

from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.schema import State
from onegai.sdk.borrowed import BorrowedServices
from onegai.supervisor.supervisor import Supervisor


class NoHooks:
    async def load(self, spec: AppSpec, url: str) -> None: ...

    async def unload(self, spec: AppSpec, url: str) -> None: ...

    def can_unload(self, app: str) -> bool:
        return False


class Heard(list[tuple[str, dict[str, Any]]]):
    """What one caller was told, in order."""

    def __call__(self, event: str, data: dict[str, Any]) -> None:
        self.append((event, data))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@asynccontextmanager
async def supervisor_of(stage: Stage) -> AsyncIterator[Supervisor]:
    stage.home.services.write_text(json.dumps(stage.apps))
    current = Current(stage.home, Settings(password="x"))
    async with Supervisor(current, stage.probe, NoHooks()) as supervisor:
        yield supervisor


def evicting(*apps: str) -> tuple[str, dict[str, Any]]:
    return "evicting", {"apps": list(apps)}


def starting(app: str) -> tuple[str, dict[str, Any]]:
    return "starting", {"app": app}


async def test_who_waits_hears_whom_it_moves_and_that_it_starts(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    async with supervisor_of(stage) as supervisor:
        first, again, other, back = Heard(), Heard(), Heard(), Heard()
        (await supervisor.lease("chat", tell=first)).release()
        assert first == [starting("chat")]
        (await supervisor.lease("chat", tell=again)).release()
        assert again == []
        (await supervisor.lease("image", tell=other)).release()
        assert other == [evicting("chat"), starting("image")]
        (await supervisor.lease("chat", tell=back)).release()
        assert back == [evicting("image"), starting("chat")]


async def test_a_busy_one_is_named_once_however_long_it_is_waited_for(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    async with supervisor_of(stage) as supervisor:
        heard, told = Heard(), asyncio.Event()

        def tell(event: str, data: dict[str, Any]) -> None:
            heard(event, data)
            told.set()

        held = await supervisor.lease("chat")
        waiting = asyncio.ensure_future(supervisor.lease("image", tell=tell))
        async with asyncio.timeout(60):
            await told.wait()
        assert heard == [evicting("chat")]
        joined = Heard()
        too = asyncio.ensure_future(supervisor.lease("image", tell=joined))
        for _ in range(3):
            await supervisor.plan("image")
        held.release()
        for lease in await asyncio.gather(waiting, too):
            lease.release()
        assert heard == joined == [evicting("chat"), starting("image")]


async def test_who_joins_a_start_hears_that_it_starts(stage: Stage) -> None:
    stage.app("chat", 7)
    async with supervisor_of(stage) as supervisor:
        waiting = asyncio.ensure_future(supervisor.lease("chat"))
        service = supervisor["chat"]
        async with asyncio.timeout(60):
            while service.state is not State.STARTING:
                await asyncio.sleep(0)
        heard = Heard()
        (await supervisor.lease("chat", tell=heard)).release()
        (await waiting).release()
        assert heard == [starting("chat")]


async def test_one_that_has_released_its_memory_starts_again(stage: Stage) -> None:
    stage.app("chat", 7, release=RELEASE)
    stage.app("image", 8)
    async with supervisor_of(stage) as supervisor:
        for app in ("chat", "image"):
            (await supervisor.lease(app)).release()
        assert supervisor["chat"].state is State.PARKED
        heard = Heard()
        (await supervisor.lease("chat", tell=heard)).release()
        assert heard == [evicting("image"), starting("chat")]


async def test_who_borrows_from_a_server_hears_that_it_waits(
    make_server: Callable[..., Server],
) -> None:
    server = make_server({"ready": fake("ready")})
    server.start()
    async with aiohttp.ClientSession() as session:
        current = Current(Home(server.home), Settings(password=PASSWORD))
        loop = asyncio.get_running_loop()
        services = BorrowedServices(loop, session, server.url, current)
        first, again = Heard(), Heard()
        try:
            use = await services.lease("ready", tell=first)
            (await services.lease("ready", tell=again)).release()
            use.release()
        finally:
            await services.close()
        assert (first, again) == ([starting("ready")], [])
