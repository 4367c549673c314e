"""Functions from plain Python: without a server, beside one, and two programs at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

import forked
import pytest
from harness import ROOT, Server, fake, strays, until

from onegai.config.home import Home

Make = Callable[..., Server]

FUNC = """
from pydantic import BaseModel
from onegai.sdk import async_service, config, service

me, me_async = service("a"), async_service("a")


class Args(BaseModel):
    text: str
    times: int = 1


def main(args: Args) -> str:
    return me.post("/echo", json=args.model_dump()).json()["body"]


def pid(args: dict) -> int:
    return me.get("/pid").json()["pid"]


def nap(args: dict) -> str:
    return me.post("/sleep", params={"s": args["s"]}).text


async def later(args: Args) -> str:
    return (await me_async.get("/x")).text


def speed(args: dict) -> int:
    return config("a").get("speed", 0)


def both(args: dict) -> list:
    from func import other

    return [main({"text": "inner"}), other.raw(), other.main()]
"""
EARS = """
from pathlib import Path

from pydantic import BaseModel
from onegai.sdk import File


class Sound(BaseModel):
    audio: File
    more: list[File] = []


def main(args: Sound) -> list:
    files = [args.audio, *args.more]
    return [(file.name, file.size, file.path.read_bytes() == file.read()) for file in files]


async def later(args: Sound) -> list:
    return main(args)


def inner(args: dict) -> list:
    from func import ears

    return ears.main(args)


async def wrong(args: dict) -> list:
    return inner(args)
"""
OTHER = """
def raw(args: dict) -> bytes:
    return b"RIFFxxxxWAVE"
"""


@pytest.fixture
def server(make_server: Make) -> Server:
    inline = {"type": "inline"}
    made = make_server({"a": fake("ready"), "other": inline, "ears": inline})
    made.write("func/ears.py", EARS)
    made.write("func/__init__.py", (ROOT / "func/__init__.py").read_text())
    made.write("func/a.py", FUNC)
    made.write("func/other.py", OTHER)
    return made


def spawn(server: Server, code: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return forked.Popen(
        [sys.executable, "-c", code],
        cwd=server.home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ONEGAI_HOME": str(server.home)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(server: Server, code: str) -> tuple[int, list[str], str]:
    with spawn(server, code) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), err


def test_without_a_server_starts_and_stops_what_it_needs(server: Server) -> None:
    code = """
from func import a
print(a.main({"text": "dict"}))
print(a.main(text="keywords", times=2))
print(a.main(a.Args(text="model")))
print(a.main({"text": "laid"}, times=3))
print(a.raw(text="derived"))
print(a.both())
print(a.pid() == a.pid())
import asyncio
async def go():
    return await a.later(text="x")
print(asyncio.run(go()))
from onegai.sdk import service
print(service("a").get("/x").text, service("a").url.startswith("http://127.0.0.1:"))
with service("a").stream("GET", "/x") as pieces:
    print(b"".join(pieces))
"""
    status, lines, err = run(server, code)
    assert status == 0, err
    assert lines == [
        '{"text": "dict", "times": 1}',
        '{"text": "keywords", "times": 2}',
        '{"text": "model", "times": 1}',
        '{"text": "laid", "times": 3}',
        '{"text": "derived", "times": 1}',
        """['{"text": "inner", "times": 1}', b'RIFFxxxxWAVE', 'UklGRnh4eHhXQVZF']""",
        "True",
        "ok",
        "ok True",
        "b'ok'",
    ]
    assert strays(server.home) == []
    assert not (server.home / "data" / "server.json").exists()


PIECES = """
from onegai.sdk import async_service, service

me, me_async = service("a"), async_service("a")


def pieces(args: dict):
    try:
        for number in range(args["n"]):
            yield me.post("/echo", json=number).json()["body"]
    finally:
        print("closed", me.get("/x").text)
    return "all"


async def pieces_later(args: dict):
    try:
        for number in range(args["n"]):
            answer = await me_async.post("/echo", json=number)
            yield answer.json()["body"]
    finally:
        print("closed", (await me_async.get("/x")).text)


def both(args: dict):
    yield "first"
    return (yield from pieces(args))
"""


def test_functions_that_yield_are_generators(server: Server) -> None:
    server.write("func/a.py", PIECES)
    code = """
import asyncio
from func import a
from onegai.handles.context import running_call

def read(pieces):
    end = yield from pieces
    print("end", end)

for piece in read(a.pieces(n=2)):
    print(piece, running_call())
print(list(a.both({"n": 1})))
unread, stopped = a.pieces(n=1), a.pieces(n=5)
print(next(stopped))
stopped.close()

async def go():
    async for piece in a.pieces_later(n=2):
        print(piece, running_call())
    stopped = a.pieces_later(n=5)
    print(await anext(stopped))
    await stopped.aclose()
