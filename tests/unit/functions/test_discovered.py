"""What an app tells of itself: asked at its start, kept, and asked again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.errors import UnknownFunction, Unreachable
from onegai.functions.described import Described
from onegai.functions.discovered import Again, Discovered, Untold
from onegai.functions.function import Function
from onegai.functions.functions import Functions
from onegai.functions.source import Look
from onegai.handles.handle import AsyncHandle


class Told:
    """An app that tells the names of its functions."""

    type = "webapi"

    def __init__(self) -> None:
        self.names: list[str] = ["speak"]
        self.fails: Exception | None = None
        self.asked = 0
        self.made = 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def lists(self, spec: AppSpec, *, func_file: bool) -> bool:
        return not func_file

    async def ask(self, spec: AppSpec, app: AsyncHandle) -> dict[str, Any]:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        if self.meanwhile is not None:
            await self.meanwhile()
        return {"names": self.names}

    def functions(
        self, spec: AppSpec, document: Mapping[str, Any], again: Again
    ) -> dict[str, Function]:
        self.made += 1
        if "broken" in document["names"]:
            raise Untold("it says nothing", "mend it")

        async def run(arguments: Any) -> Any:
            return await again()

        takes = Described({"type": "object"})
        return {
            name: Function(spec.app, name, "", "other", takes, run, "loop")
            for name in document["names"]
        }


class Around:
    """The surroundings of requests to an app that runs, or does not."""

    def __init__(self) -> None:
        self.granted: dict[str, str] = {}
        self.pinned: dict[str, Any] = {}
        self.runs = False
        self.most_read = float("inf")
        self.starts = 0

    def __call__(self, spec: AppSpec, seconds: float) -> Any:
        return self

    def whole_call(self) -> Any:
        return nullcontext()

    def take(self, app: str) -> Any:
        return object() if self.runs else None

    async def lease(self, app: str) -> Any:
        self.starts += 1
        self.runs = True
        return object()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "func").mkdir()
    entry = {"type": "webapi", "port": 1, "exec": "x"}
    (tmp_path / "services.json").write_text(json.dumps({"a": entry}))
    return Home(tmp_path)


class World:
    """A source over an app, as an engine has it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.kind = Told()
        self.around = Around()
        self.current = Current(home, Settings(password="x"))
        self.source = Discovered(self.current, self.kind, self.around)

    @property
    def spec(self) -> AppSpec:
        return self.current.catalog.specs["a"]

    @property
    def names(self) -> list[str]:
        return list(self.source.last(self.spec).functions)

    async def look(self, *, start: bool = False, url: str = "") -> list[str]:
        found = await self.source.refresh(self.spec, Look(self.around, start, url))
        return list(found.functions)


async def test_it_is_asked_where_it_runs_and_kept_for_the_next_time(home: Home) -> None:
    world = World(home)
    assert await world.look() == []
    assert world.kind.asked == 0
    assert "bash run.sh start a" in world.source.last(world.spec).unknown
    assert world.source.last(world.spec).problem is None
    world.around.runs = True
    assert await world.look() == ["speak"]
    assert world.source.last(world.spec) is world.source.last(world.spec)
    again = World(home)
    assert again.names == ["speak"]
    assert again.kind.asked == 0


async def test_it_is_started_for_a_call_only_where_nothing_is_known(home: Home) -> None:
    world = World(home)
    assert await world.look(start=True) == ["speak"]
    assert world.around.starts == 1
    world.around.runs = False
    assert await world.look(start=True) == ["speak"]
    assert (world.around.starts, world.kind.asked) == (1, 1)


async def test_its_start_asks_before_it_is_ready(home: Home) -> None:
    world = World(home)
    assert await world.look(url="http://127.0.0.1:1") == ["speak"]
    assert world.around.granted == {"a": "http://127.0.0.1:1"}
    assert world.around.starts == 0


