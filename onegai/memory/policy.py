"""Pure decisions about memory and ports: start, evict, wait or refuse. No I/O, no clock.

Sizes are MiB. The rule that admits a start, the order of evictions and how to add another rule are
told in docs/scheduling.md. An app counts for what it declares, or for more if its recent runs took
more (``learnt``); only what is declared decides a refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from onegai.memory.probe import Gpu, Memory


@dataclass(frozen=True)
class Need:
    """Memory that an app declares, MiB; 0 is never checked."""

    vram: int = 0
    ram: int = 0


class Phase(StrEnum):
    """How far an occupant is, as far as memory goes."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Occupant:
    """A service that has a process, or is about to have one."""

    app: str
    need: Need
    gpu: int | None = None
    """The GPU where its VRAM counts; None: it needs none, or it started while no reading of the
    GPUs could be had, and counts on each."""
    port: int | None = None
    phase: Phase = Phase.READY
    parked: bool = False
    """It runs on and has released its VRAM."""
    leased: bool = False
    keep: bool = False
    used: float = 0.0
    """When it was last used; only the order matters."""
    can_release: bool = False
    """It has VRAM that it can give back without being stopped."""
    learnt: int = 0
    """VRAM that its recent runs on this GPU took."""
    gives: int = 0
    """VRAM that comes back once it is gone, where that is more than it counts for."""

    @property
    def vram(self) -> int:
        """What its VRAM counts for now."""
        return 0 if self.parked else self.most

    @property
    def most(self) -> int:
        """What its VRAM counts for while it has not released it; 0 is never checked."""
        return max(self.need.vram, self.learnt) if self.need.vram else 0

    def as_declared(self) -> Occupant:
        """The same without what was learnt, but that its end gives back."""
        return replace(self, learnt=0, gives=self.most)


@dataclass(frozen=True)
class Target:
    """The app that shall start, or come back from being parked."""

    app: str
    need: Need
    port: int | None = None
    gpus: tuple[int, ...] = ()
    """The only GPUs where it can be: it is parked there, or its entry says so. Empty: any."""
    holding: frozenset[str] = frozenset()
    """Services that the waiting call itself holds; they cannot make way for it."""
    learnt: Mapping[int, int] = field(default_factory=dict)
    """Per GPU: VRAM that its recent runs there took."""

    def as_declared(self) -> Target:
        """The same without what was learnt."""
        return replace(self, learnt={})


@dataclass(frozen=True)
class Start:
    """Go ahead. ``gpu`` is where; None: no GPU is needed, or nothing is known of them."""

    gpu: int | None = None


@dataclass(frozen=True)
class Evict:
    """Make room by stopping these idle services, or by having them release their VRAM."""

    apps: tuple[str, ...]
    release: bool = False
    gpu: int | None = None


@dataclass(frozen=True)
class Wait:
    """Room will come: from ``busy`` services when their calls end, or from ``changing`` ones.

    No new calls are let into ``busy`` meanwhile, so the wait ends. ``idle`` ones would go, too.
    ``room``: nobody has to make way for it.
    """

    busy: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    gpu: int | None = None
    room: bool = False


@dataclass(frozen=True)
class Refuse:
    """It cannot be: there will never be, or is not now, enough. Memory in MiB.

    ``large``: larger than the machine · ``gpu``: there is no GPU · ``kept``: services with
    ``keep`` (``apps``) are in the way · ``held``: ``apps`` are held by the call that waits ·
    ``others``: other programs have the memory · ``port``: a kept service has the port.
    """

    why: Literal["large", "gpu", "kept", "held", "others", "port"]
    kind: Literal["VRAM", "RAM"] = "VRAM"
    need: int = 0
    free: int = 0
    total: int = 0
    apps: tuple[str, ...] = ()


Decision = Start | Evict | Wait | Refuse


def decide(
    target: Target,
    occupants: Collection[Occupant],
    memory: Memory,
    headroom: int = 0,
    claimed: Collection[int | None] = (),
) -> Decision:
    """What has to happen so that ``target`` can start.

    ``headroom`` MiB stay free on a GPU. Earlier targets wait for the GPUs in ``claimed`` (None:
    for RAM), so these are left alone. Unknown GPU memory (``memory.gpus`` None) is no reason to
    refuse. Where what was learnt is more than there can be anywhere, it gets all that can be; and
    where it would still end in a refusal, only what is declared counts.
    """
    decision = _decided(target, occupants, memory, headroom, claimed)
    if not isinstance(decision, Refuse):
        return decision
    occupants = [one.as_declared() for one in occupants]
    return _decided(target.as_declared(), occupants, memory, headroom, claimed)


