"""One service as people see it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Protocol

from onegai.masking import masked
from onegai.process import tree
from onegai.resources import Gpu, vram_of
from onegai.schema import ServiceStatus, State
from onegai.supervisor.tenancy import Tenancy

WORTH_TELLING_MIB = 256
"""By how much an app must take more VRAM than it declares before the status says so."""


class Busy(Protocol):
    """How many calls of an app's functions run, and how many wait for their turn."""

    @property
    def running(self) -> int:
        """Those that run."""
        ...

    @property
    def queued(self) -> int:
        """Those that wait."""
        ...


def report(
    at: Tenancy,
    gpus: Collection[Gpu],
    *,
    failure: str,
    place: int,
    start_seconds: float | None,
    outdated: list[str],
    turns: Busy | None,
) -> ServiceStatus:
    """A snapshot, with the memory that it has on these GPUs. Some milliseconds of /proc."""
    spec, run, gate, learnt = at.spec, at.run, at.gate, at.learnt
    pids = run.pids() if run else []
    return ServiceStatus(
        app=spec.app,
        state=at.state,
        reason=failure,
        pid=run.pid if run else None,
        port=spec.port,
        url=masked(run.url) if run and at.state is State.READY else None,
        gpu=at.gpu,
        leases=gate.inside if gate else 0,
        making_way=at.state is State.READY and gate is not None and gate.shut,
        waiting=len(at.callers),
        place=place,
        calls=turns.running if turns else 0,
        queued=turns.queued if turns else 0,
        since=at.since,
        idle_seconds=round(time.monotonic() - gate.last_used, 1) if gate else None,
        start_seconds=start_seconds,
        last_stop=at.last_stop,
        vram=spec.vram_mib,
        vram_learnt=learnt,
        ram=spec.ram_mib,
        vram_used=vram_of(pids, gpus) if pids and gpus else None,
        rss=tree.rss_mib(pids) if pids else None,
        outdated=outdated,
        problems=[*(run.problems if run else ()), *_remarks(spec.vram_mib, learnt or 0, outdated)],
    )


def _remarks(declared: int, learnt: int, outdated: list[str]) -> Iterator[str]:
    if keys := ", ".join(outdated):
        yield f"{keys} changed since it was started: restart it, and that takes effect"
    if learnt < declared + WORTH_TELLING_MIB:
        return
    took, set_it = f"its recent runs took {learnt / 1024:.1f} GB of VRAM", "set vram to that"
    if declared:
        yield f"{took}, and it declares {declared / 1024:g}: the larger counts; {set_it}"
    else:
        yield f"{took}, and it declares none, so it is never checked; {set_it}"
