"""Everything at once, in a random order with a fixed seed, on real processes."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from test_sharing import RELEASE, Stage

from onegai.errors import OneGAIError
from onegai.schema import ServiceStatus, State
from onegai.supervisor.leases import Gate

pytestmark = pytest.mark.alone

APPS = {"chat": 7.0, "voice": 2.0, "image": 8.0, "ears": 5.0, "tiny": 0.0}

FUNC = """
import time

from onegai.sdk import async_service, service

me, me_async = service("{app}"), async_service("{app}")
others = {{name: service(name) for name in {apps}}}
others_async = {{name: async_service(name) for name in {apps}}}


def main(args: dict) -> int:
    return me.post("/echo").status_code


def slow(args: dict) -> int:
    return me.post("/sleep", params={{"s": args["s"]}}).status_code


def die(args: dict) -> int:
    return me.post("/die").status_code


def between(args: dict) -> list:
    return [handle.post("/echo").status_code for handle in (me, others[args["other"]], me)]


def inside(args: dict) -> list:
    with me.lease():
        me.post("/echo")
        time.sleep(args["s"])
        return [others[args["other"]].post("/echo").status_code, me.post("/echo").status_code]


async def inside_async(args: dict) -> list:
    async with me_async.lease():
        await me_async.post("/echo")
        answer = await others_async[args["other"]].post("/echo")
        return [answer.status_code, (await me_async.post("/echo")).status_code]


def by_url(args: dict) -> int:
    assert me.url
    return others[args["other"]].post("/echo").status_code
"""


class Storm:
    """Does random things to a stage, and counts how they end."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._random = random.Random(seed)
        self.ends: dict[str, int] = {}

    async def client(self, until: float) -> None:
        """One thing after the other until the loop's clock says so; each must end."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            name, deed = self._deed()
            try:
                async with asyncio.timeout(40):
                    await deed
                end = "done"
            except OneGAIError as error:
                end = error.code
            except asyncio.CancelledError:
                end = "cancelled"
            except TimeoutError:
                raise AssertionError(f"{name} does not end: {await self._stage.states()}") from None
            self.ends[end] = self.ends.get(end, 0) + 1

    def _deed(self) -> tuple[str, Awaitable[object]]:
        pick = self._random
        app, other = pick.sample(list(APPS), 2)
        engine = self._stage.engine
        match pick.choices(
            ["call", "leave", "start", "stop", "force", "die"], (60, 20, 5, 6, 3, 4)
        )[0]:
            case "call":
                return self._call(app, other)
            case "leave":
                return f"leave {app}", self._leave(app, other, pick.expovariate(4))
            case "start":
                return f"start {app}", engine.start(app, wait=pick.random() < 0.5)
            case "stop":
                return f"stop {app}", engine.stop(pick.choice([app, "*"]))
            case "force":
                return f"force {app}", engine.stop(pick.choice([app, "*"]), force=True)
            case _:
                return f"die {app}", self._stage.call(app, "die")

    def _call(self, app: str, other: str) -> tuple[str, Awaitable[object]]:
        pick = self._random
        names = ["main", "slow", "between", "inside", "inside_async", "by_url"]
        function = pick.choices(names, (8, 3, 3, 2, 2, 1))[0]
        seconds = round(pick.expovariate(8), 3)
        return f"{app}/{function}/{other}", self._stage.call(app, function, s=seconds, other=other)

    async def _leave(self, app: str, other: str, seconds: float) -> None:
        task = asyncio.ensure_future(self._call(app, other)[1])
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        await task


def _rests(status: ServiceStatus) -> bool:
    return not (status.leases or status.waiting or status.calls or status.making_way)


@pytest.mark.parametrize(
    ("seed", "memory", "seconds"), [(1, "VRAM", 15.0), (2, "VRAM", 15.0), (3, "RAM", 6.0)]
)
@pytest.mark.timeout(300)
async def test_a_storm(
    stage: Stage, seed: int, memory: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegai.memory.readings.RETURN_SECONDS", 2.0)
    for app, gb in APPS.items():
        idle = 1.0 if app == "ears" else 0.0
        keys: dict[str, Any] = {"concurrency": 2, "queue": 4, "queue_timeout": 15}
        options = ("--linger", "0.1") if app == "chat" else ()
        if app == "image":
            keys["release"], options = RELEASE, ("--keeps", "300")
        if memory == "RAM":
            stage.probe.of_ram = True
            keys |= {"vram": 0, "ram": gb}
        stage.app(app, gb, *options, idle_timeout=idle, **keys)
        stage.func(app, FUNC.format(app=app, apps=list(APPS)))
    storm = Storm(stage, seed)
    async with stage.open():
        before = {task.get_name() for task in asyncio.all_tasks()}
        until = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(storm.client(until))
        async with asyncio.timeout(60):
            # Nobody calls any more, so nothing is left in use, waiting, or closed to new calls …
            for app in APPS:
                await stage.until(app, _rests)
            for app in APPS:
                await stage.call(app)
            await stage.engine.stop("*")
        assert set((await stage.states()).values()) == {State.STOPPED}
        gc.collect()
        open_gates = [gate for gate in gc.get_objects() if isinstance(gate, Gate) and gate.inside]
        assert open_gates == []
        names = {task.get_name() for task in asyncio.all_tasks()} - before
        assert names == set(), names
    assert storm.ends["done"] > 20
    assert not storm.ends.keys() & {"internal_error", "no_room_in_time", "call_timeout"}, storm.ends


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)
