"""What goes wrong around a start, a release or an edit ends, and leaves the others alone."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import HANDLE_FUNC, PASSWORD, Server, fake, until
from test_sharing import RELEASE, Stage, UseProbe

from onegai.errors import OneGAIError
from onegai.memory.probe import Memory
from onegai.schema import State
from onegai.supervisor.admission import _Ticket
from onegai.supervisor.callers import Caller


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_a_start_that_fails_in_an_unexpected_way_is_that_apps_failure(stage: Stage) -> None:
    stage.app("voice", 2)
    stage.app("chat", 7)
    async with stage.open(), asyncio.timeout(60):
        await stage.call("voice")
        stage.home.app_log("chat").mkdir(parents=True)
        with pytest.raises(OneGAIError):
            await stage.call("chat")
        stage.home.app_log("chat").rmdir()
        await stage.call("voice")
        await stage.call("chat")


async def test_what_is_parked_and_kept_some_memory_is_started_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegai.memory.readings.RETURN_SECONDS", 0.3)
    stage.app("image", 11.5, "--keeps", "1000", release=RELEASE)
    stage.app("voice", 1)
    async with stage.open(), asyncio.timeout(60):
        await stage.call("image")
        await stage.call("voice")
        assert (await stage.status("image")).state is State.PARKED
        await stage.call("image")
        assert await stage.states() == {"image": State.READY, "voice": State.STOPPED}


UNLOAD_HANGS = """
import asyncio
from onegai.sdk import async_service

me = async_service("image")


async def main(args: dict) -> int:
    return (await me.post("/echo")).status_code


async def unload(args: dict) -> None:
    await asyncio.sleep(3600)
"""


async def test_an_unload_that_hangs_is_followed_by_a_stop(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegai.supervisor.hooks.RELEASE_SECONDS", 0.5)
    stage.app("image", 8, stop_timeout=0.5)
    stage.app("chat", 7)
    stage.func("image", UNLOAD_HANGS)
    async with stage.open(), asyncio.timeout(60):
        await stage.call("image")
        await stage.call("chat")
        assert await stage.states() == {"image": State.STOPPED, "chat": State.READY}
        assert (await stage.status("image")).reason == ""


async def test_a_restart_of_an_app_that_is_removed_meanwhile_ends(stage: Stage) -> None:
    stage.app("chat", 0)
    stage.func(
        "chat",
        "from onegai.sdk import service\nme = service('chat')\n"
        "def main(args: dict) -> dict:\n"
        "    return me.post('/sleep', params={'s': 1}).json()\n",
    )
    async with stage.open(), asyncio.timeout(60):
        busy = asyncio.create_task(stage.call("chat"))
        await stage.until("chat", lambda status: status.leases == 1)
        restart = asyncio.create_task(stage.engine.start("chat", restart=True))
        await stage.until("chat", lambda status: status.state is State.STOPPING)
        stage.home.services.write_text("{}")
        await stage.engine.current.refresh()
        with pytest.raises(OneGAIError):
            await restart
        await busy


async def test_a_request_learns_how_its_life_ended_though_the_next_has_begun(stage: Stage) -> None:
    stage.app("chat", 0)
    async with stage.open(), asyncio.timeout(60):
        await stage.engine.start("chat")
        pid = (await stage.status("chat")).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await stage.until("chat", lambda now: now.pid is None)
        await stage.engine.start("chat", wait=False)
        await stage.until("chat", lambda now: now.state in UP)
        error = await stage.engine.services.why_lost("chat", "connection reset")
        assert (error.code, "SIGKILL" in error.message) == ("died", True)


async def test_a_call_that_comes_as_a_restart_is_refused_gets_its_room(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.app("chat", 7, autostart=1)
    stage.app("image", 8, autostart=1)
    refused: list[str] = []
    fail = _Ticket.fail

    def fail_and_call(ticket: _Ticket, error: OneGAIError) -> None:
        fail(ticket, error)
        if error.code == "restart_without_room":
            refused.append(ticket.tenant.spec.app)
            ticket.tenant.callers.want(Caller())

    monkeypatch.setattr(_Ticket, "fail", fail_and_call)
    async with stage.open(), asyncio.timeout(60):
        while not refused:
            await asyncio.sleep(0.01)
        await stage.until(refused[0], lambda now: now.state is State.READY)
        assert len(refused) == 1


UP = {State.STARTING, State.READY}


async def test_a_start_without_waiting_does_not_hide_that_it_starts(stage: Stage) -> None:
    stage.app("chat", 0)
    async with stage.open(), asyncio.timeout(60):
        for _ in range(20):
            await stage.engine.start("chat", wait=False)
            states: list[State] = []
            while State.READY not in states:
                states.append((await stage.status("chat")).state)
            begun = next(place for place, state in enumerate(states) if state in UP)
            assert set(states[begun:]) <= UP
            await stage.engine.stop("chat", force=True)


@contextmanager
def asked(server: Server, head: str, body: str = "") -> Iterator[None]:
    """Send a request, and leave at the end of the block without having read the answer."""
    token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
    lines = [
        f"{head} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Basic {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall("\r\n".join(lines).encode())
        yield


def test_a_client_that_leaves_before_its_hold_is_there_holds_nothing(
    make_server: Callable[..., Server],
) -> None:
    server = make_server({"slow": fake("slow", "--delay", "2")})
    server.start()
    server.post("/service/start", {"app": "slow", "wait": False})
    with asked(server, "POST /service/slow/hold"):
        until(lambda: server.service("slow")["waiting"] == 2)
    until(lambda: server.service("slow")["waiting"] == 1)
    until(lambda: server.service("slow")["state"] == "ready")
    until(lambda: server.service("slow")["leases"] == 0)


def test_a_client_that_leaves_ends_its_call(make_server: Callable[..., Server]) -> None:
    server = make_server({"slow": fake("slow", "--delay", "60")})
    server.write("func/slow.py", HANDLE_FUNC.format(app="slow"))
    server.start()
    with asked(server, "POST /api/slow/main", "{}"):
        until(lambda: server.service("slow")["waiting"] == 1)
    until(lambda: server.service("slow")["state"] == "stopped")


class SlowProbe(UseProbe):
    """Takes a while to say what it has measured, as nvidia-smi does."""

    def read(self, declared: Mapping[int, int] = {}) -> Memory:
        memory = super().read(declared)
        time.sleep(0.3)
        return memory


async def test_a_reading_from_before_an_app_has_gone_is_no_reason_to_refuse(stage: Stage) -> None:
    stage.probe = SlowProbe(stage.use)
    stage.app("voice", 5, keep=1)
    stage.app("chat", 5)
    stage.app("image", 6)
    async with stage.running():
        await stage.call("voice")
        await stage.call("chat")
        await stage.call("image")
        assert (await stage.states())["voice"] is State.READY


async def test_a_reading_from_before_an_app_has_gone_evicts_no_other(stage: Stage) -> None:
    stage.probe = SlowProbe(stage.use)
    for app in ("chat", "voice"):
        stage.app(app, 5)
    stage.app("image", 6)
    async with stage.running():
        await stage.call("chat")
        await stage.call("voice")
        await stage.call("image")
        assert (await stage.states())["voice"] is State.READY
