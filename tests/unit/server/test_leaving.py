"""Work for a client that may leave meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from onegai.server import leaving
from onegai.server.leaving import unless_left


class Client:
    """Its request; ``leave`` it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """Somebody waits for what it says."""
        self.given_up = asyncio.Event()
        """Nobody waits any more."""
        self._left = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    def leave(self) -> None:
        self._left.set()

    async def _receive(self) -> Message:
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

    async def run(self) -> Response:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # cleaning up takes a moment
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return Response(b"done")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "WATCH_SECONDS", 0.001)


async def test_work_for_a_client_that_stays() -> None:
    client, work = Client(), Work()
    answering = asyncio.create_task(unless_left(client.request, work.run()))
    await asyncio.wait_for(client.asked.wait(), 10)
    work.go.set()
    assert (await answering).body == b"done"
    await asyncio.wait_for(client.given_up.wait(), 10)


async def test_quick_work_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "WATCH_SECONDS", 60)
    client, work = Client(), Work()
    work.go.set()
    assert (await unless_left(client.request, work.run())).body == b"done"
    assert not client.asked.is_set()


async def test_a_client_that_leaves() -> None:
    """The work has ended before there is an answer, and the task goes on as if nothing was."""
    client, work = Client(), Work()

    async def answering() -> tuple[int, str, int]:
        answer = await unless_left(client.request, work.run())
        ended = work.ended
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0.01)
        return answer.status_code, ended, task.cancelling()

    task = asyncio.create_task(answering())
    await asyncio.wait_for(client.asked.wait(), 10)
    client.leave()
    await asyncio.wait({task}, timeout=10)
    assert task.done()
    assert task.result() == (499, "cancelled", 0)


@pytest.mark.parametrize("left", [False, True])
async def test_the_end_of_the_server(left: bool) -> None:
    client, work = Client(), Work()
    task = asyncio.create_task(unless_left(client.request, work.run()))
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
        await unless_left(Client().request, fails())
