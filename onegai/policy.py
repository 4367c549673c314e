"""Pure decisions about memory: no I/O, no clock.

So far the seed: start, or refuse with the numbers. Waiting and evicting are decided here too, once
the supervisor can do them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onegai.resources import Memory


@dataclass(frozen=True)
class Need:
    """What an app declares, MiB; 0 is never checked."""

    vram: int
    ram: int


@dataclass(frozen=True)
class Start:
    """Go ahead. ``gpu`` is the index of the GPU with the most room; None: no GPU is needed."""

    gpu: int | None = None


@dataclass(frozen=True)
class Refuse:
    """There is too little; memory in MiB. Kind ``gpu``: there is none at all."""

    kind: Literal["VRAM", "RAM", "gpu"]
    need: int
    free: int = 0
    total: int = 0


def admit(need: Need, memory: Memory, headroom: int = 0) -> Start | Refuse:
    """May an app that needs this much start now? ``headroom`` (MiB) stays free on the GPU.

    Unknown GPU memory (``memory.gpus`` None) is no reason to refuse.
    """
    if need.ram and memory.ram_free < need.ram:
        return Refuse("RAM", need.ram, memory.ram_free, memory.ram_total)
    if not need.vram or memory.gpus is None:
        return Start()
    if not memory.gpus:
        return Refuse("gpu", need.vram)
    best = max(memory.gpus, key=lambda gpu: gpu.free)
    free = best.free - headroom
    if free < need.vram:
        return Refuse("VRAM", need.vram, max(free, 0), best.total)
    return Start(best.index)
