"""Admission: a table of cases, and what holds for all of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.policy import Need, Refuse, Start, admit
from onegai.resources import Gpu, Memory


def memory(*free: int, total: int = 12000, ram: int = 8000) -> Memory:
    """GPUs with this much free memory."""
    gpus = tuple(Gpu(index, "gpu", max(total, amount), amount) for index, amount in enumerate(free))
    return Memory(gpus, 16000, ram)


UNKNOWN = replace(memory(), gpus=None)


@pytest.mark.parametrize(
    ("need", "seen", "headroom", "decision"),
    [
        (Need(0, 0), memory(), 0, Start()),
        (Need(0, 0), UNKNOWN, 0, Start()),
        (Need(0, 0), memory(0, ram=0), 500, Start()),
        (Need(4000, 0), memory(4000), 0, Start(0)),
        (Need(4000, 0), memory(3999), 0, Refuse("VRAM", 4000, 3999, 12000)),
        (Need(4000, 0), memory(4000), 1, Refuse("VRAM", 4000, 3999, 12000)),
        (Need(4000, 0), memory(4500), 500, Start(0)),
        (Need(4000, 0), memory(100), 500, Refuse("VRAM", 4000, 0, 12000)),
        (Need(4000, 0), memory(5000, 9000, 7000), 0, Start(1)),
        (Need(4000, 0), memory(3000, 2000), 0, Refuse("VRAM", 4000, 3000, 12000)),
        (Need(6000, 0), memory(5000, 5000), 0, Refuse("VRAM", 6000, 5000, 12000)),
        (Need(4000, 0), memory(), 0, Refuse("gpu", 4000)),
        (Need(4000, 0), UNKNOWN, 0, Start()),
        (Need(0, 8000), memory(), 0, Start()),
        (Need(0, 8001), memory(9000), 0, Refuse("RAM", 8001, 8000, 16000)),
        (Need(4000, 8001), memory(9000), 0, Refuse("RAM", 8001, 8000, 16000)),
        (Need(0, 8000), memory(), 5000, Start()),
    ],
)
def test_table(need: Need, seen: Memory, headroom: int, decision: Start | Refuse) -> None:
    assert admit(need, seen, headroom) == decision


SIZES = st.integers(0, 100_000)
NEEDS = st.builds(Need, SIZES, SIZES)
GPUS = st.lists(st.tuples(SIZES, SIZES).map(sorted), max_size=4).map(
    lambda pairs: tuple(Gpu(index, "gpu", total, free) for index, (free, total) in enumerate(pairs))
)
MEMORIES = st.builds(Memory, st.none() | GPUS, SIZES, SIZES)


@given(NEEDS, MEMORIES, SIZES)
def test_a_start_on_a_gpu_has_room_there(need: Need, seen: Memory, headroom: int) -> None:
    decision = admit(need, seen, headroom)
    if isinstance(decision, Start) and decision.gpu is not None:
        assert seen.gpus is not None
        assert seen.gpus[decision.gpu].free - headroom >= need.vram > 0
        assert seen.gpus[decision.gpu].free == max(gpu.free for gpu in seen.gpus)


@given(NEEDS, MEMORIES, SIZES)
def test_a_refusal_is_true(need: Need, seen: Memory, headroom: int) -> None:
    decision = admit(need, seen, headroom)
    if isinstance(decision, Refuse):
        assert decision.need == (need.ram if decision.kind == "RAM" else need.vram)
        assert 0 <= decision.free < decision.need
        assert (decision.kind == "gpu") <= (seen.gpus == ())


@given(NEEDS, MEMORIES, SIZES, SIZES)
def test_more_free_memory_never_turns_a_start_into_a_refusal(
    need: Need, seen: Memory, headroom: int, more: int
) -> None:
    if isinstance(admit(need, seen, headroom), Start):
        gpus = seen.gpus and tuple(replace(gpu, free=gpu.free + more) for gpu in seen.gpus)
        roomier = replace(seen, gpus=gpus, ram_free=seen.ram_free + more)
        assert isinstance(admit(need, roomier, headroom), Start)


@given(NEEDS, MEMORIES, SIZES, SIZES)
def test_less_need_is_never_refused_instead(
    need: Need, seen: Memory, headroom: int, less: int
) -> None:
    if isinstance(admit(need, seen, headroom), Start):
        smaller = Need(max(need.vram - less, 0), max(need.ram - less, 0))
        assert isinstance(admit(smaller, seen, headroom), Start)


@given(MEMORIES, SIZES)
def test_nothing_declared_is_never_checked(seen: Memory, headroom: int) -> None:
    assert admit(Need(0, 0), seen, headroom) == Start()