asyncio.run(go())
"""
    status, lines, err = run(server, code)
    assert status == 0, err
    assert lines == [
        *("0 None", "1 None", "closed ok", "end all"),
        *("closed ok", "['first', '0']"),
        *("0", "closed ok"),
        *("0 None", "1 None", "closed ok"),
        *("0", "closed ok"),
    ]
    assert strays(server.home) == []


FILES = """
import asyncio
from pathlib import Path
from func import ears
from onegai.errors import OneGAIError
from onegai.sdk import File

Path("own.wav").write_bytes(b"RIFFxxxxWAVE")
whole = str(Path("own.wav").resolve())
for given in (Path("own.wav"), "own.wav", whole, b"RIFFxxxxWAVE", File(b"RIFFxxxxWAVE", "own.wav")):
    print(ears.main({"audio": given}), ears.main(ears.Sound(audio=given)))
print(ears.main(audio={"base64": "aGk=", "name": "x.txt"}, more=[Path("own.wav"), "data:,a"]))
print(ears.inner({"audio": "own.wav"}))


async def awaited(call, given):
    return await asyncio.wait_for(call(given), 20)


print(asyncio.run(awaited(ears.later, {"audio": "own.wav"})))


def refused(call, given):
    try:
        call(given)
    except OneGAIError as error:
        print(error.code, error.message)


refused(ears.main, {"audio": Path("none.wav")})
refused(ears.main, {"audio": "."})
refused(ears.main, {"audio": {"job": "x"}})
refused(ears.main, {"audio": "http://127.0.0.1:9/"})
refused(lambda given: asyncio.run(awaited(ears.wrong, given)), {"audio": "own.wav"})
print(list(Path("data/uploads").iterdir()))
"""


@pytest.mark.parametrize("beside_a_server", [False, True])
def test_files_of_the_users_own(server: Server, beside_a_server: bool) -> None:
    if beside_a_server:
        server.start()
    (server.home / "data/uploads").mkdir(parents=True, exist_ok=True)
    status, lines, err = run(server, FILES)
    assert status == 0, err
    own, unnamed = "[('own.wav', 12, True)]", "[('file.wav', 12, True)]"
    assert lines[:5] == [f"{own} {own}"] * 3 + [f"{unnamed} {unnamed}", f"{own} {own}"]
    assert lines[5] == "[('x.txt', 2, True), ('own.wav', 12, True), ('file.txt', 1, True)]"
    assert lines[6:8] == [own, own]
    assert lines[8].startswith("bad_arguments audio: cannot read ")
    assert lines[9].endswith("is a folder")
    assert lines[10].startswith("unknown_job ")
    assert lines[11].startswith("address_refused audio: ")
    assert lines[12].startswith("sdk_misuse a function that takes files")
    assert lines[13] == "[]"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("a.main()", "text: Field required"),
        ("a.main({'text': 1})", "text: Input should be"),
        ("a.main(5)", "Input should be"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(server: Server, call: str, words: str) -> None:
    status, _lines, err = run(server, f"from func import a\n{call}")
    assert status == 1
    assert "BadArguments" in err
    assert words in err


def test_beside_a_server_its_service_is_used_and_held(server: Server) -> None:
    server.start()
    pid = server.post("/service/start", {"app": "a"}).result["pid"]
    status, lines, err = run(server, "from func import a\nprint(a.pid(), a.main(text='hello'))")
    assert (status, lines) == (0, [f'{pid} {{"text": "hello", "times": 1}}']), err
    until(lambda: server.service("a")["leases"] == 0)
    with spawn(server, "from func import a\nprint(a.nap(s=1.5))") as process:
        until(lambda: server.service("a")["leases"] == 1)
        # The stop waits for the one who holds it.
        stopped = server.post("/service/stop", {"app": "a"})
        assert stopped.status == 200
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines() == ['{"slept": "1.5"}']
    assert server.service("a")["state"] == "stopped"
    assert server.service("a")["leases"] == 0


def test_beside_a_server_a_service_that_does_not_run_is_started_there(server: Server) -> None:
    server.start()
    status, lines, err = run(server, "from func import a\nprint(a.pid())")
    assert status == 0, err
    assert server.service("a")["pid"] == int(lines[0])
    until(lambda: server.service("a")["leases"] == 0)


def test_beside_a_server_its_errors_come_through(server: Server) -> None:
    server.write("install/a.sh", "exit 1")
    server.start()
    status, _lines, err = run(server, "from func import a\na.pid()")
    assert status == 1
    assert "Relayed: a is not installed" in err


EDITS = """
import json, os, time
from func import a

print(a.speed())
with open("new", "w") as file:
    apps = {"a": {"speed": 2}}
    json.dump({"username": "onegai", "password": "quite another", "apps": apps}, file)
