"""Loading func files: a broken one is a problem with file and line, and hides no other."""

import asyncio
import importlib
import json
import math
import shutil
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from onegai.config.current import Current
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.errors import BrokenPlugin
from onegai.files.file import File
from onegai.files.sources import Sources
from onegai.files.workspace import Workspace
from onegai.functions import funcfiles as funcfiles_module
from onegai.functions.funcfiles import FuncFiles
from onegai.functions.functions import Functions
from onegai.functions.imports import FuncFile
from onegai.handles.connections import Connections
from onegai.handles.context import CallContext, Transport


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


def load_plugins(home: Home, apps: Iterable[str]) -> dict[str, FuncFile]:
    files = loaded(home, *apps)
    return {app: files.last(app) for app in apps}


def loaded(home: Home, *apps: str) -> FuncFiles:
    """The func files, those of these apps loaded."""
    files = FuncFiles(home)
    for app in apps:
        files.load(app)
    return files


@asynccontextmanager
async def registry(home: Home, apps: Iterable[str]) -> AsyncIterator[Functions]:
    """As an engine has it; nothing here asks an app."""
    home.services.write_text(json.dumps({app: {"type": "inline"} for app in apps}))
    current = Current(home, Settings(password="x"))
    functions = Functions(current)
    functions.open(None)
    async with current, functions:
        yield functions


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


def load_plugin(home: Home, app: str) -> FuncFile:
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
        ("class A: pass\ndef main(args: A): ...\n", 2, "not usable"),
        ("\nx = '\0'\n", 2, "syntax: source code string cannot contain null bytes"),
        ("import asyncio\n\nasyncio.run(1)\n", 3, "coroutine"),
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
    assert "func.broken" not in sys.modules


def test_not_utf8(home: Home) -> None:
    home.func_file("a").write_bytes(b"x = '\xff'\n")
    problem = load_plugin(home, "a").problem
    assert problem is not None
    assert "utf-8" in problem.reason.lower()
    assert problem.line == 1


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
        assert plugins["a"].functions["main"].run({}) == "ab"
        assert plugins["b"].functions["back"].run({}) == "ab"
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
    assert load_plugin(home, "a").functions["main"].run({}) == "corrected"


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
    files = loaded(home, "a", "b", "c", "later")
    alone = files.load("c").module
    with call_of("a"):
        assert files.load("a").functions["main"].run({}) == "oldw"
        write(home, b="def word(): return 'W'\ndef main(args): return 'new'")
        assert files.load("b").functions["main"].run({}) == "new"
        assert files.load("a").functions["main"].run({}) == "newW"
    assert files.load("c").module is alone
    write(home, later="def main(args): return 1")
    assert set(files.load("later").functions) == {"main", "raw"}
    home.func_file("later").unlink()
    assert files.load("later").functions == {}


async def test_edits_are_seen_in_the_background_and_nothing_else_is_loaded(home: Home) -> None:
    write(
        home,
        a="from func import b\ndef main(args): return b.main()",
        b="def main(args): return 'old'",
        c="def main(args): return 'alone'",
    )
    async with registry(home, ["a", "b", "c", "later"]) as functions:
        first = functions.all()
        for app, plugin in first.items():
            assert await functions.refresh(app) is plugin
        write(home, b="def main(args): return 'changed'", later="def main(args): return 1")
        await seen(
            lambda: functions.last("a") is not first["a"] and functions.last("later").functions
        )
        second = functions.all()
        assert second["c"] is first["c"]
        assert set(second["later"].functions) == {"main", "raw"}
        with call_of("a"):
            assert second["a"].functions["main"].run({}) == "changed"
        shutil.rmtree(home.root / "func")
        await seen(lambda: all(plugin.functions == {} for plugin in functions.all().values()))


async def seen(look: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.01)


SLOW = """
import threading, time
import func
func.threads = [*getattr(func, "threads", ()), threading.current_thread().name]
while not (WAIT).exists():
    time.sleep(0.01)
def main(args): return VALUE
"""


def write_slow(home: Home, app: str, value: object) -> Path:
    """A file whose import waits until the path that this gives is there."""
    go = home.root / f"go-{app}-{value}"
    source = SLOW.replace("VALUE", repr(value)).replace(
        "(WAIT)", f"__import__('pathlib').Path({str(go)!r})"
    )
    home.func_file(app).write_text(source)
    return go