def _decided(
    target: Target,
    occupants: Collection[Occupant],
    memory: Memory,
    headroom: int,
    claimed: Collection[int | None],
) -> Decision:
    others = [one for one in occupants if one.app != target.app]
    if target.need.ram > memory.ram_total:
        return Refuse("large", "RAM", target.need.ram, memory.ram_free, memory.ram_total)
    if target.need.ram and None in claimed:
        return Wait()
    if not target.need.vram or memory.gpus is None:
        return Place(target, others, memory, headroom, None).decide()
    if not memory.gpus:
        return Refuse("gpu", need=target.need.vram)
    cards = cards_of(target, memory.gpus)
    large = [gpu for gpu in cards if gpu.total - headroom >= target.need.vram]
    if not large:
        best = max(cards, key=lambda gpu: gpu.total)
        return Refuse("large", "VRAM", target.need.vram, best.free, best.total)
    places = [
        Place(target, others, memory, headroom, gpu.index)
        for gpu in sorted(large, key=lambda gpu: -gpu.free)
        if gpu.index not in claimed
    ]
    if not places:
        return Wait(gpu=large[0].index)
    decisions = [(place.decide(), place.short) for place in places]
    return min(decisions, key=lambda found: _preference(*found))[0]


def cards_of(target: Target, gpus: Sequence[Gpu]) -> Sequence[Gpu]:
    """Where it can be; what its entry names and is not there does not count."""
    return [gpu for gpu in gpus if gpu.index in target.gpus] or gpus


def _preference(decision: Decision, short: bool) -> tuple[bool, int, float]:
    """Of several GPUs: one with room, else the one with the fewest evictions, else a wait.

    One that is ``short`` of what was learnt only where no other would do.
    """
    match decision:
        case Start():
            return (short, 0, 0)
        case Wait(room=True):
            return (short, 0, 1)
        case Evict(apps=apps, release=release):
            return (short, 1, len(apps) - 0.5 * release)
        case Wait(busy=busy):
            return (short, 2, len(busy))
        case Refuse(need=need, free=free):
            return (True, 3, need - free)


