"""Loading func files: a broken one is a problem with file and line, and hides no other."""

import asyncio
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onegai.errors import BrokenPlugin, UnknownFunction
from onegai.files import File, Workspace
from onegai.home import Home
from onegai.plugins import Plugin, Plugins
from onegai.sdk.connections import Connections
from onegai.sdk.context import CallContext, Transport
from onegai.sources import Sources


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose func modules are forgotten afterwards."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "func"]:
            del sys.modules[name]

    forget()
    path = list(sys.path)
    (tmp_path / "func").mkdir()
    yield Home(tmp_path)
    sys.path[:] = path
    forget()


def load_plugins(home: Home, apps: Iterable[str]) -> dict[str, Plugin]:
    return Plugins(home, apps).all()


@contextmanager
def call_of(app: str) -> Iterator[None]:
    """The surroundings that an engine makes for a call; nothing here uses a service."""
    transport = Transport(Connections(), None)
    loop = asyncio.new_event_loop()
    context = CallContext(
        app=app,
        services=None,
        transport=transport,
        sources=Sources((), 0, File),
        workspace=Workspace(Path("none")),
        loop=loop,
        deadline=math.inf,
        seconds=1,
    )
    with context.active():
        yield
    loop.close()


def load_plugin(home: Home, app: str) -> Plugin:
    return load_plugins(home, [app])[app]


def write(home: Home, **sources: str) -> None:
    for app, source in sources.items():
        home.func_file(app).write_text(textwrap.dedent(source))


def test_no_file_no_functions(home: Home) -> None:
    plugin = load_plugin(home, "a")
    assert (plugin.functions, plugin.problem, plugin.module) == ({}, None, None)


def test_functions_are_loaded(home: Home) -> None:
    write(home, a="def main(args): return 1\ndef extra(args): return 2")
    plugin = load_plugin(home, "a")
    assert plugin.problem is None
    assert set(plugin.functions) == {"main", "raw", "extra"}
    assert plugin.module is sys.modules["func.a"]


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("x = 1\ndef main(args)\n    return 1\n", 2, "syntax: expected ':'"),
        ("import os\n\n1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("def f():\n    raise OSError('gone')\n\nf()\n", 2, "OSError: gone"),
        ("import missing_module_x\n", 1, "ModuleNotFoundError: No module named"),
        ("import json\n\njson.loads('{')\n", 3, "JSONDecodeError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("raise SystemExit\n", 1, "SystemExit"),
        ("__all__ = ['nothing']\n", None, "__all__ names 'nothing'"),
        ("__all__ = 5\n", None, ""),
        ("def main(args):\n    yield 1\n", 1, "generator"),
        ("class A: pass\ndef main(args: A): ...\n", 2, "not usable"),
        ("\nx = '\0'\n", 2, "syntax: source code string cannot contain null bytes"),
        ("import asyncio\n\nasyncio.run(1)\n", 3, "a coroutine was expected"),
    ],
)
def test_broken_file_is_a_problem_and_hides_no_other(
    home: Home, source: str, line: int | None, says: str
) -> None:
    write(home, fine="def main(args): return 1")
    home.func_file("broken").write_text(source)
    plugins = load_plugins(home, ["broken", "fine", "none"])
    assert set(plugins) == {"broken", "fine", "none"}
    assert plugins["fine"].problem is None
    assert "main" in plugins["fine"].functions
    broken = plugins["broken"]
    assert broken.functions == {}
    assert broken.problem is not None
    assert (broken.problem.app, broken.problem.file) == ("broken", "func/broken.py")
    assert broken.problem.line == line
    assert says in broken.problem.reason
    assert "None" not in broken.problem.reason
    with pytest.raises(BrokenPlugin) as error:
        Plugins(home, ["broken"]).function("broken", "main")
    assert ("line" in error.value.message.partition(":")[0]) is (line is not None)
    assert "func.broken" not in sys.modules


