"""The ring of events: stored ones first, then new ones, until it is closed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from onegai.events import Ring
from onegai.protocol import Lines
from onegai.schema import Event


async def ids(events: AsyncIterator[Event]) -> list[int]:
    return [event.id async for event in events]


async def test_stored_events_then_the_end() -> None:
    ring = Ring()
    ring.emit("state", {"n": 1})
    ring.emit("output", {"n": 2})
    ring.close()
    events = [event async for event in ring.follow()]
    assert [(event.id, event.event, event.data) for event in events] == [
        (1, "state", {"n": 1}),
        (2, "output", {"n": 2}),
    ]


async def test_resumes_after_an_id() -> None:
    ring = Ring()
    for number in range(5):
        ring.emit("output", {"n": number})
    ring.close()
    assert await ids(ring.follow(after=3)) == [4, 5]
    assert await ids(ring.follow(after=99)) == []
    assert await ids(ring.follow(after=-1)) == [1, 2, 3, 4, 5]


async def test_only_the_last_ones_are_kept_and_ids_go_on() -> None:
    ring = Ring(size=3)
    for number in range(10):
        ring.emit("output", {"n": number})
    ring.close()
    events = [event async for event in ring.follow()]
    assert [(event.id, event.event) for event in events] == [
        (7, "gap"),
        *((number, "output") for number in (8, 9, 10)),
    ]
    assert events[0].data == {"missed": 7}
    # Who resumes after what it was told last misses nothing more.
    assert await ids(ring.follow(after=7)) == [8, 9, 10]


async def test_a_reader_that_falls_behind_is_told_what_it_missed() -> None:
    ring = Ring(size=3)
    ring.emit("output", {})
    reader = ring.follow()
    assert (await anext(reader)).id == 1
    for _ in range(9):
        ring.emit("output", {})
    ring.close()
    gap, *rest = [event async for event in reader]
    assert (gap.id, gap.event, gap.data) == (7, "gap", {"missed": 6})
    assert Lines().feed(gap.event, gap.data) == ["[6 events of this job are left out here]"]
    assert [event.id for event in rest] == [8, 9, 10]


async def test_every_reader_gets_every_event_live() -> None:
    ring = Ring()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        readers = [group.create_task(ids(ring.follow())) for _ in range(3)]
        for number in range(20):
            ring.emit("output", {"n": number})
            await asyncio.sleep(0)
        ring.close()
    assert [reader.result() for reader in readers] == [list(range(1, 21))] * 3


async def test_what_comes_while_a_reader_is_busy_is_not_lost() -> None:
    ring = Ring()
    ring.emit("output", {})
    seen = []
    async with asyncio.timeout(60):
        async for event in ring.follow():
            seen.append(event.id)
            if event.id < 5:
                ring.emit("output", {})
            else:
                ring.close()
    assert seen == [1, 2, 3, 4, 5]


async def test_close_wakes_a_waiting_reader() -> None:
    ring = Ring()
    reader = asyncio.create_task(ids(ring.follow()))
    await asyncio.sleep(0)
    ring.close()
    async with asyncio.timeout(60):
        assert await reader == []


async def test_of_progress_the_newest_is_stored_and_none_counts_as_missed() -> None:
    ring = Ring()
    ring.emit("running", {})
    for number in range(5000):
        ring.emit("progress", {"n": number})
    ring.emit("output", {})
    ring.close()
    events = [event async for event in ring.follow(after=1)]
    assert [(event.id, event.event) for event in events] == [(5001, "progress"), (5002, "output")]
    assert events[0].data == {"n": 4999}


async def test_no_more_bytes_are_stored_than_may_be() -> None:
    ring = Ring(most_bytes=100)
    for number in range(10):
        ring.emit("output", {"n": number}, 40)
    ring.close()
    assert [(event.id, event.event) async for event in ring.follow()] == [
        (8, "gap"),
        (9, "output"),
        (10, "output"),
    ]
    large = Ring(most_bytes=100)
    large.emit("output", {}, 40)
    large.emit("output", {}, 1000)
    large.close()
    assert await ids(large.follow(after=1)) == [2]


async def test_what_is_large_is_read_when_it_is_asked_for() -> None:
    ring = Ring()
    asked: list[int] = []

    def data() -> dict[str, str]:
        asked.append(1)
        return {"result": "x"}

    ring.emit("done", data)
    ring.close()
    assert asked == []
    assert [event.data async for event in ring.follow()] == [{"result": "x"}]


async def test_nothing_follows_the_end() -> None:
    ring = Ring()
    ring.close()
    ring.emit("progress", {})
    assert await ids(ring.follow()) == []


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        ([("queued", {"place": 2})], ["number 2 in line"]),
        ([("evicting", {"apps": ["a", "b"]})], ["a, b: to make room"]),
        ([("starting", {"app": "a"})], ["waiting for a to be ready"]),
        ([("running", {})], []),
        ([("progress", {"fraction": 0.5})], ["50%"]),
        ([("progress", {"fraction": 0.5, "text": "half"})], ["50% half"]),
        ([("progress", {"step": 1})], []),
        ([("output", {"line": "of an install"})], ["of an install"]),
        ([("output", {"result": {"a": 1}})], []),
        (
            [("output", {"result": one}) for one in ("Hel", "lo\nyou", "\nbye")],
            ["Hello", "you", "bye"],
        ),
        ([("output", {"result": "a"}), ("progress", {"text": "b"})], ["a", "b"]),
        ([("output", {"result": "x" * 3000})] * 2, ["x" * 6000]),
        ([("state", {"state": "done"}), ("done", {"result": 1}), ("error", {})], []),
    ],
)
def test_events_as_lines(told: list[tuple[str, dict[str, Any]]], lines: list[str]) -> None:
    reader = Lines()
    found = [line for event in told for line in reader.feed(*event)]
    assert [*found, *([reader.rest] if reader.rest else [])] == lines