class Place:
    """One GPU (or none) as the place for a target."""

    def __init__(
        self,
        target: Target,
        others: Sequence[Occupant],
        memory: Memory,
        headroom: int,
        gpu: int | None,
    ) -> None:
        self.gpu = gpu
        self._target = target
        self._others = others
        self._memory = memory
        self._headroom = headroom
        self._card = next((one for one in memory.gpus or () if one.index == gpu), None)
        self._vram = 0
        self.short = False
        """What was learnt is more than there can be here, so all that can be is asked for."""
        if self._card is not None:
            gone = {one.app for one in others if one.phase is Phase.STOPPING or not one.keep}
            room = self._vram_room(gone - target.holding)
            learnt = target.learnt.get(self._card.index, 0)
            self._vram = max(target.need.vram, min(learnt, room))
            self.short = self._vram < learnt

    def decide(self) -> Decision:
        """The least that gives the target its room here."""
        starting = _names(one for one in self._others if self._starts_here(one))
        if self.has_room(()) and not starting:
            return Start(self.gpu)
        if starting and self.has_room((), measured=False):
            # Loaders grow while they start, so what is free now says little.
            return Wait(changing=starting, gpu=self.gpu, room=True)
        held = self._target.holding
        stopping = [one.app for one in self._others if one.phase is Phase.STOPPING]
        going = {app for app in stopping if app not in held}
        if self.has_room(going):
            return Wait(changing=tuple(sorted(going)), gpu=self.gpu, room=True)
        idle = self._movable(leased=False)
        for release in (True, False):
            makers = [one for one in idle if one.can_release or not release]
            if (chosen := self._fewest(makers, going, release)) is not None:
                return Evict(_names(chosen), release, self.gpu)
        busy = self._movable(leased=True)
        if (chosen := self._fewest([*idle, *busy], going)) is not None:
            waits = _names(one for one in chosen if one.leased)
            return Wait(waits, (), _names(one for one in chosen if not one.leased), self.gpu)
        gone = going | {one.app for one in (*idle, *busy)}
        changing = {one.app for one in self._others if self._may_move_later(one)}
        if self.has_room(gone | changing):
            return Wait(changing=tuple(sorted(changing)), gpu=self.gpu)
        if starting and self.has_room(gone | changing, measured=False):
            # What they have loaded already counts twice, as used and as reserved.
            return Wait(changing=starting, gpu=self.gpu)
        return self._refuse(gone | changing)

    def _starts_here(self, one: Occupant) -> bool:
        """Cold starts on one GPU come one after another."""
        here = self._vram > 0 < one.vram and self._is_here(one)
        mine = one.app in self._target.holding
        return here and one.phase is Phase.STARTING and not mine

    def _is_here(self, one: Occupant) -> bool:
        """One of which nobody knows where it is counts everywhere."""
        return one.gpu in (self.gpu, None)

    def _movable(self, *, leased: bool) -> list[Occupant]:
        """Who could make way, least recently used first."""
        found = [
            one
            for one in self._others
            if one.phase is Phase.READY
            and one.leased is leased
            and not one.keep
            and one.app not in self._target.holding
            and self._matters(one)
        ]
        return sorted(found, key=lambda one: one.used)

    def _may_move_later(self, one: Occupant) -> bool:
        """It starts now, and can be evicted once it is ready."""
        mine = one.app in self._target.holding
        return one.phase is Phase.STARTING and not one.keep and not mine and self._matters(one)

    def _matters(self, one: Occupant) -> bool:
        """Does it have anything that the target needs?"""
        here = self._card is not None and self._is_here(one) and one.need.vram > 0
        return here or (self._target.need.ram > 0 < one.need.ram) or self._has_its_port(one)

    def _has_its_port(self, one: Occupant) -> bool:
        return one.port is not None and one.port == self._target.port

    def _fewest(
        self, makers: Sequence[Occupant], going: set[str], release: bool = False
    ) -> list[Occupant] | None:
        """The first of ``makers`` that together give enough room, without those not needed."""
        chosen: list[Occupant] = []
        for one in makers:
            chosen.append(one)
            if self._room_without(chosen, going, release):
                break
        else:
            return None
        for one in reversed(chosen.copy()):
            fewer = [other for other in chosen if other is not one]
            if fewer and self._room_without(fewer, going, release):
                chosen = fewer
        return chosen

    def _room_without(self, chosen: Iterable[Occupant], going: set[str], release: bool) -> bool:
        apps = {one.app for one in chosen}
        return self.has_room(going, apps) if release else self.has_room(going | apps)

    def has_room(
        self, gone: Collection[str], released: Collection[str] = (), *, measured: bool = True
    ) -> bool:
        """Would the target fit with these gone, and those without their VRAM?

        Not ``measured``: by what is declared alone.
        """
        left = [one for one in self._others if one.app not in gone]
        if any(self._has_its_port(one) for one in left):
            return False
        if self._target.need.ram and self._target.need.ram > self._ram_room(gone, left):
            return False
        return not self._vram or self._vram <= self._vram_room(gone, released, measured)

    def _vram_room(
        self, gone: Collection[str], released: Collection[str] = (), measured: bool = True
    ) -> int:
        """The admission formula: what is free, by measure and by declaration, less the headroom."""
        assert self._card is not None
        here = [one for one in self._others if self._is_here(one)]
        stays = [one for one in here if one.app not in gone and one.app not in released]
        room = self._card.total - sum(one.vram for one in stays)
        if measured:
            leaves = [one for one in here if one.app in gone or one.app in released]
            reserved = sum(one.vram for one in stays if one.phase is Phase.STARTING)
            # At most: a parked one may have kept what it promised to release.
            back = sum(max(one.most, one.gives) for one in leaves)
            room = min(room, self._card.free - reserved + back)
        return room - self._headroom

    def _ram_room(self, gone: Collection[str], left: Collection[Occupant]) -> int:
        """As that of the VRAM: by measure and by declaration. What is parked keeps its RAM."""
        declared = self._memory.ram_total - sum(one.need.ram for one in left)
        reserved = sum(one.need.ram for one in left if one.phase is Phase.STARTING)
        back = sum(one.need.ram for one in self._others if one.app in gone)
        return min(declared, self._memory.ram_free - reserved + back)

    def _refuse(self, gone: Collection[str]) -> Refuse:
        """Why there is no room even with all of ``gone`` away."""
        left = [one for one in self._others if one.app not in gone]
        held = [one for one in left if one.app in self._target.holding]
        if held and self.has_room({*gone, *(one.app for one in held)}):
            return Refuse("held", need=self._vram, apps=_names(held))
        if any(self._has_its_port(one) for one in left):
            return Refuse("port", apps=_names(one for one in left if self._has_its_port(one)))
        need, room = self._target.need, self._ram_room(gone, left)
        if need.ram and need.ram > room:
            why, kept = self._kept(gone, (one for one in left if one.need.ram))
            return Refuse(why, "RAM", need.ram, max(room, 0), self._memory.ram_total, kept)
        assert self._card is not None
        why, kept = self._kept(gone, (one for one in left if self._is_here(one) and one.vram))
        room = max(self._vram_room(gone), 0)
        return Refuse(why, "VRAM", self._vram, room, self._card.total, kept)

    def _kept(
        self, gone: Collection[str], left: Iterable[Occupant]
    ) -> tuple[Literal["kept", "others"], tuple[str, ...]]:
        """Is it these that are in the way, or other programs?"""
        names = _names(left)
        if names and self.has_room({*gone, *names}):
            return "kept", names
        return "others", ()


def _names(occupants: Iterable[Occupant]) -> tuple[str, ...]:
    return tuple(one.app for one in occupants)
