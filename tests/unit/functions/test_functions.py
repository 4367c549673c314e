"""The registry: what can be called, from all sources together."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.errors import BrokenPlugin, UnknownFunction
from onegai.functions import funcfiles
from onegai.functions.function import Form, Function
from onegai.functions.functions import Functions
from onegai.functions.signature import Typed
from onegai.functions.source import Found
from onegai.schema import Problem


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose func modules are forgotten afterwards."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "func"]:
            del sys.modules[name]

    forget()
    (tmp_path / "func").mkdir()
    yield Home(tmp_path)
    forget()


class Given:
    """A source with what the test gives it; ``there`` is seen by looking only."""

    def __init__(self, *names: str, problem: Problem | None = None) -> None:
        self.looks = 0
        self.found = made(*names, problem=problem)
        self.there = self.found

    def last(self, spec: AppSpec) -> Found:
        return self.found

    async def refresh(self, spec: AppSpec, leases: Any) -> Found:
        self.looks += 1
        self.found = self.there
        return self.found


def made(*names: str, problem: Problem | None = None) -> Found:
    def run(args: Any) -> str:
        return "source"

    functions = {}
    for name in names:
        form: Form = name if name in get_args(Form) else "other"
        functions[name] = Function("a", name, "", form, Typed(dict), run)
    return Found(functions, problem)


def registry(home: Home, *apps: str, others: tuple[Given, ...] = ()) -> Functions:
    functions = Functions(current(home, *apps), others)
    functions.open(None)
    return functions


def current(home: Home, *apps: str) -> Current:
    write(home, *apps)
    return Current(home, Settings(password="x"))


def write(home: Home, *apps: str) -> None:
    home.services.write_text(json.dumps({app: {"type": "inline"} for app in apps}))


async def given(functions: Functions, name: str) -> Any:
    return (await functions.function("a", name)).run({})


async def test_a_function_is_looked_up(home: Home) -> None:
    home.func_file("a").write_text("def main(args): ...\ndef sing(args): ...\n")
    home.func_file("b").write_text("\n1 / 0\n")
    home.func_file("d").write_text("__all__ = ['nothing']\n")
    async with registry(home, "a", "b", "c", "d") as functions:
        assert await functions.function("a", "sing") is functions.last("a").functions["sing"]
        with pytest.raises(UnknownFunction) as unknown:
            await functions.function("a", "dance")
        assert unknown.value.advice == "it has: main, sing, raw"
        with pytest.raises(UnknownFunction) as unwritten:
            await functions.function("c", "main")
        assert unwritten.value.advice == "write it in func/c.py"
        with pytest.raises(BrokenPlugin) as broken:
            await functions.function("b", "main")
        assert broken.value.message.startswith("func/b.py, line 2: ")
        with pytest.raises(BrokenPlugin) as broken:
            await functions.function("d", "main")
        assert "line" not in broken.value.message.partition(":")[0]


async def test_a_func_file_s_function_wins(home: Home) -> None:
    home.func_file("a").write_text("def speak(args): return 'file'")
    sources = Given("speak", "sing"), Given("sing", "dance")
    async with registry(home, "a", others=sources) as functions:
        assert list(functions.last("a").functions) == ["speak", "sing", "dance"]
        assert await given(functions, "speak") == "file"
        sings = functions.last("a").functions["sing"]
        assert sings is sources[0].found.functions["sing"]
        assert functions.last("a") is functions.last("a") is functions.all()["a"]


@pytest.mark.parametrize(
    ("file", "source", "derived"),
    [
        (["raw"], ["main"], []),
        (["main"], ["raw"], []),
        (["main"], [], ["raw"]),
        ([], ["raw"], ["main"]),
        (["raw"], ["raw"], ["main"]),
        (["speak"], ["sing"], []),
    ],
)
async def test_main_and_raw_are_derived_only_where_no_source_has_them(
    home: Home, file: list[str], source: list[str], derived: list[str]
) -> None:
    home.func_file("a").write_text("\n".join(f"def {name}(args): return 'file'" for name in file))
    async with registry(home, "a", others=(Given(*source),)) as functions:
        found = functions.last("a").functions
        assert [name for name, function in found.items() if function.derived] == derived
        assert set(found) == {*file, *source, *derived}
        for name in file:
            assert await given(functions, name) == "file"


async def test_a_call_looks_only_for_what_is_not_known(home: Home) -> None:
    source = Given("sing")
    source.there = made("sing", "dance")
    async with registry(home, "a", others=(source,)) as functions:
        await functions.function("a", "sing")
        assert source.looks == 0
        await functions.function("a", "dance")
        assert source.looks == 1
        with pytest.raises(UnknownFunction) as unknown:
            await functions.function("a", "jump")
        assert unknown.value.advice == "it has: sing, dance"


async def test_a_call_of_what_is_known_looks_at_no_file(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.func_file("b").write_text("def main(args): return 1")
    home.func_file("a").write_text("from func import b\ndef main(args): return 1")
    async with registry(home, "a", "b") as functions:
        await functions.refresh("a")
        looks: list[Path] = []
        monkeypatch.setattr(funcfiles, "stamp", looks.append)
        await functions.function("a", "main")
        assert functions.problem("a") is None
        assert looks == []
        with pytest.raises(UnknownFunction):
            await functions.function("a", "sing")
        assert {path.name for path in looks} == {"a.py", "b.py"}


async def test_problems_of_every_source_are_listed_once(home: Home) -> None:
    home.func_file("b").write_text("def main(args): return 1")
    home.func_file("a").write_text("from func import b\ndef main(args): return 1")
    asleep = Problem(app="a", file="services.json", reason="cannot be asked")
    async with registry(home, "a", "b", others=(Given("sing", problem=asleep),)) as functions:
        assert functions.all_problems() == [asleep]
        home.func_file("b").write_text("def main(args)")
        await functions.refresh("b")
        await functions.refresh("a")
        [broken, told] = functions.problems("a")
        assert (broken.file, told) == ("func/b.py", asleep)
        assert functions.all_problems() == [broken, asleep]
        # The functions of other sources are there in spite of it.
        home.func_file("a").write_text("def main(args)")
        assert await given(functions, "sing") == "source"


async def test_hooks_are_func_files_own(home: Home) -> None:
    source = Given("load", "unload")
    home.func_file("a").write_text("def load(args): return 'file'")
    async with registry(home, "a", others=(source,)) as functions:
        load = await functions.hook("a", "load")
        assert load is not None
        assert load.run({}) == "file"
        assert await functions.hook("a", "unload") is None
        assert (functions.has_hook("a", "load"), functions.has_hook("a", "unload")) == (True, False)
        assert await functions.hook("gone", "load") is None
        assert source.looks == 0


async def test_apps_come_and_go(home: Home) -> None:
    now = current(home, "a")
    async with Functions(now, (Given("sing"),)) as functions:
        functions.open(None)
        assert set(functions.all()) == {"a"}
        write(home, "b")
        await now.refresh()
        assert set(functions.all()) == {"b"}
        assert functions.last("a").functions == {}
        assert set(functions.last("b").functions) == {"sing"}
        with pytest.raises(UnknownFunction):
            await functions.function("a", "sing")
