"""What runs took, told from readings: a table of courses of events, and what always holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.memory.learning import BASE_SECONDS, FRESH_SECONDS, Learning, Reading, Sample
from onegai.memory.policy import Need, Occupant, Phase
from onegai.memory.probe import Gpu, Memory

CARD = 12000
STARTING, READY, STOPPING = Phase


def memory_with(free: int) -> Memory:
    """What a driver says that does not tell whose memory is whose."""
    return Memory((Gpu(0, "card", CARD, free),), 16000, 8000)


class Machine:
    """A card whose use the test sets, with a clock of its own."""

    def __init__(self, *, tells: bool = False, cards: int = 1) -> None:
        self.now = 100.0
        self.tells = tells
        self.cards = cards
        self.others = 0
        self.has: dict[str, int] = {}
        self.occupants: dict[str, Occupant] = {}
        self.learning = Learning()

    def be(self, app: str, phase: Phase, *, vram: int = 4000, **facts: Any) -> None:
        facts = {"gpu": 0, "used": 0.0, **facts}
        self.occupants[app] = Occupant(app, Need(vram), phase=phase, **facts)

    def start(self, app: str, vram: int = 4000) -> None:
        self.be(app, STARTING, vram=vram)
        self.learning.begin(app, self.now)

    def use(self, app: str) -> None:
        self.be(app, READY, used=self.now)

    def look(self, after: float = 1.0) -> None:
        self.now += after
        free = CARD - self.others - sum(self.has.values())
        pids = dict(enumerate(self.has.values()))
        gpus = [Gpu(0, "card", CARD, free, pids if self.tells else None)]
        gpus += [Gpu(index, "idle card", CARD, CARD) for index in range(1, self.cards)]
        own: Mapping[str, Mapping[int, int]] = {}
        if self.tells:
            own = {app: {0: mib} for app, mib in self.has.items()}
        memory = Memory(tuple(gpus), 16000, 8000)
        self.learning.observe(Reading(self.now, memory, dict(self.occupants), own))

    def stop(self, app: str) -> Sample | None:
        sample = self.learning.end(app)
        del self.occupants[app]
        self.has.pop(app, None)
        return sample

    def run(self, app: str, ready: int, peak: int) -> None:
        """From before its start to after its first call, looking on."""
        self.look()
        self.start(app)
        self.look()
        self.has[app] = ready
        self.be(app, READY)
        self.look()
        self.use(app)
        self.has[app] = peak
        self.look()


@pytest.fixture(params=[True, False], ids=["driver tells", "driver does not tell"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(tells=request.param)


def test_the_rise_to_ready_and_the_peak_of_calls(machine: Machine) -> None:
    machine.others = 1500
    machine.run("chat", 3000, 5000)
    machine.has["chat"] = 3500
    machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 5000)


def test_a_lazy_loader(machine: Machine) -> None:
    machine.run("lazy", 0, 6000)
    assert machine.stop("lazy") == Sample("card", 0, 6000)


def test_two_that_run_one_after_the_other(machine: Machine) -> None:
    machine.run("chat", 3000, 3000)
    machine.run("image", 2000, 4000)
    assert machine.stop("chat") == Sample("card", 3000, 3000)
    assert machine.stop("image") == Sample("card", 2000, 4000)


def test_a_game_that_opens_while_it_is_idle_is_not_its_own(machine: Machine) -> None:
    machine.run("chat", 3000, 4000)
    machine.look(30)
    machine.others = 5000
    machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 4000)


def test_one_that_never_became_ready_teaches_nothing(machine: Machine) -> None:
    machine.look()
    machine.start("chat")
    machine.has["chat"] = 3000
    machine.look()
    assert machine.stop("chat") is None


def test_a_start_while_another_changes_teaches_nothing_where_nobody_can_tell() -> None:
    for tells, sample in ((True, Sample("card", 3000, 3000)), (False, None)):
        machine = Machine(tells=tells)
        machine.run("image", 1000, 1000)
        machine.start("chat")
        machine.use("image")
        machine.has |= {"chat": 3000, "image": 5000}
        machine.look()
        machine.be("chat", READY)
        machine.look()
        assert machine.stop("chat") == sample


def test_a_start_beside_the_end_of_another_teaches_nothing_where_nobody_can_tell() -> None:
    machine = Machine()
    machine.run("image", 5000, 5000)
    machine.start("chat")
    machine.has["chat"] = 3000
    machine.stop("image")
    machine.look()
    machine.be("chat", READY)
    machine.look()
    assert machine.stop("chat") is None


def test_a_start_right_after_the_end_of_another_is_its_own(machine: Machine) -> None:
    machine.run("image", 5000, 5000)
    machine.stop("image")
    machine.look()
    machine.start("chat")
    machine.has["chat"] = 3000
    machine.look(BASE_SECONDS / 2)
    machine.be("chat", READY)
    machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 3000)


def test_calls_at_the_same_time_are_put_down_to_nobody() -> None:
    machine = Machine()
    machine.run("chat", 3000, 3000)
    machine.run("voice", 1000, 1000)
    machine.use("chat")
    machine.use("voice")
    machine.has |= {"chat": 6000, "voice": 2000}
    machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 3000)
    assert machine.stop("voice") == Sample("card", 1000, 1000)


def test_memory_freed_unseen_is_not_counted_twice() -> None:
    machine = Machine()
    machine.run("voice", 1000, 1000)
    machine.run("chat", 3000, 5000)
    for _ in range(5):
        machine.use("chat")
        machine.use("voice")
        machine.has["chat"] = 3000
        machine.look()
        machine.now += 1
        machine.use("chat")
        machine.has["chat"] = 5000
        machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 5000)


def test_a_model_that_is_unloaded_while_nobody_looks_on_is_not_counted_twice() -> None:
    machine = Machine()
    machine.run("lazy", 0, 6000)
    for pause in (5, FRESH_SECONDS * 2):
        for _ in range(5):
            machine.look(pause)
            machine.has["lazy"] = 0
            machine.look(pause)
            machine.use("lazy")
            machine.has["lazy"] = 6000
            machine.look()
    assert machine.stop("lazy") == Sample("card", 0, 6000)


def test_a_model_that_is_unloaded_while_another_is_at_work_is_not_counted_twice() -> None:
    machine = Machine()
    machine.run("lazy", 0, 6000)
    machine.run("chat", 3000, 4000)
    for _ in range(5):
        machine.use("chat")
        machine.has["lazy"] = 0
        machine.look()
        machine.look()
        machine.use("lazy")
        machine.has["lazy"] = 6000
        machine.look()
        machine.look()
    sample = machine.stop("lazy")
    # Chat may have given back what it took in its call, so that much is uncertain.
    assert sample is not None
    assert sample.peak <= 6000 + 1000


def test_who_steps_aside_on_another_card_does_not_explain_what_is_unloaded_here() -> None:
    machine = Machine(cards=2)
    machine.others = 8000
    machine.be("image", READY, gpu=1)
    machine.run("lazy", 0, 3000)
    for _ in range(3):
        machine.be("image", STOPPING, gpu=1)
        machine.has["lazy"] = 0
        machine.look()
        machine.look()
        machine.be("image", READY, gpu=1)
        machine.look()
        machine.use("lazy")
        machine.has["lazy"] = 3000
        machine.look()
    assert machine.stop("lazy") == Sample("card", 0, 3000)


def test_what_one_that_steps_aside_gives_back_is_not_taken_off_the_idle(machine: Machine) -> None:
    machine.run("image", 2000, 4000)
    machine.run("chat", 3000, 3000)
    machine.be("image", STOPPING)
    machine.look()
    machine.stop("image")
    machine.look()
    machine.use("chat")
    machine.has["chat"] = 5000
    machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 5000)


@pytest.mark.parametrize("late", [False, True])
def test_released_memory_that_is_taken_again_is_not_counted_twice(
    machine: Machine, late: bool
) -> None:
    machine.run("voice", 1000, 1000)
    machine.run("chat", 3000, 3000)
    for _ in range(3):
        machine.use("voice")
        machine.be("chat", STOPPING)
        machine.has["chat"] = 3000 if late else 500
        machine.look()
        machine.be("chat", READY, parked=True)
        machine.look()
        machine.has["chat"] = 500
        machine.use("voice")
        machine.look(3)
        machine.be("chat", STARTING)
        machine.has["chat"] = 3000
        machine.look()
        machine.be("chat", READY)
        machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 3000)


def test_a_reading_that_was_overtaken_says_nothing() -> None:
    machine = Machine()
    machine.run("image", 5000, 5000)
    begun, memory = machine.now + 0.1, memory_with(CARD - 5000)
    machine.now += 0.2
    machine.stop("image")
    machine.look(0.1)
    machine.start("chat")
    machine.has["chat"] = 1000
    machine.learning.observe(Reading(begun, memory, dict(machine.occupants)))
    machine.be("chat", READY)
    machine.look()
    assert machine.stop("chat") == Sample("card", 1000, 1000)


def test_those_that_declare_no_vram_are_taken_at_their_word() -> None:
    machine = Machine()
    machine.be("cpu voice", READY, vram=0, gpu=None)
    machine.look()
    machine.start("chat")
    machine.be("cpu voice", READY, vram=0, gpu=None, used=machine.now)
    machine.has["chat"] = 3000
    machine.look()
    machine.be("chat", READY)
    machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 3000)


def test_one_that_declares_none_is_found_out(machine: Machine) -> None:
    machine.look()
    machine.start("sly", vram=0)
    machine.has["sly"] = 2000
    machine.look(BASE_SECONDS / 2)
    machine.be("sly", READY, vram=0, gpu=None)
    machine.look()
    assert machine.stop("sly") == Sample("card", 2000, 2000)


def test_without_a_card_of_its_own_and_two_to_choose_from_nothing_is_known() -> None:
    machine = Machine(cards=2)
    machine.look()
    machine.start("sly", vram=0)
    machine.be("sly", READY, vram=0, gpu=None)
    machine.has["sly"] = 2000
    machine.look()
    assert machine.stop("sly") is None


def test_after_a_long_silence_a_rise_may_be_anybody_s() -> None:
    machine = Machine()
    machine.run("chat", 3000, 3000)
    machine.others = 4000
    machine.use("chat")
    machine.look(FRESH_SECONDS + 1)
    assert machine.stop("chat") == Sample("card", 3000, 3000)


def test_an_unreadable_gpu_between_two_readings_does_no_harm(machine: Machine) -> None:
    machine.run("chat", 3000, 3000)
    machine.now += 1
    occupants = dict(machine.occupants)
    machine.learning.observe(Reading(machine.now, Memory(None, 16000, 8000), occupants))
    machine.look()
    assert machine.stop("chat") == Sample("card", 3000, 3000)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("start ready use grow shrink stop look game unload release reload".split()),
        st.sampled_from("abc"),
        st.integers(0, 3000),
    ),
    max_size=60,
)


@given(EVENTS)
def test_where_the_driver_tells_no_sample_is_more_than_was_ever_had(
    events: list[tuple[str, str, int]],
) -> None:
    machine = Machine(tells=True)
    most: dict[str, int] = {}
    for what, app, mib in events:
        here = machine.occupants.get(app)
        if what == "start" and here is None:
            machine.start(app)
            machine.has[app] = most[app] = mib
        elif what == "look":
            machine.look()
        elif what == "game":
            machine.others = mib
        elif here is not None and what == "ready":
            machine.be(app, READY)
        elif here is not None and what == "use" and here.phase is READY:
            machine.use(app)
        elif here is not None and what in ("grow", "shrink"):
            machine.has[app] = mib
            most[app] = max(most[app], mib)
        elif here is not None and what == "stop":
            sample = machine.stop(app)
            assert sample is None or 0 <= sample.ready <= sample.peak <= most[app]


@given(EVENTS)
def test_where_nobody_can_tell_no_sample_is_more_than_all_there_was(
    events: list[tuple[str, str, int]],
) -> None:
    """Looked at after every event, and without a game: then only one can have changed."""
    machine = Machine()
    machine.look()
    most: dict[str, int] = {}
    for what, app, mib in events:
        here = machine.occupants.get(app)
        if what == "start" and here is None:
            machine.start(app)
            machine.has[app] = most[app] = mib
        elif here is not None and what == "ready":
            machine.be(app, READY)
        elif (
            here is not None
            and what in ("grow", "shrink")
            and here.phase is READY
            and not here.parked
        ):
            machine.use(app)
            machine.has[app] = mib
            most[app] = max(most[app], mib)
        elif here is not None and what == "unload":
            machine.has[app] = min(machine.has[app], mib)
        elif here is not None and what == "release" and here.phase is READY:
            machine.be(app, READY, parked=True)
            machine.has[app] = min(machine.has[app], mib)
        elif here is not None and what == "reload" and here.parked:
            machine.be(app, READY)
            machine.has[app] = mib
            most[app] = max(most[app], mib)
        elif here is not None and what == "stop":
            sample = machine.stop(app)
            assert sample is None or 0 <= sample.ready <= sample.peak <= most[app]
        machine.look()
