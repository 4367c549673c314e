"""Requests that come at the very moment when their service stops because it was idle."""

from __future__ import annotations

import asyncio
import gc
import random
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from harness import FAKES, alive, fake, free_port
from test_sharing import RELEASE, Stage

from onegai.schema import State
from onegai.supervisor.leases import Gate

ROUNDS = 1000
APPS = 8
IDLE = 0.05
"""Seconds of idle_timeout."""
STEP = 0.001
"""Seconds by which the next one comes later after one that won, earlier after one that lost."""

ASYNC = """
from onegai.sdk import async_service

me = async_service("{app}")


async def main(args: dict) -> list:
    answer = await me.post("/")
    return [answer.status_code, int(answer.text)]
"""
PLAIN = """
import time

from harness import alive

from onegai.sdk import service

me = service("{app}")


def main(args: dict) -> list:
    answer = me.post("/")
    return [answer.status_code, int(answer.text)]


def again(args: dict) -> list:
    first = main(args)
    time.sleep(args["wait"])
    return [first, alive(first[1]), main(args)]
"""


class Race:
    """Requests to one service, each of which comes about when its idle_timeout is over.

    What the clocks, the machine and the request's own way add up to is found by trying: of those
    without delay half win, so all are as near to the edge as can be.
    """

    def __init__(self, stage: Stage, app: str, seed: int) -> None:
        self._stage = stage
        self._app = app
        self._random = random.Random(seed)
        self._edge = IDLE
        self.pids: list[int] = []
        """All that answered, in order."""
        self.found: Counter[str] = Counter()
        """Per round, what the request came upon, as far as that shows in the processes."""

    async def run(self, rounds: int, *, in_thread: bool) -> None:
        """``in_thread``: each second request of a plain function races, in that function's thread.

        Else new calls do, on the event loop.
        """
        self._answered(await self._call("main"))
        for _ in range(rounds):
            # Some come while it stops, or just after that.
            delay = self._random.uniform(0, 0.06) if self._random.random() < 0.25 else 0.0
            wait = self._edge + delay + self._random.uniform(-0.004, 0.004)
            if in_thread:
                first, lived, second = await self._call("again", wait=wait)
                self._answered(first)
                last, pid = first[1], self._answered(second)
            else:
                await asyncio.sleep(wait)
                last, lived = self.pids[-1], alive(self.pids[-1])
                pid = self._answered(await self._call("main"))
            won = pid == last
            assert lived or not won
            self.found["ready" if won else "stopping" if lived else "stopped"] += 1
            if not delay:
                self._edge += STEP if won else -STEP

    async def _call(self, function: str, **arguments: float) -> Any:
        async with asyncio.timeout(60):
            return await self._stage.call(self._app, function, **arguments)

    def _answered(self, answer: list[int]) -> int:
        status, pid = answer
        assert status == 200
        self.pids.append(pid)
        return pid


@pytest.mark.timeout(300)
async def test_idle_stops_race_calls(stage: Stage) -> None:
    ports: set[int] = set()
    while len(ports) < APPS:
        ports.add(free_port())
    races = []
    for number, port in enumerate(sorted(ports)):
        app = f"app{number}"
        program = [sys.executable, "-S", "-E", "-I", str(FAKES / "quick.py"), "{port}"]
        lingers = "0.01" if number % 4 < 2 else "0"
        stage.apps[app] = fake(
            "quick",
            port=port,
            exec=shlex.join([*program, lingers]),
            ready={"tcp": True},
            idle_timeout=IDLE,
        )
        stage.func(app, (PLAIN if number % 2 else ASYNC).format(app=app))
        races.append(Race(stage, app, seed=number))
    async with stage.open():
        async with asyncio.TaskGroup() as group:
            for number, race in enumerate(races):
                group.create_task(race.run(ROUNDS // APPS, in_thread=number % 2 == 1))
        for number in range(APPS):
            rests = await stage.until(f"app{number}", lambda one: one.state is State.STOPPED)
            assert (rests.leases, rests.waiting, rests.calls) == (0, 0, 0)
        gc.collect()
        assert [gate for gate in gc.get_objects() if isinstance(gate, Gate) and gate.inside] == []
    found = sum((race.found for race in races), Counter[str]())
    print(dict(found))
    assert found.total() == ROUNDS
    assert min(found["ready"], found["stopping"] + found["stopped"]) >= ROUNDS // 4, found
    assert min(found["stopping"], found["stopped"]) >= ROUNDS // 20, found
    for number, race in enumerate(races):
        # Each process that was started has answered, none after its successor, and all are gone.
        started = stage.home.app_log(f"app{number}").read_text().split()
        assert list(dict.fromkeys(race.pids)) == [int(pid) for pid in started]
        assert not any(alive(pid) for pid in race.pids)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_idle_and_asked_to_release_in_the_same_turn_of_the_loop(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops, and its next call starts it again; a release would leave it shut for good."""
    stage.app("image", 8, release=RELEASE, idle_timeout=0.2)
    close = Gate.close_if_idle

    def close_and_release(gate: Gate) -> bool:
        closed = close(gate)
        if closed:
            tenancy = stage.engine._supervisor["image"].tenancy
            tenancy.make_way("chat", release=True)
            # So that no second idle_timeout can save it.
            tenancy.edit(tenancy.spec.model_copy(update={"idle_timeout": 0}))
        return closed

    async with stage.open(), asyncio.timeout(60):
        await stage.call("image")
        with monkeypatch.context() as patched:
            patched.setattr(Gate, "close_if_idle", close_and_release)
            await stage.until("image", lambda now: now.last_stop is not None)
        await stage.until("image", lambda now: now.pid is None)
        await stage.call("image")
        assert (await stage.status("image")).state is State.READY
