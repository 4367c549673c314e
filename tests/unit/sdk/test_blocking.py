"""The facade over the Protocol for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import CancelledError
from typing import Any, cast

import pytest

from onegai.client.client import Client
from onegai.errors import SdkMisuse, UnknownJob
from onegai.protocol import Engine
from onegai.sdk.blocking import Blocking, run_on

METHODS = [name for name in vars(Engine) if not name.startswith("_")]
INTERRUPTED_SECONDS = 10


class Working:
    """Some methods of an Engine; notes which of its work has ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.begun = threading.Event()

    async def logs(self, app: str, tail: int = 200) -> str:
        await asyncio.sleep(0)
        return f"{app} {tail} {threading.current_thread().name}"

    async def job(self, job_id: str) -> Any:
        raise UnknownJob(job=job_id)

    async def log_follow(self, app: str, tail: int = 200) -> AsyncGenerator[str, None]:
        try:
            for number in range(tail):
                await asyncio.sleep(0)
                yield f"{app} {number}"
            if app == "interrupt":
                await self._interrupted()
            if app == "unknown":
                raise UnknownJob(job=app)
        finally:
            await asyncio.sleep(0)
            self.ended.append(app)

    def events(self, job_id: str, *, after: int = 0) -> AsyncGenerator[Any, None]:
        del after
        raise UnknownJob(job=job_id)

    async def status(self) -> Any:
        try:
            await self._interrupted()
        finally:
            await asyncio.sleep(0.05)
            self.ended.append("status")

    async def _interrupted(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(INTERRUPTED_SECONDS)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the loop")
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def working() -> Working:
    return Working()


@pytest.fixture
def onegai(working: Working, loop: asyncio.AbstractEventLoop) -> Blocking:
    return Blocking(cast("Engine", working), loop)


@pytest.mark.parametrize("kind", [Blocking, Client])
def test_has_the_methods_of_the_protocol(kind: type) -> None:
    for name in METHODS:
        wanted, found = (inspect.signature(getattr(one, name)) for one in (Engine, kind))
        assert str(found).partition("->")[0] == str(wanted).partition("->")[0], name
        assert not inspect.iscoroutinefunction(getattr(kind, name))


def test_gives_what_the_work_gives(onegai: Blocking) -> None:
    assert onegai.logs("a", tail=3) == "a 3 the loop"
    with pytest.raises(UnknownJob):
        onegai.job("x")


def test_iterates(onegai: Blocking, working: Working) -> None:
    assert list(onegai.log_follow("a", 3)) == ["a 0", "a 1", "a 2"]
    assert working.ended == ["a"]
    lines = onegai.log_follow("unknown", 1)
    assert next(lines) == "unknown 0"
    with pytest.raises(UnknownJob):
        next(lines)
    with pytest.raises(UnknownJob):
        next(onegai.events("raised at the call"))


def test_closing_an_iterator_lets_go(onegai: Blocking, working: Working) -> None:
    lines = onegai.log_follow("a", 3)
    next(lines)
    assert working.ended == []
    lines.close()
    assert working.ended == ["a"]


def test_ctrl_c_cancels_and_waits_for_the_end(onegai: Blocking, working: Working) -> None:
    with pytest.raises(KeyboardInterrupt):
        onegai.status()
    assert working.ended == ["status"]
    lines = onegai.log_follow("interrupt", 1)
    next(lines)
    with pytest.raises(KeyboardInterrupt):
        next(lines)
    assert working.ended == ["status", "interrupt"]


def test_work_that_is_cancelled_by_others(loop: asyncio.AbstractEventLoop) -> None:
    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(CancelledError):
        run_on(loop, cancelled())


async def test_on_the_loop_itself(working: Working) -> None:
    onegai = Blocking(cast("Engine", working), asyncio.get_running_loop())
    with pytest.raises(SdkMisuse):
        onegai.logs("a")


def test_an_interrupt_does_not_wait_for_a_loop_that_has_ended() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def stops_the_loop_when_cancelled() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(3600)
        finally:
            loop.stop()
            await asyncio.sleep(3600)

    with pytest.raises(KeyboardInterrupt):
        run_on(loop, stops_the_loop_when_cancelled())
    thread.join(INTERRUPTED_SECONDS)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()


def test_a_loop_that_ends_cancels_what_is_waited_for() -> None:
    loop = asyncio.new_event_loop()
    begun = threading.Event()

    def run_for_a_while() -> None:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        assert len(left) == 1  # the one that is waited for
        begun.wait()
        loop.close()

    async def never() -> None:
        loop.stop()
        await asyncio.Event().wait()

    thread = threading.Thread(target=run_for_a_while)
    thread.start()
    waiting = never()
    with pytest.raises(CancelledError):
        run_on(loop, waiting)
    begun.set()
    thread.join(INTERRUPTED_SECONDS)


def test_a_loop_that_has_ended_does_no_work() -> None:
    loop = asyncio.new_event_loop()
    loop.close()

    async def work() -> None:
        raise AssertionError

    with pytest.raises(CancelledError):
        run_on(loop, work())


@pytest.mark.timeout(30)
def test_work_that_a_loop_does_not_begin_before_its_end() -> None:
    loop = asyncio.new_event_loop()
    threading.Timer(0.2, loop.close).start()

    async def work() -> None:
        raise AssertionError

    with pytest.raises(CancelledError):
        run_on(loop, work())
