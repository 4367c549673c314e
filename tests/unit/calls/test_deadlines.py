"""One timer for all calls, which ends each of them in its own time."""

import asyncio

import pytest

from onegai.calls.deadlines import Deadlines


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines()


async def waits(deadlines: Deadlines, seconds: float) -> float:
    """When it was ended."""
    begun = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError), deadlines.within(seconds):
        await asyncio.Event().wait()
    return asyncio.get_running_loop().time() - begun


async def test_each_ends_in_its_own_time(deadlines: Deadlines) -> None:
    async with asyncio.timeout(60):
        took = await asyncio.gather(*(waits(deadlines, time) for time in (0.2, 0.05, 0.1)))
    assert took[1] < took[2] < took[0]
    assert [at >= time for at, time in zip(took, (0.2, 0.05, 0.1), strict=True)] == [True] * 3


async def test_those_that_end_before_have_no_timer_of_their_own(
    deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    set_for = []
    real = loop.call_at
    monkeypatch.setattr(
        loop, "call_at", lambda when, *work: set_for.append(when) or real(when, *work)
    )
    for _ in range(100):
        with deadlines.within(60):
            pass
    assert len(set_for) == 1
    with deadlines.within(1):
        pass
    assert len(set_for) == 2


async def test_the_time_counts_from_its_own_beginning(deadlines: Deadlines) -> None:
    with deadlines.within(0.1):
        pass
    # The timer of the first one is due while the second one has time left.
    begun = asyncio.get_running_loop().time()
    with deadlines.within(30):
        await asyncio.sleep(0.2)
    assert asyncio.get_running_loop().time() - begun >= 0.2
    async with asyncio.timeout(60):
        await waits(deadlines, 0.05)


async def test_a_cancel_from_elsewhere_stays_one(deadlines: Deadlines) -> None:
    async def work() -> None:
        with deadlines.within(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancel_that_comes_with_the_end_is_not_lost(deadlines: Deadlines) -> None:
    async def work() -> None:
        with deadlines.within(0.01):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_pass(deadlines: Deadlines) -> None:
    with pytest.raises(ValueError, match="mine"), deadlines.within(60):
        raise ValueError("mine")