def test_a_function_is_looked_up(home: Home) -> None:
    home.func_file("a").write_text("def main(args): ...\ndef sing(args): ...\n")
    home.func_file("b").write_text("\n1 / 0\n")
    plugins = Plugins(home, ["a", "b", "c"])
    assert plugins.function("a", "sing") is plugins["a"].functions["sing"]
    with pytest.raises(UnknownFunction) as unknown:
        plugins.function("a", "dance")
    assert unknown.value.advice == "it has: main, sing, raw"
    with pytest.raises(UnknownFunction) as unwritten:
        plugins.function("c", "main")
    assert unwritten.value.advice == "write it in func/c.py"
    with pytest.raises(BrokenPlugin) as broken:
        plugins.function("b", "main")
    assert broken.value.message.startswith("func/b.py, line 2: ")


def test_not_utf8(home: Home) -> None:
    home.func_file("a").write_bytes(b"x = '\xff'\n")
    problem = load_plugin(home, "a").problem
    assert problem is not None
    assert "utf-8" in problem.reason


def test_files_may_import_each_other(home: Home) -> None:
    write(
        home,
        a="""
        from func import b
        def main(args): return "a" + b.main(args)
        """,
        b="""
        import func.a
        def main(args): return "b"
        def back(args): return func.a.main(args)
        """,
    )
    plugins = load_plugins(home, ["a", "b"])
    assert [plugin.problem for plugin in plugins.values()] == [None, None]
    with call_of("a"):
        assert plugins["a"].functions["main"].call({}) == "ab"
        assert plugins["b"].functions["back"].call({}) == "ab"
    # What was imported is no function of the importer.
    assert set(plugins["a"].functions) == {"main", "raw"}


def test_imported_file_is_the_loaded_one(home: Home) -> None:
    write(home, a="from func import b", b="runs = []\nruns.append(1)")
    plugins = load_plugins(home, ["a", "b"])
    assert plugins["a"].module is not None
    assert plugins["a"].module.b is plugins["b"].module


def test_error_inside_an_imported_file_is_not_placed_in_the_importer(home: Home) -> None:
    write(home, a="from func import b\n", b="\n\n\n\n\n\ndef main(args)\n")
    plugins = load_plugins(home, ["a", "b"])
    problems = [plugin.problem for plugin in plugins.values()]
    assert problems[0] is not None
    assert problems[1] is not None
    assert (problems[1].file, problems[1].line) == ("func/b.py", 7)
    assert (problems[0].file, problems[0].line) in (("func/a.py", 1), ("func/b.py", 7))


def test_importer_of_a_file_that_fails_fails_at_its_import(home: Home) -> None:
    write(home, a="x = 1\nfrom func import b\n", b="1 / 0\n")
    problem = load_plugin(home, "a").problem
    assert problem is not None
    assert (problem.file, problem.line) == ("func/a.py", 2)
    assert "ZeroDivisionError" in problem.reason


def test_corrected_file_loads(home: Home) -> None:
    write(home, a="1 / 0")
    assert load_plugin(home, "a").problem is not None
    write(home, a="def main(args): return 'corrected'")
    assert load_plugin(home, "a").functions["main"].call({}) == "corrected"


def test_shipped_files_load(root: Path) -> None:
    apps = [path.stem for path in (root / "func").glob("[a-z]*.py")]
    home = Home(root)
    for app, plugin in load_plugins(home, apps).items():
        assert plugin.problem is None, app
        assert plugin.functions, app


