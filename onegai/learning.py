"""How much VRAM each service took, told from readings of the whole machine. No I/O, no clock.

Where the driver says which process has how much, that is it. Elsewhere (WSL2) what a GPU's use
rises by, between one reading and the next, is put down to the one service that was starting or
answering calls meanwhile; if several were, to none. What other programs take at such a moment is
put down to it, too: this is why a median of several runs counts, see ``profiles``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onegai.policy import Occupant, Phase
from onegai.resources import Gpu, Memory

FRESH_SECONDS = 20.0
"""Two readings further apart say nothing of a service: too much may have happened."""
BASE_SECONDS = 1.0
"""A reading so long before a start still is one from before it."""


@dataclass(frozen=True)
class Reading:
    """The machine's memory, and who took up any of it."""

    begun: float
    """When the reading began, ``time.monotonic``."""
    memory: Memory
    occupants: Mapping[str, Occupant]
    own: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Per app and GPU: MiB of its processes. Empty where the driver does not say."""


@dataclass(frozen=True)
class Sample:
    """What one run took on a GPU, MiB."""

    gpu: str
    """The name of the GPU."""
    ready: int
    """The rise from its start until it was ready."""
    peak: int
    """The most that was seen, calls included."""


@dataclass
class _Life:
    """What is known of one run of a service."""

    gpu: Gpu | None = None
    based: bool = False
    """There is a reading from before it took anything."""
    level: int = 0
    ready: int | None = None
    peak: int = 0
    spoiled: bool = False
    """Others changed while it started, so all of it is unknown."""

    def rise(self, by: int | None) -> None:
        """It was active and the GPU's use rose by so much; None: that cannot be said."""
        if by is not None:
            self.level = max(self.level + by, 0)
        elif self.ready is None:
            self.spoiled = True
        else:
            # What it has beyond its model is unknown now. Rather too little than too much.
            self.level = self.ready


class Learning:
    """The runs that are going on. Feed it every reading, in order."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}
        self._last: Reading | None = None

    def begin(self, app: str, now: float) -> None:
        """The app is about to start; ``now`` is ``time.monotonic``."""
        last = self._last
        self._lives[app] = _Life(based=last is not None and now - last.begun < BASE_SECONDS)

    def observe(self, reading: Reading) -> None:
        """One more reading."""
        before, self._last = self._last, reading
        if before is None or reading.begun - before.begun > FRESH_SECONDS:
            before = None
        active = _active(before, reading)
        for app, life in self._lives.items():
            occupant = reading.occupants.get(app)
            gpu = None if occupant is None else _where(occupant, reading)
            if occupant is None or gpu is None:
                continue
            life.gpu = gpu
            if gpu.by_pid is not None:
                life.level, life.spoiled = reading.own.get(app, {}).get(gpu.index, 0), False
            elif app in active and life.based:
                life.rise(_rise(app, gpu, active, before))
            life.based = True
            if life.ready is None and occupant.phase is Phase.READY:
                life.ready = life.level
            life.peak = max(life.peak, life.level)

    def end(self, app: str) -> Sample | None:
        """The run is over; what it took, if that could be told."""
        life = self._lives.pop(app, None)
        if life is None or life.spoiled or life.gpu is None or life.ready is None:
            return None
        return Sample(life.gpu.name, life.ready, life.peak)


def _where(occupant: Occupant, reading: Reading) -> Gpu | None:
    """The GPU that it uses; None: unknown."""
    gpus = reading.memory.gpus or ()
    own = reading.own.get(occupant.app, {})
    index = max(own, key=lambda gpu: own[gpu]) if any(own.values()) else occupant.gpu
    if index is None and len(gpus) == 1:
        return gpus[0]
    return next((gpu for gpu in gpus if gpu.index == index), None)


def _active(before: Reading | None, reading: Reading) -> dict[str, Occupant]:
    """Who may have taken or freed memory since the reading before began."""
    if before is None:
        return dict(reading.occupants)
    active = {}
    for app, one in reading.occupants.items():
        last = before.occupants.get(app)
        moved = last is None or (last.phase, last.parked) != (one.phase, one.parked)
        if moved or one.phase is not Phase.READY or one.used >= before.begun:
            active[app] = one
    gone = before.occupants.keys() - reading.occupants.keys()
    return active | {app: before.occupants[app] for app in gone}


def _rise(app: str, gpu: Gpu, active: Mapping[str, Occupant], before: Reading | None) -> int | None:
    """By how much more of the GPU is used than before, if that is the app's doing alone.

    Apps that declare no VRAM, and were not seen to take any, are taken at their word.
    """
    for other, one in active.items():
        if other != app and one.gpu in (None, gpu.index) and (one.need.vram or one.learnt):
            return None
    cards = before.memory.gpus if before is not None else None
    last = next((card for card in cards or () if card.index == gpu.index), None)
    return None if last is None else last.free - gpu.free
