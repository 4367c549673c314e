"""One service as people see it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from onegai.config.entry import AppSpec
from onegai.config.masking import masked
from onegai.memory.probe import Gpu, vram_of
from onegai.process import tree
from onegai.schema import ServiceStatus, State
from onegai.supervisor.run import Run
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


@dataclass(frozen=True)
class Footprint:
    """What one life's processes have of the memory, MiB; ``vram`` None: the driver does not say."""

    rss: int
    vram: int | None


def footprints(runs: Iterable[Run], gpus: Collection[Gpu]) -> dict[Run, Footprint]:
    """Of those that have processes. Some milliseconds of /proc, in any thread."""
    found: dict[Run, Footprint] = {}
    try:
        census = tree.Census()
    except OSError:
        return found
    for run in runs:
        if pids := run.pids(census):
            found[run] = Footprint(tree.rss_mib(pids), vram_of(pids, gpus) if gpus else None)
    return found


def report(
    at: Tenancy,
    footprint: Footprint | None = None,
    *,
    failure: str,
    place: int,
    start_seconds: float | None,
    unresponsive: float | None,
    outdated: list[str],
    turns: Busy | None,
) -> ServiceStatus:
    """A snapshot."""
    spec, life, run, gate, learnt = at.spec, at.life, at.run, at.gate, at.learnt
    outdated = [*outdated, *(run.edited if run else ())]
    return ServiceStatus(
        app=spec.app,
        state=at.state,
        reason=failure,
        pid=run.pid if run else None,
        port=spec.port,
        url=masked(run.url) if run and at.state is State.READY else None,
        gpu=life.gpu if life else None,
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
        unresponsive=unresponsive,
        vram=spec.vram_mib,
        vram_learnt=learnt,
        ram=spec.ram_mib,
        vram_used=footprint.vram if footprint else None,
        rss=footprint.rss if footprint else None,
        outdated=outdated,
        problems=[
            *([_silence(spec, unresponsive)] if unresponsive else ()),
            *(run.problems if run else ()),
            *_remarks(spec.vram_mib, learnt or 0, outdated),
        ],
    )


def _silence(spec: AppSpec, since: float) -> str:
    seconds = max(time.time() - since, 0)
    return (
        f"it has not answered GET {spec.ready.http} for {seconds:.0f} s: it is stuck, or too busy; "
        f"if that lasts, restart it"
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