async def test_a_slow_import_holds_up_its_own_callers_only(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(funcfiles_module, "START_SECONDS", 0.1)
    write(home, a="def main(args): return 'a'", z="def main(args): return 'z'")
    go = write_slow(home, "slow", 1)
    async with registry(home, ["a", "slow", "z"]) as functions:
        waiting = asyncio.create_task(functions.refresh("slow"))
        assert (await functions.refresh("a")).functions["main"].run({}) == "a"
        assert functions.last("slow").functions == {}
        assert functions.last("slow").problem is None
        monkeypatch.setattr(funcfiles_module, "SLOW_SECONDS", 0.1)
        await seen(lambda: functions.last("slow").problem)
        problem = functions.last("slow").problem
        assert problem is not None
        assert "is being imported" in problem.reason
        assert set(functions.all()) == {"a", "slow", "z"}
        assert not waiting.done()
        go.touch()
        assert (await waiting).functions["main"].run({}) == 1
        assert (await functions.refresh("z")).functions["main"].run({}) == "z"

        go = write_slow(home, "slow", 2)
        callers = [asyncio.create_task(functions.refresh("slow")) for _ in range(3)]
        await seen(lambda: len(sys.modules["func"].threads) == 2)
        assert functions.last("slow").functions["main"].run({}) == 1
        # Edited again, in the middle of its import.
        write(home, slow="def main(args): return 3")
        go.touch()
        assert [(await one).functions["main"].run({}) for one in callers] == [3, 3, 3]
        names = sys.modules["func"].threads
        assert threading.current_thread().name not in names
        assert len(set(names)) == 1


async def test_an_import_that_does_not_end_is_told_to_who_waits(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(funcfiles_module, "START_SECONDS", 0.05)
    monkeypatch.setattr(funcfiles_module, "IMPORT_SECONDS", 0.05)
    go = write_slow(home, "slow", 1)
    write(home, z="def main(args): return 'z'")
    async with registry(home, ["slow", "z"]) as functions:
        for app in ("slow", "z"):
            with pytest.raises(BrokenPlugin) as stuck:
                await functions.function(app, "main")
            assert stuck.value.message.startswith("func/slow.py: ")
        go.touch()
        await seen(lambda: functions.last("z").functions)
        assert (await functions.function("z", "main")).run({}) == "z"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("class Mute(Exception):\n    def __str__(self): return 1\nraise Mute", "Mute"),
        ("raise ModuleNotFoundError('odd', name=5)", "ModuleNotFoundError: odd"),
    ],
)
async def test_an_error_that_cannot_be_told_hides_no_other_file(
    home: Home, source: str, says: str
) -> None:
    write(home, a=source, z="def main(args): return 'z'")
    async with registry(home, ["a", "z"]) as functions:
        problem = functions.last("a").problem
        assert problem is not None
        assert (problem.reason, problem.line) == (says, source.count("\n") + 1)
        assert functions.last("z").functions["main"].run({}) == "z"


