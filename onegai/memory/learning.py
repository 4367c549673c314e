"""How much VRAM each service took, told from readings of the whole machine. No I/O, no clock.

Where the driver says which process has how much, that is it. Elsewhere (WSL2) what a GPU's use
rises by, between one reading and the next, is put down to the one service that was starting or
answering calls meanwhile; if several were, to none. What other programs take at such a moment is
put down to it, too: this is why a median of several runs counts, see ``profiles``. Whoever is idle
may give memory back unseen (many unload their model after a while), and take it again at its next
call: so what a GPU's use falls by, and nobody explains, is taken off everybody there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onegai.memory.policy import Occupant, Phase
from onegai.memory.probe import Gpu, Memory

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
    """What it has at least, as far as can be told."""
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
            self.level = min(self.level, self.ready)

    def given_back(self, *, at_work: bool) -> int:
        """What it may have given back; ``at_work``: it is ready, so it keeps its model."""
        return max(self.level - (self.ready or 0), 0) if at_work else self.level


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
        """One more reading. One that was overtaken by a later one says nothing."""
        last = self._last
        if last is not None and reading.begun < last.begun:
            return
        self._last = reading
        fresh = last is not None and reading.begun - last.begun <= FRESH_SECONDS
        before = last if fresh else None
        active = _active(before, reading)
        back = {app: self._given_back(one) for app, one in active.items()} if fresh else {}
        for app, life in self._lives.items():
            occupant = reading.occupants.get(app)
            gpu = None if occupant is None else _where(occupant, reading)
            if occupant is None or gpu is None:
                continue
            life.gpu = gpu
            if gpu.by_pid is not None:
                life.level, life.spoiled = reading.own.get(app, {}).get(gpu.index, 0), False
            elif life.based:
                by = _rise(app, gpu, active, before) if app in active else None
                if app in active:
                    life.rise(by)
                if by is None:
                    others = (back[one] for one in back if one != app and _is_on(active[one], gpu))
                    unexplained = -(_change(gpu, last) or 0) - sum(others)
                    life.level -= min(max(unexplained, 0), life.level)
                # What it has released may come back to the driver late.
                life.level = 0 if occupant.parked else min(life.level, gpu.total - gpu.free)
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

    def _given_back(self, one: Occupant) -> int:
        """What an active one may have given back, at most."""
        life = self._lives.get(one.app)
        if life is None:
            return one.most
        return life.given_back(at_work=one.phase is Phase.READY and not one.parked)


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
        if other != app and _is_on(one, gpu) and (one.need.vram or one.learnt):
            return None
    return _change(gpu, before)


def _is_on(one: Occupant, gpu: Gpu) -> bool:
    """One of which nobody knows where it is may be anywhere."""
    return one.gpu in (None, gpu.index)


def _change(gpu: Gpu, last: Reading | None) -> int | None:
    """By how much more of the GPU is used than at the last reading; None: unknown."""
    cards = last.memory.gpus if last is not None else None
    card = next((card for card in cards or () if card.index == gpu.index), None)
    return None if card is None else card.free - gpu.free
