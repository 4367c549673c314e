"""Why a service stopped, as its status tells it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness import FAKES, HANDLE_FUNC, fake, free_port, until
from test_sharing import RELEASE, Stage

from onegai.errors import Unreachable
from onegai.schema import LastStop, ServiceStatus, State, StopReason


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def at_rest(status: ServiceStatus) -> LastStop | None:
    return status.last_stop if status.pid is None else None


async def last_stop(stage: Stage, app: str) -> LastStop:
    found = (await stage.until(app, at_rest)).last_stop
    assert found is not None
    return found


async def test_it_made_room_by_a_stop_or_in_place(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8, release=RELEASE)
    async with stage.open():
        await stage.call("chat")
        assert (await stage.status("chat")).last_stop is None
        await stage.call("image")
        why = await last_stop(stage, "chat")
        assert (why.reason, why.app, why.parked) == (StopReason.MADE_ROOM, "image", False)
        assert why.text == "made room for image"
        await stage.call("chat")
        parked = (await stage.status("image")).last_stop
        assert parked is not None
        assert (parked.reason, parked.app, parked.parked) == (StopReason.MADE_ROOM, "chat", True)
        # What was told stays, whatever it is now.
        assert (await stage.status("chat")).last_stop == why


async def test_it_was_idle(stage: Stage) -> None:
    stage.app("chat", 0, idle_timeout=0.1)
    async with stage.open():
        await stage.call("chat")
        why = await last_stop(stage, "chat")
        assert (why.reason, why.text) == (StopReason.IDLE, "idle for 0.1 s")


async def test_it_crashed(stage: Stage) -> None:
    stage.app("chat", 0)
    async with stage.open():
        await stage.call("chat")
        pid = (await stage.status("chat")).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        why = await last_stop(stage, "chat")
        assert (why.reason, why.text) == (StopReason.CRASHED, "crashed: killed by SIGKILL")
        status = await stage.until("chat", lambda now: now.state is State.FAILED)
        # Nobody used it.
        assert status.reason == "chat has ended (killed by SIGKILL)"


async def test_it_was_stopped(stage: Stage) -> None:
    stage.app("chat", 0)
    async with stage.open():
        await stage.call("chat")
        (status,) = await stage.engine.stop("chat")
        assert status.last_stop is not None
        assert (status.last_stop.reason, status.last_stop.text) == (
            StopReason.STOPPED,
            "stopped by you",
        )


async def test_it_was_uninstalled(stage: Stage) -> None:
    stage.app("chat", 0)
    (stage.home.root / "install").mkdir()
    (stage.home.root / "install" / "chat.sh").touch()
    (stage.home.apps / "chat" / "venv").mkdir(parents=True)
    async with stage.open():
        await stage.call("chat")
        await stage.engine.uninstall("chat", wait=True)
        assert (await last_stop(stage, "chat")).reason is StopReason.CHANGED


async def test_nobody_waited_for_its_start_any_more(stage: Stage) -> None:
    stage.apps["slow"] = fake("slow", "--delay", "30")
    stage.func("slow", HANDLE_FUNC.format(app="slow"))
    async with stage.open():
        call = asyncio.create_task(stage.call("slow"))
        await stage.until("slow", lambda now: now.pid is not None)
        call.cancel()
        await stage.until("slow", lambda now: now.state is State.STOPPED)
        assert (await last_stop(stage, "slow")).reason is StopReason.ABANDONED


async def test_a_service_elsewhere_that_is_gone_is_not_ready(stage: Stage, tmp_path: Path) -> None:
    def begin() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(FAKES / "ready.py"), "--port", str(port)]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)

    port = free_port()
    stage.apps["cloud"] = {"type": "webapi", "url": f"http://127.0.0.1:{port}"}
    stage.func("cloud", HANDLE_FUNC.format(app="cloud"))
    elsewhere = begin()
    try:
        async with stage.open():
            await asyncio.to_thread(until, lambda: connects(port))
            await stage.call("cloud")
            elsewhere.kill()
            elsewhere.wait()
            with pytest.raises(Unreachable):
                await stage.call("cloud")
            failed = await stage.until("cloud", lambda now: now.state is State.FAILED)
            assert "does not answer" in failed.reason
            assert failed.last_stop is not None
            assert failed.last_stop.reason is StopReason.FAILED
            # The next use tries again.
            with pytest.raises(Unreachable):
                await stage.call("cloud")
            elsewhere = begin()
            await asyncio.to_thread(until, lambda: connects(port))
            await stage.call("cloud")
            assert (await stage.status("cloud")).state is State.READY
    finally:
        elsewhere.kill()
        elsewhere.wait()


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


ASYNC_FUNC = """
from onegai.sdk import async_service

me = async_service("cloud")


async def main(args: dict) -> int:
    return (await me.post("/echo")).status_code
"""


@pytest.mark.parametrize(
    "func", [HANDLE_FUNC.format(app="cloud"), ASYNC_FUNC], ids=["sync", "async"]
)
async def test_a_machine_that_takes_no_connection_is_unreachable(
    stage: Stage, func: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegai.handles.connections.CONNECT_SECONDS", 0.3)
    monkeypatch.setattr("onegai.handles.handle.CONNECT_SECONDS", 0.3)
    # Its queue takes one connection, and this is it: whoever comes next gets no answer at all.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        stage.apps["cloud"] = {"type": "webapi", "url": f"http://127.0.0.1:{port}"}
        stage.func("cloud", func)

        async def there(*_: object) -> None:
            """It was when the app was first used."""

        monkeypatch.setattr("onegai.supervisor.readiness.check_remote", there)
        with socket.create_connection(("127.0.0.1", port)):
            async with stage.open():
                with pytest.raises(Unreachable):
                    await stage.call("cloud")