async def test_a_broken_edit_is_told_once_in_the_log(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    write(home, a="from func import b\ndef main(args): return 1", b="def main(args): return 1")
    async with registry(home, ["a", "b"]) as functions:
        assert (functions.last("a").problem, caplog.messages) == (None, [])
        write(home, b="def main(args: return 2")
        for _ in range(3):
            await functions.refresh("a")
        told = [message for message in caplog.messages if message.startswith("func/b.py:1: ")]
        assert len(told) == 1
        # What it imports is what is old.
        assert (
            functions.last("a").problem
            == functions.last("b").problem
            == functions.last("b").problem
        )
        write(home, b="def main(args): return 3")
        await functions.refresh("a")
        assert functions.last("a").problem is None


def test_what_was_imported_before_is_taken_if_it_is_current(home: Home) -> None:
    write(home, a="def main(args): return 1", b="def main(args): return 1")
    FuncFiles(home)
    before = {app: importlib.import_module(f"func.{app}") for app in ("a", "b")}
    write(home, b="def main(args): return 22")
    files = loaded(home, "a", "b")
    assert files.last("a").module is before["a"]
    assert files.last("b").functions["main"].run({}) == 22


def test_a_file_that_lacks_a_package_works_when_it_is_there(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.syspath_prepend(str(packages))
    write(home, a="import lacked_by_a.part\ndef main(args): return 1", b="from func import a")
    files = loaded(home, "a", "b")
    for app in ("a", "b"):
        assert files.is_current(app)
        problem = files.last(app).problem
        assert problem is not None
        assert "bash run.sh add lacked_by_a" in problem.reason
    (packages / "lacked_by_a").mkdir()
    (packages / "lacked_by_a" / "__init__.py").write_text("")
    # There by now, but not the part of it that is wanted.
    problem = files.load("a").problem
    assert problem is not None
    assert "add" not in problem.reason
    assert files.is_current("a")
    (packages / "lacked_by_a" / "part.py").write_text("")
    write(home, a="import lacked_by_a.part\ndef main(args): return 2")
    assert files.load("a").functions["main"].run({}) == 2
    assert files.load("b").problem is None
    sys.modules.pop("lacked_by_a.part")
    sys.modules.pop("lacked_by_a")


def test_an_edit_while_a_file_is_imported_is_seen(home: Home) -> None:
    """The file edits itself."""
    write(
        home,
        a="""
        from pathlib import Path
        Path(__file__).write_text("def main(args): return 'edited'")
        def main(args): return 'old'
        """,
    )
    files = loaded(home, "a")
    assert files.last("a").functions["main"].run({}) == "old"
    assert files.load("a").functions["main"].run({}) == "edited"


@pytest.mark.parametrize("changed", ["a", "b"])
async def test_a_file_whose_import_changes_func_files_is_not_imported_for_ever(
    home: Home, changed: str
) -> None:
    write(
        home,
        a=f"""
        import func
        from func import b
        from pathlib import Path
        func.imports = getattr(func, "imports", 0) + 1
        file = Path(__file__).with_name("{changed}.py")
        file.write_text(file.read_text() + "#")
        def main(args): return 1
        """,
        b="def main(args): return 2",
    )
    async with registry(home, ["a", "b"]) as functions:
        async with asyncio.timeout(60):
            found = await functions.refresh("a")
        assert set(found.functions) == {"main", "raw"}
        assert found.problem is not None
        assert found.problem.remark
        assert sys.modules["func"].imports == funcfiles_module.MOST_IMPORTS
        write(home, a="def main(args): return 3")
        found = await functions.refresh("a")
        assert (found.problem, found.functions["main"].run({})) == (None, 3)


def test_broken_edit_keeps_the_last_good_version_and_says_so(home: Home) -> None:
    write(home, a="def main(args): return 1")
    files = loaded(home, "a")
    for broken, line in (("def main(args)\n    return 2", 1), ("x = 1\ny = 1 / 0\n", 2)):
        write(home, a=broken)
        assert files.load("a").functions["main"].run({}) == 1
        problem = files.load("a").problem
        assert problem is not None
        assert problem.line == line
        assert "its last good version stays in use" in problem.reason
    write(home, a="def main(args): return 3")
    assert files.load("a").functions["main"].run({}) == 3
    assert files.load("a").problem is None


def test_files_that_import_each_other_are_not_loaded_again_and_again(home: Home) -> None:
    write(
        home,
        a="from func import b\ndef main(args): return 'a'",
        b="import func.a\ndef main(args): return 'b'",
    )
    files = loaded(home, "a", "b")
    write(home, a="from func import b\ndef main(args): return 'A'")
    for _ in range(3):
        assert files.load("a").functions["main"].run({}) == "A"
        assert files.load("b").functions["main"].run({}) == "b"
    modules = files.load("a").module, files.load("b").module
    assert (files.load("a").module, files.load("b").module) == modules


def test_change_two_files_away_is_seen(home: Home) -> None:
    write(
        home,
        a="from func.b import word\ndef main(args): return word()",
        b="from func.c import word as inner\ndef word(): return inner()",
        c="def word(): return 'old'",
    )
    files = loaded(home, "a", "b", "c")
    write(home, c="def word(): return 'new'")
    assert files.load("a").functions["main"].run({}) == "new"
    write(home, c="def word() return 'broken'")
    assert files.load("a").functions["main"].run({}) == "new"


def test_changed_helper_that_is_no_app_is_seen(home: Home) -> None:
    write(home, a="from func.words import word\ndef main(args): return word", words="word = 'old'")
    files = loaded(home, "a")
    assert files.load("a").functions["main"].run({}) == "old"
    write(home, words="word = 'new!'")
    assert files.load("a").functions["main"].run({}) == "new!"


def test_two_edits_within_one_second_are_both_seen(home: Home) -> None:
    write(home, a="def main(args): return 0")
    files = loaded(home, "a")
    for number in range(1, 6):
        write(home, a=f"def main(args): return {number}")
        assert files.load("a").functions["main"].run({}) == number
