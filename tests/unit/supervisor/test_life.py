"""A life and its orders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from onegai.config.entry import AppSpec, Release
from onegai.config.home import Home
from onegai.process.logfile import LogFile
from onegai.schema import State, StopReason
from onegai.supervisor.leases import Gate
from onegai.supervisor.life import Life, Order
from onegai.supervisor.run import Run
from onegai.supervisor.tenancy import Tenancy


class NoHooks:
    async def load(self, spec: AppSpec, url: str) -> None: ...

    async def unload(self, spec: AppSpec, url: str) -> None: ...

    def can_unload(self, app: str) -> bool:
        return False


class NoGpus:
    def learnt(self, spec: AppSpec) -> dict[int, int]:
        return {}

    def named(self, device: str) -> int | None: ...


SPEC = AppSpec(app="a", type="webapi", port=1, exec="run", release=Release(post="/wrong"))


@pytest.fixture
async def tenancy(tmp_path: Path) -> AsyncIterator[Tenancy]:
    """That of a service whose life has just begun."""
    tenancy = Tenancy(SPEC, NoHooks(), NoGpus())
    async with aiohttp.ClientSession() as http:
        run = Run(Home(tmp_path), lambda: tenancy.spec, LogFile(tmp_path / "a.log"), http)
        tenancy.life = Life(run)
        yield tenancy


@pytest.fixture
def life(tenancy: Tenancy) -> Life:
    assert tenancy.life is not None
    return tenancy.life


async def test_a_greater_order_replaces_a_smaller_one(life: Life) -> None:
    waiting = {order: asyncio.ensure_future(life.told(order)) for order in Order if order}
    heard = []
    for give in (
        lambda: life.park("b"),
        lambda: life.end(StopReason.IDLE, "idle"),
        lambda: life.park("c"),
        lambda: life.end(StopReason.STOPPED, "by force", order=Order.BREAK),
        lambda: life.end(StopReason.IDLE, "idle"),
    ):
        give()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        heard.append((life.order, [order for order, task in waiting.items() if task.done()]))
    assert heard == [
        (Order.PARK, [Order.PARK]),
        (Order.STOP, [Order.PARK, Order.STOP]),
        (Order.STOP, [Order.PARK, Order.STOP]),
        (Order.BREAK, [Order.PARK, Order.STOP, Order.BREAK]),
        (Order.BREAK, [Order.PARK, Order.STOP, Order.BREAK]),
    ]


async def test_of_several_reasons_to_stop_the_first_counts(tenancy: Tenancy, life: Life) -> None:
    life.end(StopReason.IDLE, "idle")
    life.end(StopReason.STOPPED, "by force", order=Order.BREAK)
    tenancy.rest_after(life, failed=False, stopped=True)
    assert tenancy.last_stop is not None
    assert tenancy.last_stop.reason is StopReason.IDLE
    assert (tenancy.state, tenancy.life, life.over.is_set()) == (State.STOPPED, None, True)


async def test_only_a_release_that_is_over_is_taken_back(life: Life) -> None:
    life.park("b")
    life.park_no_more()
    assert life.order is Order.GO_ON
    life.end(StopReason.IDLE, "idle")
    life.park_no_more()
    assert life.order is Order.STOP


async def test_it_takes_up_nothing_before_it_is_granted_and_after_its_end(
    tenancy: Tenancy, life: Life
) -> None:
    assert (tenancy.state, tenancy.occupant()) == (State.QUEUED, None)
    tenancy.granted(1)
    occupant = tenancy.occupant()
    assert occupant is not None
    assert (tenancy.state, occupant.gpu) == (State.STARTING, 1)
    tenancy.rest_after(life, failed=True, stopped=False)
    assert (tenancy.state, tenancy.occupant(), tenancy.last_stop) == (State.FAILED, None, None)


async def test_who_is_to_stop_serves_no_more(life: Life) -> None:
    life.state, life.gate = State.READY, Gate("http://127.0.0.1:1")
    assert life.serves
    life.end(StopReason.IDLE, "idle")
    assert not life.serves


async def test_a_corrected_release_is_tried_again(tenancy: Tenancy, life: Life) -> None:
    life.can_release = False
    tenancy.edit(SPEC.model_copy(update={"idle_timeout": 5}))
    assert not life.can_release
    tenancy.edit(SPEC.model_copy(update={"release": Release(post="/free")}))
    assert life.can_release