os.replace("new", "config.json")
deadline = time.monotonic() + 20
while not a.speed():
    assert time.monotonic() < deadline
    time.sleep(0.01)
print(a.speed(), a.pid() > 0)
"""


@pytest.mark.parametrize("beside_a_server", [False, True])
def test_edits_count_while_the_program_runs(server: Server, beside_a_server: bool) -> None:
    if beside_a_server:
        server.start()
    status, lines, err = run(server, EDITS)
    assert (status, lines) == (0, ["0", "2 True"]), err


WAITS = """
import asyncio, signal, sys, time
from func import a

async def main():
    turns, worst, last = 0, 0, time.monotonic()
    call = asyncio.ensure_future(a.later(text="x"))
    while not call.done():
        await asyncio.sleep(0.01)
        turns += 1
        worst, last = max(worst, time.monotonic() - last), time.monotonic()
    print(await call, turns > 10, worst < 5, signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)

asyncio.run(main())
"""


def test_an_async_function_that_waits_for_another_program_blocks_no_loop(server: Server) -> None:
    """Nor does the start of its service, and Ctrl-C ends the waiting."""
    with ExitStack() as programs:
        with Home(server.home).lock():
            waiting, stopped = (programs.enter_context(spawn(server, WAITS)) for _ in range(2))
            for program in (waiting, stopped):
                assert program.stderr is not None
                assert "waiting for another program" in program.stderr.readline()
            stopped.send_signal(signal.SIGINT)
            assert stopped.wait(60) != 0
        out, err = waiting.communicate(timeout=60)
        stopped.communicate()
    assert out.splitlines() == ["ok True True True"], err


AT_THE_END = """
import asyncio, atexit
from func import a
from onegai.errors import SdkMisuse
from onegai.sdk import service

def late():
    for work in (
        lambda: a.main(text="x"),
        lambda: asyncio.run(a.later(text="x")),
        lambda: service("a").get("/"),
    ):
        try:
            print(work())
        except SdkMisuse as error:
            print(error.code)

atexit.register(late)
"""


@pytest.mark.parametrize("before", ["", "a.main(text='x')"])
def test_calls_at_the_very_end_of_a_program(server: Server, before: str) -> None:
    """Nothing can be started any more, and what had been is stopped."""
    with spawn(server, AT_THE_END + before) as program:
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out.split(), err) == (0, ["sdk_misuse"] * 3, "")
    assert strays(server.home) == []


def test_two_at_once_wait_politely(server: Server) -> None:
    first_code = "from func import a\nprint(a.pid(), flush=True)\ninput()"
    with spawn(server, first_code, stdin=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline()
        with spawn(server, "from func import a\nprint(a.main(text='second'))") as second:
            assert second.stderr is not None
            assert f"waiting for -c (pid {first.pid})" in second.stderr.readline()
            first.communicate("go on\n", timeout=60)
            out, err = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), err
    assert out.splitlines() == ['{"text": "second", "times": 1}']
    assert strays(server.home) == []


def test_server_beside_a_program_says_who_has_the_folder(server: Server) -> None:
    with spawn(server, "from func import a\nprint(a.nap(s=60))") as program:
        until(lambda: (server.home / "data" / "server.json").exists())
        process = server.spawn()
        assert process.wait(60) == 2
        assert f"-c (pid {program.pid})" in server.output.read_text()
        program.terminate()
        program.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_from_outside_it_stops_what_it_started(
    server: Server, number: signal.Signals
) -> None:
    code = "from func import a\nprint(a.pid(), flush=True)\na.nap(s=60)"
    with spawn(server, code) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert strays(server.home) == []


def test_handle_at_the_top_of_a_func_file_is_a_listed_problem(server: Server) -> None:
    server.write("func/a.py", "from onegai.sdk import service\nx = service('a').get('/x')\n")
    server.start()
    [problem] = server.get("/service/status").result["problems"]
    assert (problem["app"], problem["line"]) == ("a", 2)
    assert "outside of a call" in problem["reason"]
    assert server.post("/api/other/raw").status == 200


def test_hold_over_http(server: Server) -> None:
    server.write("install/other.sh", "exit 1")
    server.start()
    assert server.post("/service/nobody/hold").detail["code"] == "unknown_app"
    assert server.post("/service/other/hold").detail["code"] == "not_installed"
    assert server.get("/service/other/hold").detail["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "words", [["cli.py"], ["-m", "onegai", "ps"], ["-c", "import func.hibari"]]
)
def test_another_python_is_told_which_one_to_use(words: list[str]) -> None:
    """One without packages, as the machine's own is."""
    bare = [getattr(sys, "_base_executable"), "-S"]  # noqa: B009 - typeshed does not know it
    ended = subprocess.run(
        [*bare, *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr
    assert f"run it with: {ROOT}/venv/bin/python " in ended.stderr
