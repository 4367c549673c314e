"""Calls that hold a service, or wait for their turn, while another app waits for its memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from harness import fake
from test_sharing import CARD, Stage

from onegai.errors import Deadlock
from onegai.schema import State

ASKS_OTHERS = """
import time
from pathlib import Path

from onegai.sdk import async_service, service

me, voice, image = service("chat"), service("voice"), service("image")
me_async, voice_async = async_service("chat"), async_service("voice")


def until(file):
    while not Path(file).exists():
        time.sleep(0.005)


def voice_inside(args: dict) -> int:
    with me.lease():
        until(args["go"])
        return voice.post("/echo").status_code


async def voice_inside_async(args: dict) -> int:
    import asyncio
    async with me_async.lease():
        while not Path(args["go"]).exists():
            await asyncio.sleep(0.005)
        return (await voice_async.post("/echo")).status_code


def itself_inside(args: dict) -> int:
    with me.lease():
        until(args["go"])
        return me.post("/echo").status_code


def itself_by_stream(args: dict) -> int:
    with me.stream("GET", "/") as pieces:
        until(args["go"])
        return me.post("/echo").status_code


def image_inside(args: dict) -> int:
    with me.lease():
        until(args["go"])
        return image.post("/echo").status_code


def image_between(args: dict) -> int:
    me.post("/echo")
    until(args["go"])
    return image.post("/echo").status_code


def main(args: dict) -> int:
    return me.post("/echo").status_code
"""

ASKS_CHAT = """
import time
from pathlib import Path

from onegai.sdk import service

me, chat = service("voice"), service("chat")


def main(args: dict) -> int:
    with me.lease():
        while not Path(args["go"]).exists():
            time.sleep(0.005)
        return chat.post("/echo").status_code
"""


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    stage.app("chat", 7)
    stage.app("voice", 2)
    stage.app("image", 8)
    stage.app("huge", 11)
    stage.func("chat", ASKS_OTHERS)
    return stage


@pytest.mark.parametrize("function", ["itself_inside", "itself_by_stream"])
async def test_who_holds_a_service_that_makes_way_may_use_it_on(
    stage: Stage, function: str, tmp_path: Path
) -> None:
    async with stage.open(), asyncio.timeout(60):
        busy = asyncio.create_task(stage.call("chat", function, go=str(tmp_path / "go")))
        await stage.until("chat", lambda status: status.leases == 1)
        image = asyncio.create_task(stage.call("image"))
        await stage.until("chat", lambda status: status.making_way)
        (tmp_path / "go").touch()
        assert await busy == 200
        await image


@pytest.mark.parametrize("function", ["voice_inside", "voice_inside_async"])
@pytest.mark.parametrize("runs", [True, False], ids=["runs", "is-stopped"])
@pytest.mark.parametrize("waits", ["image", "huge"])
async def test_what_is_waited_for_may_use_others(
    stage: Stage, function: str, runs: bool, waits: str, tmp_path: Path
) -> None:
    async with stage.open(), asyncio.timeout(60):
        if runs:
            await stage.call("voice")
        busy = asyncio.create_task(stage.call("chat", function, go=str(tmp_path / "go")))
        await stage.until("chat", lambda status: status.leases == 1)
        waiting = asyncio.create_task(stage.call(waits))
        await stage.until("chat", lambda status: status.making_way)
        (tmp_path / "go").touch()
        assert await busy == 200
        await waiting


async def test_a_stop_waits_for_a_call_that_uses_the_service_on(
    stage: Stage, tmp_path: Path
) -> None:
    async with stage.open(), asyncio.timeout(60):
        busy = asyncio.create_task(stage.call("chat", "itself_inside", go=str(tmp_path / "go")))
        await stage.until("chat", lambda status: status.leases == 1)
        stopping = asyncio.create_task(stage.engine.stop("chat"))
        await stage.until("chat", lambda status: status.state is State.STOPPING)
        (tmp_path / "go").touch()
        assert await busy == 200
        await stopping


async def test_a_stop_is_not_what_its_holder_can_wait_for(stage: Stage, tmp_path: Path) -> None:
    async with stage.open(), asyncio.timeout(60):
        busy = asyncio.create_task(stage.call("chat", "image_inside", go=str(tmp_path / "go")))
        await stage.until("chat", lambda status: status.leases == 1)
        stopping = asyncio.create_task(stage.engine.stop("chat"))
        await stage.until("chat", lambda status: status.state is State.STOPPING)
        (tmp_path / "go").touch()
        with pytest.raises(Deadlock):
            await busy
        await stopping


async def test_calls_in_the_queue_do_not_hold_what_the_first_must_get_rid_of(
    stage: Stage, tmp_path: Path
) -> None:
    stage.apps["chat"]["concurrency"] = 1
    async with stage.open(), asyncio.timeout(60):
        first = asyncio.create_task(stage.call("chat", "image_between", go=str(tmp_path / "go")))
        await stage.until("chat", lambda status: status.calls == 1)
        second = asyncio.create_task(stage.call("chat"))
        await stage.until("chat", lambda status: status.queued == 1 and status.leases == 1)
        (tmp_path / "go").touch()
        assert await first == 200
        assert await second == 200
    assert stage.probe.most <= CARD


@pytest.mark.parametrize("function", ["image_between", "main"])
async def test_a_call_that_is_given_up_waits_for_nothing_any_more(
    stage: Stage, function: str, tmp_path: Path
) -> None:
    stage.apps["image"] = fake("slow", "--delay", "60", vram=8)
    async with stage.open(), asyncio.timeout(60):
        (tmp_path / "go").touch()
        app = "chat" if function == "image_between" else "image"
        call = asyncio.create_task(stage.call(app, function, go=str(tmp_path / "go")))
        await stage.until("image", lambda status: status.pid is not None)
        call.cancel()
        await stage.until("image", lambda status: status.state is State.STOPPED)
        await stage.until("chat", lambda status: status.calls == 0)


async def test_two_that_are_stopped_while_each_waits_for_the_other(
    stage: Stage, tmp_path: Path
) -> None:
    stage.func("voice", ASKS_CHAT)
    async with stage.open(), asyncio.timeout(60):
        go = str(tmp_path / "go")
        calls = [
            asyncio.create_task(stage.call("chat", "voice_inside", go=go)),
            asyncio.create_task(stage.call("voice", "main", go=go)),
        ]
        for app in ("chat", "voice"):
            await stage.until(app, lambda status: status.leases == 1)
        stopping = asyncio.create_task(stage.engine.stop("*"))
        for app in ("chat", "voice"):
            await stage.until(app, lambda status: status.state is State.STOPPING)
        (tmp_path / "go").touch()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(str(type(result).__name__) for result in results) == ["Deadlock", "int"]
        await stopping
