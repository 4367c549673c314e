"""Readings are shared, and none is older than what was freed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from onegai.memory import readings as module
from onegai.memory.probe import Gpu, Memory
from onegai.memory.readings import Readings


class Card:
    """One card; each reading says how many there were before it, as what is free."""

    def __init__(self, by_pid: Mapping[int, int] | None = None) -> None:
        self.by_pid = by_pid
        self.reads = 0
        self.goes_on = threading.Event()
        """A reading that is begun takes until then."""
        self.goes_on.set()

    def read(self, _declared: Mapping[int, int]) -> Memory:
        free, self.reads = self.reads, self.reads + 1
        assert self.goes_on.wait(60)
        return Memory((Gpu(0, "card", 12000, free, self.by_pid),), 64_000, 32_000)


def free(memory: Memory) -> int:
    assert memory.gpus
    return memory.gpus[0].free


async def begun(work: Coroutine[Any, Any, Memory], card: Card) -> asyncio.Task[Memory]:
    """Its first reading is under way, and stays so until ``goes_on``."""
    card.goes_on.clear()
    task = asyncio.create_task(work)
    async with asyncio.timeout(60):
        while not card.reads:
            await asyncio.sleep(0.001)
    return task


async def test_who_comes_during_a_reading_gets_the_next_one_which_all_share() -> None:
    card = Card()
    readings = Readings(card)
    first = await begun(readings.now(), card)
    others = [asyncio.ensure_future(readings.now()) for _ in range(5)]
    await asyncio.sleep(0)
    card.goes_on.set()
    assert (free(await first), [free(await one) for one in others]) == (0, [1] * 5)
    assert card.reads == 2


async def test_memory_that_is_freed_during_a_reading_makes_it_old() -> None:
    card = Card()
    readings = Readings(card)
    settling = await begun(readings.settled(), card)
    readings.freed()
    card.goes_on.set()
    assert free(await settling) == 1
    assert readings.may_grow


async def test_where_somebody_frees_all_the_time_the_fifth_reading_will_do() -> None:
    card = Card()
    readings = Readings(card, observe=lambda _begun, _memory: readings.freed())
    assert free(await readings.settled()) == 4


async def test_the_memory_of_ended_processes_is_waited_for_where_the_driver_tells() -> None:
    card = Card({10: 4096})
    readings = Readings(card)
    await readings.now()
    async with asyncio.timeout(60):
        waiting = asyncio.ensure_future(readings.returned([10]))
        while card.reads < 4:
            await asyncio.sleep(0.001)
        assert not waiting.done()
        card.by_pid = {}
        await waiting


@pytest.mark.parametrize(("by_pid", "reads"), [(None, 1), ({10: 4096}, 2)])
async def test_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, by_pid: Mapping[int, int] | None, reads: int
) -> None:
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.05)
    card = Card(by_pid)
    readings = Readings(card)
    await readings.now()
    async with asyncio.timeout(60):
        await readings.returned([10])
    assert card.reads >= reads
    assert (card.reads == 1) == (by_pid is None)
