"""The gate: "closed" and "nobody inside" are one decision, from any thread."""

import asyncio
import threading

from onegai.supervisor.leases import Gate

URL = "http://127.0.0.1:1"


def test_a_lease_holds_the_url_and_counts() -> None:
    gate = Gate(URL)
    first, second = gate.try_enter(), gate.try_enter()
    assert first is not None
    assert second is not None
    assert (first.url, gate.inside) == (URL, 2)
    first.release()
    first.release()
    assert gate.inside == 1
    with second:
        pass
    assert gate.inside == 0


def test_a_closed_gate_lets_nobody_in_and_everybody_out() -> None:
    gate = Gate(URL)
    lease = gate.try_enter()
    assert lease is not None
    gate.close()
    assert gate.try_enter() is None
    assert gate.inside == 1
    lease.release()
    assert gate.inside == 0


def test_released_by_an_exception() -> None:
    gate = Gate(URL)
    lease = gate.try_enter()
    assert lease is not None
    try:
        with lease:
            raise ValueError
    except ValueError:
        assert gate.inside == 0


async def test_drained_at_once_when_nobody_is_inside() -> None:
    gate = Gate(URL)
    gate.close()
    async with asyncio.timeout(60):
        await gate.drained()


async def test_drained_waits_for_the_last_one_in_any_thread() -> None:
    gate = Gate(URL)
    leases = [gate.try_enter() for _ in range(3)]
    gate.close()
    draining = asyncio.create_task(gate.drained())
    for lease in leases:
        await asyncio.sleep(0)
        assert not draining.done()
        assert lease is not None
        await asyncio.to_thread(lease.release)
    async with asyncio.timeout(60):
        await draining


async def test_given_up_waiting_can_be_taken_up_again() -> None:
    gate = Gate(URL)
    lease = gate.try_enter()
    gate.close()
    waiting = asyncio.create_task(gate.drained())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    again = asyncio.create_task(gate.drained())
    await asyncio.sleep(0)
    assert lease is not None
    lease.release()
    async with asyncio.timeout(60):
        await again


async def test_many_threads_and_a_close_in_the_middle() -> None:
    """Nobody is inside after the drain, however the threads were interleaved."""
    for _ in range(20):
        gate = Gate(URL)
        begin = threading.Barrier(9)
        drained = threading.Event()
        late: list[str] = []

        def work(
            gate: Gate = gate,
            begin: threading.Barrier = begin,
            drained: threading.Event = drained,
            late: list[str] = late,
        ) -> None:
            begin.wait()
            while (lease := gate.try_enter()) is not None:
                if drained.is_set():
                    late.append("inside after the drain")
                lease.release()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(begin.wait)
        gate.close()
        async with asyncio.timeout(60):
            await gate.drained()
        drained.set()
        assert gate.inside == 0
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert late == []
        assert gate.inside == 0
