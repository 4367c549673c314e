"""Waiting that can be cut short."""

from __future__ import annotations

import asyncio

import pytest

from onegai.supervisor.interrupts import Interrupted, unless


async def test_work_that_is_done_first_wins() -> None:
    async def work() -> str:
        return "done"

    event = asyncio.Event()
    assert await unless(event, work()) == "done"
    event.set()
    done = asyncio.ensure_future(work())
    await done
    assert await unless(event, done) == "done"


async def test_event_cancels_the_work_and_waits_for_its_end() -> None:
    event, ended = asyncio.Event(), []

    async def work() -> None:
        try:
            event.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    with pytest.raises(Interrupted):
        await unless(event, work())
    assert ended == [True]


async def test_failure_of_the_work_comes_through() -> None:
    async def work() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await unless(asyncio.Event(), work())


async def test_cancelling_the_waiter_cancels_the_work() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    waiter = asyncio.ensure_future(unless(asyncio.Event(), work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert cancelled.is_set()
