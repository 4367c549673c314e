"""Calls that wait for each other: each holds what the other needs. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onegai.memory.policy import Occupant, Phase, Place, Target, cards_of
from onegai.memory.probe import Memory


def deadlocked(
    waiting: Sequence[Target], occupants: Collection[Occupant], memory: Memory, headroom: int = 0
) -> Target | None:
    """The youngest of ``waiting`` (oldest first) that others who wait will never let start.

    A call that waits keeps what it holds. So one who fits once all that is not held so has gone is
    imagined to be served, and what it held to be free from then on; and so on. One who does not fit
    even when the others let go of everything will be refused, and lets go, too; if it is only for
    what was learnt that it does not, it waits by what is declared, as in ``decide``.
    """
    declared = [one.as_declared() for one in occupants]

    def fits(target: Target, frozen: Collection[str], among: Collection[Occupant]) -> bool:
        # Its own last life may not have ended yet: it is being stopped, and still held.
        return target.app not in frozen and _could_fit(target, frozen, among, memory, headroom)

    def lets_go(target: Target, frozen: Collection[str]) -> bool:
        if fits(target, target.holding, occupants):
            return fits(target, frozen, occupants)
        target = target.as_declared()
        return fits(target, frozen, declared) or not fits(target, target.holding, declared)

    unserved = list(waiting)
    while unserved:
        frozen = frozenset[str]().union(*(target.holding for target in unserved))
        served = next((target for target in unserved if lets_go(target, frozen)), None)
        if served is None:
            break
        unserved.remove(served)
    stuck = [target for target in unserved if target.holding]
    return stuck[-1] if stuck else None


def _could_fit(
    target: Target,
    frozen: Collection[str],
    occupants: Collection[Occupant],
    memory: Memory,
    headroom: int,
) -> bool:
    """Is there room once everything has gone that is neither kept nor in ``frozen``?"""
    # Its own last life may not have ended yet, and has its memory until then.
    others = [one for one in occupants if one.app != target.app or one.phase is Phase.STOPPING]
    gone = {one.app for one in others if not one.keep and one.app not in frozen} | {target.app}
    cards = cards_of(target, memory.gpus or ()) if target.need.vram else ()
    places: list[int | None] = [gpu.index for gpu in cards]
    return any(
        Place(target, others, memory, headroom, gpu).has_room(gone) for gpu in places or [None]
    )
