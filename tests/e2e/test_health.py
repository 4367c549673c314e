"""A service that is ready and answers no more: it is told, and nothing else happens to it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_sharing import RELEASE, SLEEPS, Stage

from onegai.config.entry import AppSpec
from onegai.schema import State
from onegai.supervisor import readiness


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Health is looked at a thousand times as often."""
    for name, seconds in {
        "LOOK_SECONDS": 0.02,
        "IDLE_SECONDS": 0.05,
        "AGAIN_SECONDS": 0.02,
        "ANSWER_SECONDS": 0.3,
    }.items():
        monkeypatch.setattr(f"onegai.supervisor.health.{name}", seconds)
    return Stage(tmp_path)


@pytest.mark.parametrize("used", [True, False])
async def test_one_that_answers_no_more_is_told_until_it_answers_again(
    stage: Stage, used: bool
) -> None:
    stage.app("chat", 0)
    stage.func("chat", SLEEPS)
    async with stage.open():
        await stage.call("chat", s=0)
        pid = (await stage.status("chat")).pid
        assert pid is not None
        call = asyncio.create_task(stage.call("chat", s=0.5 if used else 0))
        if used:
            await stage.until("chat", lambda now: now.leases == 1)
        else:
            await call
        os.kill(pid, signal.SIGSTOP)
        try:
            status = await stage.until("chat", lambda now: now.unresponsive)
            assert (status.state, status.leases) == (State.READY, 1 if used else 0)
            assert any("has not answered GET /" in problem for problem in status.problems)
        finally:
            os.kill(pid, signal.SIGCONT)
        status = await stage.until("chat", lambda now: not now.unresponsive)
        assert (status.pid, status.problems) == (pid, [])
        await call


async def test_looks_are_no_use_of_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    answers = readiness.answers

    async def look(spec: AppSpec, *rest: Any) -> bool:
        looked.append(spec.app)
        return await answers(spec, *rest)

    monkeypatch.setattr(readiness, "answers", look)
    stage.app("chat", 0, idle_timeout=0.5)
    stage.app("image", 8, release=RELEASE)
    stage.app("voice", 7)
    async with stage.open():
        await stage.call("chat")
        await stage.until("chat", lambda now: now.state is State.STOPPED)
        assert looked.count("chat") > 2
        # What is parked stays so.
        await stage.call("image")
        await stage.call("voice")
        parked = await stage.status("image")
        assert parked.state is State.PARKED
        looked.clear()
        await stage.until("voice", lambda _now: len(looked) > 5)
        assert set(looked) == {"voice"}
        assert (await stage.status("image")).since == parked.since