def test_changed_file_is_loaded_again_and_its_users_too(home: Home) -> None:
    write(
        home,
        a="from func import b\nfrom func.b import word\ndef main(args): return b.main() + word()",
        b="def word(): return 'w'\ndef main(args): return 'old'",
        c="def main(args): return 'alone'",
    )
    plugins = Plugins(home, ["a", "b", "c", "later"])
    alone = plugins["c"].module
    with call_of("a"):
        assert plugins["a"].functions["main"].call({}) == "oldw"
        write(home, b="def word(): return 'W'\ndef main(args): return 'new'")
        assert plugins["b"].functions["main"].call({}) == "new"
        assert plugins["a"].functions["main"].call({}) == "newW"
    assert plugins["c"].module is alone
    write(home, later="def main(args): return 1")
    assert set(plugins["later"].functions) == {"main", "raw"}
    home.func_file("later").unlink()
    assert plugins["later"].functions == {}


def test_a_look_at_all_sees_every_change_and_loads_nothing_else(home: Home) -> None:
    write(
        home,
        a="from func import b\ndef main(args): return b.main()",
        b="def main(args): return 'old'",
        c="def main(args): return 'alone'",
    )
    plugins = Plugins(home, ["a", "b", "c", "later"])
    first = plugins.all()
    assert all(plugins.all()[app] is plugin for app, plugin in first.items())
    write(home, b="def main(args): return 'changed'")
    second = plugins.all()
    assert (second["c"], second["later"]) == (first["c"], first["later"])
    with call_of("a"):
        assert second["a"].functions["main"].call({}) == "changed"
    write(home, later="def main(args): return 1")
    assert set(plugins.all()["later"].functions) == {"main", "raw"}
    shutil.rmtree(home.root / "func")
    assert all(plugin.functions == {} for plugin in plugins.all().values())


def test_broken_edit_keeps_the_last_good_version_and_says_so(home: Home) -> None:
    write(home, a="def main(args): return 1")
    plugins = Plugins(home, ["a"])
    for broken, line in (("def main(args)\n    return 2", 1), ("x = 1\ny = 1 / 0\n", 2)):
        write(home, a=broken)
        assert plugins["a"].functions["main"].call({}) == 1
        problem = plugins["a"].problem
        assert problem is not None
        assert problem.line == line
        assert "its last good version stays in use" in problem.reason
    write(home, a="def main(args): return 3")
    assert plugins["a"].functions["main"].call({}) == 3
    assert plugins["a"].problem is None


def test_files_that_import_each_other_are_not_loaded_again_and_again(home: Home) -> None:
    write(
        home,
        a="from func import b\ndef main(args): return 'a'",
        b="import func.a\ndef main(args): return 'b'",
    )
    plugins = Plugins(home, ["a", "b"])
    write(home, a="from func import b\ndef main(args): return 'A'")
    for _ in range(3):
        assert plugins["a"].functions["main"].call({}) == "A"
        assert plugins["b"].functions["main"].call({}) == "b"
    modules = plugins["a"].module, plugins["b"].module
    assert (plugins["a"].module, plugins["b"].module) == modules


def test_change_two_files_away_is_seen(home: Home) -> None:
    write(
        home,
        a="from func.b import word\ndef main(args): return word()",
        b="from func.c import word as inner\ndef word(): return inner()",
        c="def word(): return 'old'",
    )
    plugins = Plugins(home, ["a", "b", "c"])
    write(home, c="def word(): return 'new'")
    assert plugins["a"].functions["main"].call({}) == "new"
    write(home, c="def word() return 'broken'")
    assert plugins["a"].functions["main"].call({}) == "new"


def test_changed_helper_that_is_no_app_is_seen(home: Home) -> None:
    write(home, a="from func.words import word\ndef main(args): return word", words="word = 'old'")
    plugins = Plugins(home, ["a"])
    assert plugins["a"].functions["main"].call({}) == "old"
    write(home, words="word = 'new!'")
    assert plugins["a"].functions["main"].call({}) == "new!"


def test_two_edits_within_one_second_are_both_seen(home: Home) -> None:
    write(home, a="def main(args): return 0")
    plugins = Plugins(home, ["a"])
    for number in range(1, 6):
        write(home, a=f"def main(args): return {number}")
        assert plugins["a"].functions["main"].call({}) == number