async def test_only_what_has_changed_is_made_anew(home: Home) -> None:
    world = World(home)
    world.around.runs = True
    await world.look()
    first = world.source.last(world.spec)
    await world.look()
    assert world.source.last(world.spec) is first
    assert (world.kind.asked, world.kind.made) == (2, 1)
    again = first.functions["speak"].run
    assert await again({}) is False
    world.kind.names = ["sing"]
    assert await again({}) is True
    assert world.names == ["sing"]


@pytest.mark.parametrize(
    "fails",
    [Untold("it is mute", "speak"), Unreachable(app="a", reason="gone", do=""), KeyError("x")],
)
async def test_what_goes_wrong_is_a_remark_and_nothing_is_lost(
    home: Home, fails: Exception
) -> None:
    world = World(home)
    world.around.runs = True
    world.kind.fails = fails
    assert await world.look() == []
    problem = world.source.last(world.spec).problem
    assert problem is not None
    assert problem.remark
    world.kind.fails = None
    assert await world.look() == ["speak"]
    assert world.source.last(world.spec).problem is None
    world.kind.fails = fails
    assert await world.look() == ["speak"]
    assert world.source.last(world.spec).problem is not None
    world.kind.fails, world.kind.names = None, ["broken"]
    assert await world.look() == ["speak"]
    assert "it says nothing" in str(world.source.last(world.spec).problem)


async def test_an_edit_of_its_entry_makes_them_anew(home: Home) -> None:
    world = World(home)
    world.around.runs = True
    await world.look()
    made = world.kind.made
    entry = {"type": "webapi", "port": 2, "exec": "x"}
    home.services.write_text(json.dumps({"a": entry}))
    await world.current.refresh()
    assert world.names == ["speak"]
    assert world.kind.made == made + 1
    home.func_file("a").write_text("")
    await world.current.refresh()
    assert world.names == []
    assert await world.look() == []
    asked = world.kind.asked
    # Its func file may ask for it all the same.
    assert list((await world.source.told(world.spec, Look(world.around))).functions) == ["speak"]
    assert world.kind.asked == asked + 1


async def test_what_was_kept_and_cannot_be_read_is_asked_for_again(home: Home) -> None:
    world = World(home)
    world.around.runs = True
    await world.look()
    home.discovered("a").write_text("{")
    again = World(home)
    assert again.names == []
    again.around.runs = True
    assert await again.look() == ["speak"]
    again.source.forget("a")
    assert World(home).names == []


async def test_an_unknown_function_says_why_there_may_be_more(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegai.functions.functions.KINDS", (Told,))
    around = Around()
    functions = Functions(Current(home, Settings(password="x")))
    functions.open(around)
    with pytest.raises(UnknownFunction) as unknown:
        await functions.function("a", "sing")
    assert "bash run.sh start a" in unknown.value.advice
    assert (await functions.function("a", "speak", start=True)).name == "speak"
    with pytest.raises(UnknownFunction) as unknown:
        await functions.function("a", "sing", start=True)
    assert unknown.value.advice == "it has: speak"
    functions.forget("a")
    assert functions.last("a").functions == {}


async def test_an_app_that_is_forgotten_during_a_look_is_not_kept(home: Home) -> None:
    world = World(home)
    world.around.runs = True

    async def forgotten() -> None:
        world.source.forget("a")

    world.kind.meanwhile = forgotten
    assert await world.look() == []
    assert not home.discovered("a").exists()


async def test_what_another_port_has_told_is_not_taken_for_its_own(home: Home) -> None:
    world = World(home)
    world.around.runs = True

    async def edited() -> None:
        entry = {"type": "webapi", "port": 2, "exec": "x"}
        home.services.write_text(json.dumps({"a": entry}))
        await world.current.refresh()
        assert world.names == []

    world.kind.meanwhile = edited
    await world.look()
    assert world.names == []
    world.kind.meanwhile = None
    assert await world.look() == ["speak"]
