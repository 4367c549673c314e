"""Decisions about memory: a table of cases, and what holds for every course of events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.memory.deadlock import deadlocked
from onegai.memory.policy import (
    Decision,
    Evict,
    Need,
    Occupant,
    Phase,
    Refuse,
    Start,
    Target,
    Wait,
    decide,
)
from onegai.memory.probe import Gpu, Memory

CARD = 12000
STARTING, READY, STOPPING = Phase


def memory(*free: int, ram: int = 8000) -> Memory:
    """Cards of 12000 MiB with this much free."""
    gpus = tuple(Gpu(index, "gpu", CARD, amount) for index, amount in enumerate(free))
    return Memory(gpus, 16000, ram)


def target(vram: int = 0, ram: int = 0, **facts: object) -> Target:
    return Target("new", Need(vram, ram), **facts)


def held(app: str, vram: int, phase: Phase = READY, *, gpu: int = 0, **facts: object) -> Occupant:
    return Occupant(app, Need(vram), gpu, phase=phase, **facts)


UNKNOWN = replace(memory(), gpus=None)

ALONE: list[tuple[Target, Memory, int, Decision]] = [
    (target(), memory(), 0, Start()),
    (target(), UNKNOWN, 0, Start()),
    (target(), memory(0, ram=0), 500, Start()),
    (target(4000), memory(4000), 0, Start(0)),
    (target(4000), memory(3999), 0, Refuse("others", "VRAM", 4000, 3999, CARD)),
    (target(4000), memory(4000), 1, Refuse("others", "VRAM", 4000, 3999, CARD)),
    (target(4000), memory(4500), 500, Start(0)),
    (target(4000), memory(5000, 9000, 7000), 0, Start(1)),
    (target(4000, gpus=(2,)), memory(5000, 9000, 7000), 0, Start(2)),
    (target(4000, gpus=(0, 2)), memory(5000, 9000, 7000), 0, Start(2)),
    (target(4000, gpus=(7,)), memory(5000, 9000, 7000), 0, Start(1)),
    (target(6000), memory(5000, 5000), 0, Refuse("others", "VRAM", 6000, 5000, CARD)),
    (target(4000), memory(), 0, Refuse("gpu", need=4000)),
    (target(4000), UNKNOWN, 0, Start()),
    (target(12001), memory(12000), 0, Refuse("large", "VRAM", 12001, 12000, CARD)),
    (target(11800), memory(12000), 500, Refuse("large", "VRAM", 11800, 12000, CARD)),
    (target(4000, learnt={0: 15000}), memory(12000), 0, Start(0)),
    (target(4000, learnt={0: 15000}), memory(5000), 0, Start(0)),
    (target(4000, learnt={0: 15000}), memory(3000), 0, Refuse("others", "VRAM", 4000, 3000, CARD)),
    (target(4000, learnt={0: 8000}), memory(7000, 6000), 0, Start(1)),
    (target(0, learnt={0: 8000}), memory(0), 0, Start()),
    (target(0, 8000), memory(), 0, Start()),
    (target(0, 8001), memory(9000), 0, Refuse("others", "RAM", 8001, 8000, 16000)),
    (target(0, 16001), memory(9000), 0, Refuse("large", "RAM", 16001, 8000, 16000)),
    (target(4000, 8001), memory(9000), 0, Refuse("others", "RAM", 8001, 8000, 16000)),
]


@pytest.mark.parametrize(("wanted", "seen", "headroom", "decision"), ALONE)
def test_nothing_else_runs(wanted: Target, seen: Memory, headroom: int, decision: Decision) -> None:
    assert decide(wanted, [], seen, headroom) == decision


BESIDE: dict[str, tuple[Target, list[Occupant], Memory, Decision]] = {
    "lazy loader: ready at 0, counts in full": (
        target(8000),
        [held("lazy", 8000, leased=True)],
        memory(12000),
        Wait(busy=("lazy",), gpu=0),
    ),
    "least recently used goes": (
        target(8000),
        [held("old", 6000, used=1), held("young", 6000, used=2)],
        memory(0),
        Evict(("old", "young"), gpu=0),
    ),
    "no more than needed": (
        target(4000),
        [held("old", 6000, used=1), held("young", 6000, used=2)],
        memory(0),
        Evict(("old",), gpu=0),
    ),
    "an older one that does not help stays": (
        target(8000),
        [held("old", 2000, used=1), held("big", 8000, used=2)],
        memory(2000),
        Evict(("big",), gpu=0),
    ),
    "release is enough": (
        target(8000),
        [held("image", 8000, used=1, can_release=True)],
        memory(4000),
        Evict(("image",), release=True, gpu=0),
    ),
    "release is not enough": (
        target(8000),
        [held("image", 6000, used=2, can_release=True), held("chat", 6000, used=1)],
        memory(0),
        Evict(("chat", "image"), gpu=0),
    ),
    "a parked one counts for nothing": (
        target(8000),
        [held("image", 8000, parked=True)],
        memory(11000),
        Start(0),
    ),
    "a parked one that kept its memory is stopped": (
        target(8000),
        [held("image", 8000, parked=True)],
        memory(4000),
        Evict(("image",), gpu=0),
    ),
    "calls in flight are waited for": (
        target(8000),
        [held("chat", 7000, leased=True), held("voice", 2000, keep=True)],
        memory(3000),
        Wait(busy=("chat",), gpu=0),
    ),
    "idle ones go only with the busy one that is needed, too": (
        target(11000),
        [held("chat", 7000, leased=True), held("image", 4000)],
        memory(1000),
        Wait(busy=("chat",), idle=("image",), gpu=0),
    ),
    "only those that are needed are waited for": (
        target(6000),
        [held("chat", 7000, leased=True, used=1), held("small", 1000, leased=True, used=2)],
        memory(4000),
        Wait(busy=("chat",), gpu=0),
    ),
    "kept services are in the way": (
        target(11000),
        [held("voice", 2000, keep=True)],
        memory(10000),
        Refuse("kept", "VRAM", 11000, 10000, CARD, ("voice",)),
    ),
    "a game has the memory": (
        target(8000),
        [held("voice", 2000, keep=True)],
        memory(4000),
        Refuse("others", "VRAM", 8000, 4000, CARD),
    ),
    "the waiting call holds what is in the way": (
        target(8000, holding=frozenset({"chat"})),
        [held("chat", 7000, leased=True)],
        memory(5000),
        Refuse("held", need=8000, apps=("chat",)),
    ),
    "one that stops gives its room soon": (
        target(8000),
        [held("chat", 7000, STOPPING), held("image", 4000)],
        memory(1000),
        Wait(changing=("chat",), gpu=0, room=True),
    ),
    "one that stops is not waited for when there is room": (
        target(4000),
        [held("chat", 7000, STOPPING)],
        memory(5000),
        Start(0),
    ),
    "cold starts come one after another": (
        target(4000),
        [held("chat", 4000, STARTING)],
        memory(12000),
        Wait(changing=("chat",), gpu=0, room=True),
    ),
    "… on one card": (
        target(4000),
        [held("chat", 4000, STARTING)],
        memory(12000, 6000),
        Start(1),
    ),
    "a turn on a card with room rather than an eviction on another": (
        target(4000),
        [held("chat", 4000, STARTING), held("image", 8000, gpu=1)],
        memory(12000, 3000),
        Wait(changing=("chat",), gpu=0, room=True),
    ),
    "one that starts can be evicted later": (
        target(8000),
        [held("chat", 8000, STARTING)],
        memory(12000),
        Wait(changing=("chat",), gpu=0),
    ),
    "one that starts and is kept cannot": (
        target(8000),
        [held("voice", 8000, STARTING, keep=True)],
        memory(12000),
        Refuse("kept", "VRAM", 8000, 4000, CARD, ("voice",)),
    ),
    "what a kept one has loaded at its start, it does not need twice": (
        target(9000),
        [held("voice", 2000, STARTING, keep=True), held("chat", 7000)],
        memory(3000),
        Wait(changing=("voice",), gpu=0),
    ),
    "what a start reserves is not free": (
        target(4000),
        [held("chat", 8000, STARTING), held("voice", 2000, keep=True)],
        memory(10000),
        Wait(changing=("chat",), gpu=0),
    ),
    "the card with the fewest evictions": (
        target(8000),
        [held("a", 4000, used=1), held("b", 4000, used=2), held("c", 8000, gpu=1, used=3)],
        memory(4000, 4000),
        Evict(("a",), gpu=0),
    ),
    "an idle card's service rather than a busy one": (
        target(8000),
        [held("a", 8000, leased=True), held("b", 8000, gpu=1)],
        memory(4000, 4000),
        Evict(("b",), gpu=1),
    ),
    "one that started while the GPUs could not be read counts wherever it may be": (
        target(8000),
        [Occupant("chat", Need(7000))],
        memory(5000),
        Evict(("chat",), gpu=0),
    ),
    "its port's idle holder goes": (
        target(port=7860),
        [Occupant("forge", Need(), port=7860)],
        memory(),
        Evict(("forge",)),
    ),
    "its port's busy holder is waited for": (
        target(port=7860),
        [Occupant("forge", Need(), port=7860, leased=True)],
        memory(),
        Wait(busy=("forge",)),
    ),
    "its port's kept holder is not": (
        target(port=7860),
        [Occupant("forge", Need(), port=7860, keep=True)],
        memory(),
        Refuse("port", apps=("forge",)),
    ),
    "RAM is made room in, too": (
        target(0, 6000),
        [Occupant("big", Need(0, 5000)), Occupant("other", Need(4000, 0), 0)],
        memory(8000, ram=2000),
        Evict(("big",)),
    ),
    "RAM that an app declares is kept free for it": (
        target(0, 6000),
        [Occupant("lazy", Need(0, 11000))],
        memory(ram=16000),
        Evict(("lazy",)),
    ),
    "a parked one still has its RAM": (
        target(0, 6000),
        [Occupant("parked", Need(4000, 11000), 0, parked=True)],
        memory(8000, ram=16000),
        Evict(("parked",)),
    ),
    "an app with keep has the RAM": (
        target(0, 6000),
        [Occupant("voice", Need(0, 11000), keep=True)],
        memory(ram=16000),
        Refuse("kept", "RAM", 6000, 5000, 16000, ("voice",)),
    ),
    "other programs have the RAM": (
        target(0, 6000),
        [Occupant("voice", Need(0, 1000), keep=True)],
        memory(ram=2000),
        Refuse("others", "RAM", 6000, 2000, 16000),
    ),
    "what recent runs took counts, of the one that comes": (
        target(4000, learnt={0: 8000}),
        [held("image", 5000)],
        memory(7000),
        Evict(("image",), gpu=0),
    ),
    "… and of those that run": (
        target(4000),
        [held("lazy", 2000, learnt=9000)],
        memory(10000),
        Evict(("lazy",), gpu=0),
    ),
    "… on the card where they took it": (
        target(4000, learnt={0: 9000, 1: 5000}),
        [held("a", 4000, leased=True), held("b", 4000, gpu=1, leased=True)],
        memory(8000, 8000),
        Start(1),
    ),
    "… unless it would end in a refusal": (
        target(4000, learnt={0: 11000}),
        [held("voice", 2000, keep=True)],
        memory(10000),
        Start(0),
    ),
    "more than there can be asks for all there can be": (
        target(4000, learnt={0: 11800}),
        [held("chat", 7000)],
        memory(4400),
        Evict(("chat",), gpu=0),
    ),
    "… also of the busy": (
        target(4000, learnt={0: 11800}),
        [held("chat", 7000, leased=True)],
        memory(4400),
        Wait(busy=("chat",), gpu=0),
    ),
    "… and starts once all has gone that can": (
        target(4000, learnt={0: 11800}),
        [held("voice", 1000, keep=True)],
        memory(10400),
        Start(0),
    ),
    "… of others, too": (
        target(4000),
        [held("voice", 2000, keep=True, learnt=9000)],
        memory(10000),
        Start(0),
    ),
    "a refusal has the declared figure": (
        target(4000, learnt={0: 8000}),
        [],
        memory(3000),
        Refuse("others", "VRAM", 4000, 3000, CARD),
    ),
    "nothing declared is never checked, whatever it took": (
        target(8000),
        [held("sly", 0, leased=True, learnt=9000)],
        memory(12000),
        Start(0),
    ),
    "itself is not in its own way": (
        target(8000, gpus=(0,)),
        [held("new", 8000, parked=True)],
        memory(11000),
        Start(0),
    ),
}


@pytest.mark.parametrize("case", BESIDE)
def test_others_run(case: str) -> None:
    wanted, occupants, seen, decision = BESIDE[case]
    assert decide(wanted, occupants, seen) == decision


def test_a_card_that_an_earlier_one_waits_for_is_left_alone() -> None:
    assert decide(target(4000), [], memory(12000, 6000), claimed={0}) == Start(1)
    assert decide(target(4000), [], memory(12000), claimed={0}) == Wait(gpu=0)
    assert decide(target(0, 100), [], memory(), claimed={None}) == Wait()


def test_two_calls_that_hold_what_the_other_waits_for() -> None:
    x, y = held("x", 6000, leased=True), held("y", 6000, leased=True)

    def waits(app: str, vram: int, holding: str) -> Target:
        return Target(app, Need(vram), holding=frozenset(holding.split()))

    first, second = waits("z", 6000, "x"), waits("w", 6000, "y")
    assert deadlocked([first, second], [x, y], memory(0)) == second
    assert deadlocked([first], [x, y], memory(0)) is None
    assert deadlocked([waits("z", 6000, ""), waits("w", 6000, "")], [x, y], memory(0)) is None
    assert deadlocked([first, waits("w", 6000, "x")], [x, y], memory(0)) is None
    # One that no wait would help is no deadlock.
    assert deadlocked([waits("z", 13000, "x")], [x, y], memory(0)) is None


def test_one_that_a_game_keeps_out_is_refused_and_lets_go() -> None:
    occupants = [held("x", 3000, leased=True), held("y", 3000, leased=True)]
    patient = Target("z", Need(4000), holding=frozenset({"x"}))
    hopeless = Target("w", Need(8000), holding=frozenset({"y"}))
    assert deadlocked([patient, hopeless], occupants, memory(1000)) is None
    smaller = Target("w", Need(4000), holding=frozenset({"y"}))
    assert deadlocked([patient, smaller], occupants, memory(1000)) == smaller


def test_two_that_are_being_stopped_and_hold_each_other() -> None:
    """What the last life of one has is free when that ends: so it is not refused, but waits."""
    occupants = [
        held("chat", 7000, STOPPING, leased=True),
        held("voice", 2000, STOPPING, leased=True),
    ]
    voice = Target("voice", Need(2000), holding=frozenset({"chat"}))
    chat = Target("chat", Need(7000), holding=frozenset({"voice"}))
    assert deadlocked([voice, chat], occupants, memory(3000)) == chat
    assert deadlocked([voice], occupants, memory(3000)) is None


def test_one_that_waits_by_what_is_declared_is_no_way_out_of_a_deadlock() -> None:
    """By what was learnt it would be refused, which it must not be: so it waits, and holds on."""
    occupants = [
        held("voice", 3000, keep=True),
        held("x", 4000, leased=True),
        held("y", 4000, leased=True),
    ]
    first = Target("z", Need(5000), holding=frozenset({"x"}), learnt={0: 10000})
    second = Target("w", Need(5000), holding=frozenset({"y"}))
    assert decide(first, occupants, memory(1000)) == Wait(busy=("y",), gpu=0)
    assert decide(second, occupants, memory(1000)) == Wait(busy=("x",), gpu=0)
    assert deadlocked([first, second], occupants, memory(1000)) == second
    # The other one lets go of what it holds once it is served, by what is declared.
    alone = replace(second, need=Need(1000))
    assert deadlocked([first, alone], occupants, memory(1000)) is None


def test_who_takes_more_than_it_declares_is_not_taken_for_other_programs() -> None:
    """Both use what was learnt; only what is declared counts against the target."""
    used = [
        held("chat", 2000, learnt=6000),
        held("voice", 1000, keep=True, learnt=5000),
    ]
    refused = decide(Target("paint", Need(8000)), used, memory(1000))
    assert isinstance(refused, Refuse)
    assert (refused.why, refused.apps) == ("kept", ("voice",))


APPS = "abcdef"


@dataclass
class World:
    """A machine that does what is decided, with every event in an order of hypothesis's choice."""

    needs: dict[str, tuple[int, bool, bool, int]]
    """Per app: VRAM, keep, can release, VRAM that its recent runs took."""
    cards: tuple[int, ...]
    occupants: dict[str, Occupant] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    clock: int = 0

    def memory(self) -> Memory:
        """Everybody uses half of what they count for: declarations must suffice."""
        gpus = []
        for index, total in enumerate(self.cards):
            used = sum(one.vram // 2 for one in self.occupants.values() if one.gpu == index)
            gpus.append(Gpu(index, "gpu", total, total - used))
        return Memory(tuple(gpus), 16000, 8000)

    def call(self, app: str) -> None:
        one = self.occupants.get(app)
        free = one is not None and one.phase is READY and not one.parked
        if free and app not in self.paused:
            self._change(app, leases=1)
        else:
            self.waiting[app] = self.waiting.get(app, 0) + 1
            self._ask()

    def _ask(self) -> None:
        """Whoever is waited for, and is at rest or parked, asks to start."""
        for app in self.waiting:
            one = self.occupants.get(app)
            if app not in self.queue and (one is None or one.parked):
                self.queue.append(app)

    def _change(
        self, app: str, *, leases: int = 0, phase: Phase | None = None, parked: bool = False
    ) -> None:
        self.clock += 1
        self.leases[app] = self.leases.get(app, 0) + leases
        one = self.occupants[app]
        self.occupants[app] = replace(
            one,
            leased=self.leases[app] > 0,
            used=self.clock if leases else one.used,
            phase=phase or one.phase,
            parked=one.parked or parked,
            can_release=self.needs[app][2] and not (one.parked or parked),
        )

    def settle(self) -> None:
        """Decide for every one that waits, in order, until nothing follows from it any more."""
        self.paused = set()
        claimed: set[int | None] = set()
        for app in self.queue.copy():
            vram, keep, _, took = self.needs[app]
            learnt = dict.fromkeys(range(len(self.cards)), took)
            parked = self.occupants.get(app)
            pinned = (parked.gpu,) if parked and parked.gpu is not None else ()
            wanted = Target(app, Need(vram), gpus=pinned, learnt=learnt)
            decision = decide(wanted, list(self.occupants.values()), self.memory(), 0, claimed)
            match decision:
                case Start(gpu):
                    self.queue.remove(app)
                    self.occupants[app] = Occupant(
                        app,
                        Need(vram),
                        gpu,
                        phase=STARTING,
                        keep=keep,
                        used=self.clock,
                        learnt=took,
                    )
                case Evict(apps, release, gpu):
                    claimed.add(gpu)
                    for victim in apps:
                        one = self.occupants[victim]
                        assert not one.leased
                        assert not one.keep
                        assert not release or one.can_release
                        self._change(victim, phase=None if release else STOPPING, parked=release)
                case Wait(busy, changing, idle, gpu):
                    claimed.add(gpu)
                    assert busy or changing or gpu in claimed
                    self.paused |= {*busy, *idle}
                case Refuse(why):
                    # There is nobody else on this machine, so it is never somebody else's fault,
                    # unless a kept one takes more than it declares.
                    assert why in ("large", "kept") or any(
                        one.keep and one.learnt > one.need.vram for one in self.occupants.values()
                    )
                    self.queue.remove(app)
                    self.refused.append(app)
                    self.waiting.pop(app, None)
            self.check()

    def check(self) -> None:
        for index, total in enumerate(self.cards):
            here = [one for one in self.occupants.values() if one.gpu == index]
            declared = sum(one.as_declared().vram for one in here)
            assert declared <= total, "over-committed"

    def happen(self, app: str) -> bool:
        """The next thing in the app's life; False: nothing is under way."""
        one = self.occupants.get(app)
        if one is None:
            return False
        if one.phase is STARTING:
            self._change(app, phase=READY)
            self._change(app, leases=self.waiting.pop(app, 0))
        elif one.phase is STOPPING:
            del self.occupants[app]
        elif self.leases.get(app, 0):
            self._change(app, leases=-1)
        elif not one.parked and self.waiting.get(app) and app not in self.paused:
            self._change(app, leases=self.waiting.pop(app))
        else:
            return False
        self._ask()
        return True


NEEDS = st.fixed_dictionaries(
    {
        app: st.tuples(
            st.integers(1, 12000),
            st.sampled_from([False, False, False, True]),
            st.booleans(),
            st.one_of(st.just(0), st.integers(0, 14000)),
        )
        for app in APPS
    }
)
CARDS = st.lists(st.sampled_from([8000, 12000, 24000]), min_size=1, max_size=2).map(tuple)
STEPS = st.lists(st.tuples(st.sampled_from(["call", "happen"]), st.sampled_from(APPS)), max_size=60)


@given(NEEDS, CARDS, STEPS)
def test_never_too_much_never_the_wrong_one_and_always_an_end(
    needs: dict[str, tuple[int, bool, bool, int]],
    cards: tuple[int, ...],
    steps: list[tuple[str, str]],
) -> None:
    world = World(needs, cards)
    for step, app in steps:
        if step == "call":
            world.call(app)
        else:
            world.happen(app)
        world.settle()
    for _ in range(1000):
        happened = [world.happen(app) for app in APPS]
        if not any(happened) and not world.queue:
            break
        world.settle()
    assert world.queue == []
    assert world.waiting == {}


@given(NEEDS, STEPS, st.sampled_from(APPS))
def test_nobody_starves(
    needs: dict[str, tuple[int, bool, bool, int]], steps: list[tuple[str, str]], patient: str
) -> None:
    """One waits while all the others are called again and again."""
    world = World(
        {app: (min(need, 6001), False, r, took) for app, (need, _, r, took) in needs.items()},
        (8000,),
    )
    for step, app in steps:
        world.call(app) if step == "call" else world.happen(app)
        world.settle()
    world.call(patient)
    for round_ in range(200):
        world.settle()
        if patient not in world.waiting:
            break
        for app in APPS:
            if app != patient and round_ % 2:
                world.call(app)
            world.happen(app)
    assert patient not in world.waiting


HOLDERS = st.lists(
    st.tuples(
        st.integers(1, 9000),
        st.one_of(st.just(0), st.integers(0, 12000)),
        st.integers(500, 6000),
        st.one_of(st.just(0), st.integers(0, 9000)),
    ),
    min_size=2,
    max_size=4,
)


@given(HOLDERS, st.integers(0, 5000), st.integers(0, 4000))
def test_those_who_only_wait_for_each_other_are_found(
    holders: list[tuple[int, int, int, int]], kept: int, others: int
) -> None:
    """Per waiting call: what it wants, and what it holds, each declared and learnt."""
    occupants = [held("voice", kept, keep=True)]
    waiting = []
    for index, (want, wanted, has, had) in enumerate(holders):
        occupants.append(held(f"h{index}", has, leased=True, learnt=had))
        holding = frozenset({f"h{index}"})
        waiting.append(Target(f"w{index}", Need(want), holding=holding, learnt={0: wanted}))
    used = sum(one.need.vram for one in occupants) + others
    seen = memory(max(CARD - used, 0))
    decisions = [decide(one, occupants, seen) for one in waiting]
    if all(isinstance(decision, Wait) for decision in decisions):
        assert deadlocked(waiting, occupants, seen) is not None


SIZES = st.integers(0, 30_000)
OCCUPANTS = st.lists(
    st.builds(
        Occupant,
        app=st.sampled_from(APPS),
        need=st.builds(Need, SIZES, st.just(0)),
        gpu=st.sampled_from([0, 1]),
        phase=st.sampled_from(Phase),
        parked=st.booleans(),
        leased=st.booleans(),
        keep=st.booleans(),
        used=st.integers(0, 5),
        can_release=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.app,
)
FREE = st.lists(st.integers(0, CARD), min_size=1, max_size=2)


def fits(wanted: Target, occupants: Iterable[Occupant], seen: Memory, gpu: int) -> bool:
    """The admission formula of DESIGN §9, written once more."""
    assert seen.gpus is not None
    here = [one for one in occupants if one.gpu == gpu]
    starting = sum(one.vram for one in here if one.phase is STARTING)
    running = sum(one.vram for one in here)
    card = seen.gpus[gpu]
    return wanted.need.vram <= min(card.free - starting, card.total - running)


@given(st.integers(1, 13000), OCCUPANTS, FREE)
def test_a_start_keeps_the_formula(vram: int, occupants: list[Occupant], free: list[int]) -> None:
    wanted, seen = target(vram), memory(*free)
    decision = decide(wanted, occupants, seen)
    could = [gpu for gpu in range(len(free)) if fits(wanted, occupants, seen, gpu)]
    if isinstance(decision, Start):
        assert decision.gpu in could
    elif not isinstance(decision, Wait):
        assert not could
    if isinstance(decision, Evict):
        named = {one.app: one for one in occupants}
        assert all(not named[app].leased and not named[app].keep for app in decision.apps)
        assert len(decision.apps) > 0


@given(st.integers(1, 9000), st.integers(0, 15000), OCCUPANTS, FREE)
def test_what_was_learnt_is_given_all_that_can_be(
    vram: int, learnt: int, occupants: list[Occupant], free: list[int]
) -> None:
    """Nobody who could make way stays beside one that may need the room."""
    seen = memory(*free)
    decision = decide(target(vram, learnt=dict.fromkeys(range(2), learnt)), occupants, seen)
    if isinstance(decision, Start) and decision.gpu is not None:
        here = [one for one in occupants if one.gpu == decision.gpu]
        idle = any(not one.keep and one.vram and one.phase is READY for one in here)
        assert not idle or fits(target(max(vram, learnt)), occupants, seen, decision.gpu)


@given(st.integers(1, 13000), OCCUPANTS, FREE)
def test_an_eviction_has_nobody_too_many(
    vram: int, occupants: list[Occupant], free: list[int]
) -> None:
    decision = decide(target(vram), occupants, memory(*free))
    if isinstance(decision, Evict) and not decision.release:
        for spared in decision.apps:
            kept = [replace(one, keep=one.keep or one.app == spared) for one in occupants]
            without = decide(target(vram), kept, memory(*free))
            if isinstance(without, Evict) and not without.release and without.gpu == decision.gpu:
                assert not set(without.apps) < set(decision.apps)


@given(SIZES, OCCUPANTS, FREE)
def test_a_refusal_is_true(vram: int, occupants: list[Occupant], free: list[int]) -> None:
    decision = decide(target(vram), occupants, memory(*free))
    if isinstance(decision, Refuse):
        assert decision.need == vram
        assert decision.why == "large" or 0 <= decision.free < decision.need


@given(OCCUPANTS, FREE)
def test_nothing_declared_is_never_checked(occupants: list[Occupant], free: list[int]) -> None:
    assert decide(target(), occupants, memory(*free)) == Start()
