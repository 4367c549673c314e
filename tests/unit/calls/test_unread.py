"""What is not read yet: pieces wait for room, news do not; who takes nothing is given up."""

import asyncio

import pytest

from onegai.calls import unread as unread_module
from onegai.calls.unread import PIECES, Unread
from onegai.errors import SlowReader


async def test_in_order_until_the_end() -> None:
    unread: Unread[str] = Unread()
    unread.add_news("a", instead=False)
    await unread.add_piece("b")
    unread.add_news("c", instead=False)
    unread.end()
    read = []
    while await unread.wait():
        read.append(unread.pop())
    assert read == ["a", "b", "c"]


async def test_news_may_replace_the_newest() -> None:
    unread: Unread[int] = Unread()
    for number in range(1000):
        unread.add_news(number, instead=number > 0)
    assert unread.newest == 999
    assert unread.pop() == 999
    assert not unread


async def test_news_after_the_end_are_left_out() -> None:
    unread: Unread[str] = Unread()
    unread.add_news("a", instead=False)
    unread.end()
    unread.add_news("late", instead=False)
    assert await unread.wait()
    assert unread.pop() == "a"
    assert not await unread.wait()


async def test_pieces_wait_for_room_and_none_is_lost() -> None:
    unread: Unread[int] = Unread()
    added = 0

    async def add() -> None:
        nonlocal added
        for number in range(50):
            await unread.add_piece(number)
            added += 1
        unread.end()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(add())
        read = []
        while await unread.wait():
            for _ in range(20):
                await asyncio.sleep(0)
            assert added - len(read) <= PIECES
            read.append(unread.pop())
    assert read == list(range(50))


async def test_a_reader_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread_module, "SLOW_SECONDS", 0.05)
    unread: Unread[int] = Unread()
    for number in range(PIECES):
        await unread.add_piece(number)
    with pytest.raises(SlowReader):
        await unread.add_piece(PIECES)
