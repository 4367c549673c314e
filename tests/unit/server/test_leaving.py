"""Work for a client that may leave meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from onegai.server import leaving
from onegai.server.leaving import Clients


class Client:
    """Its request; ``leave`` it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """Somebody waits for what it says."""
        self.given_up = asyncio.Event()
        """Nobody waits any more."""
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        self.asked.set()
        try:
            await self._left.wait()
        finally:
            self.given_up.set()
        return {"type": "http.disconnect"}


class Work:
    """Lasts until ``go``; ``ended`` says how it did."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = ""

    async def run(self) -> bytes:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # cleaning up takes a moment
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return b"done"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "WATCH_SECONDS", 0.001)


async def test_work_for_a_client_that_stays() -> None:
    client, work = Client(), Work()
    answering = asyncio.create_task(Clients().unless_left(client.receive, work.run()))
    await asyncio.wait_for(client.asked.wait(), 10)
    work.go.set()
    assert await answering == b"done"
    await asyncio.wait_for(client.given_up.wait(), 10)


async def test_quick_work_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "WATCH_SECONDS", 60)
    client, work = Client(), Work()
    work.go.set()
    assert (await Clients().unless_left(client.receive, work.run())) == b"done"
    assert not client.asked.is_set()


async def test_a_client_that_leaves() -> None:
    """The work has ended before there is an answer, and the task goes on as if nothing was."""
    client, work = Client(), Work()

    async def answering() -> tuple[str, int]:
        with pytest.raises(ClientDisconnect):
            await Clients().unless_left(client.receive, work.run())
        ended = work.ended
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0.01)
        return ended, task.cancelling()

    task = asyncio.create_task(answering())
    await asyncio.wait_for(client.asked.wait(), 10)
    client.leave()
    await asyncio.wait({task}, timeout=60)
    assert task.done()
    assert task.result() == ("cancelled", 0)


@pytest.mark.parametrize("left", [False, True])
async def test_the_end_of_the_server(left: bool) -> None:
    client, work = Client(), Work()
    task = asyncio.create_task(Clients().unless_left(client.receive, work.run()))
    await asyncio.wait_for(client.asked.wait(), 10)
    if left:
        client.leave()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 10)
    assert work.ended == "cancelled"


@pytest.mark.parametrize("error", [ValueError("wrong"), asyncio.CancelledError()])
async def test_errors_of_the_work(error: BaseException) -> None:
    async def fails() -> Any:
        raise error

    with pytest.raises(type(error)):
        await Clients().unless_left(Client().receive, fails())


async def test_each_of_many_clients_is_watched_and_one_timer_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    timers = 0
    call_later = loop.call_later

    def counted(*args: Any) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_later(*args)

    monkeypatch.setattr(leaving, "WATCH_SECONDS", 0.05)
    clients = Clients()
    many = [(Client(), Work()) for _ in range(20)]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "call_later", counted)
        tasks = [
            asyncio.create_task(clients.unless_left(client.receive, work.run()))
            for client, work in many
        ]
        await asyncio.sleep(0)
    assert timers == 1
    for client, _work in many:
        await asyncio.wait_for(client.asked.wait(), 10)
        client.leave()
    await asyncio.wait(tasks, timeout=60)
    assert [type(task.exception()) for task in tasks] == [ClientDisconnect] * 20
    assert [work.ended for _client, work in many] == ["cancelled"] * 20
    # The next one has a timer of its own.
    client, work = Client(), Work()
    task = asyncio.create_task(clients.unless_left(client.receive, work.run()))
    await asyncio.wait_for(client.asked.wait(), 10)
    work.go.set()
    assert await task == b"done"
