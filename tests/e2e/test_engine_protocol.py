"""protocol.Engine: one class of tests for the engine in this process and for both clients.

The engine is asked directly and as Blocking. The clients speak to a real server; all have the same
home.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from harness import PASSWORD, Server, copy_install, fake, with_handles

from onegai import AsyncClient, Client, OneGAIError
from onegai.config.current import Current
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.engine.engine import Engine as InProcess
from onegai.memory.probe import FakeProbe
from onegai.protocol import Engine, failure
from onegai.schema import Document, Event, Job, JobState, State
from onegai.sdk.blocking import Blocking

Make = Callable[..., Server]
T = TypeVar("T")
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \xff\xfe"
SECONDS = 60

SERVICES = {
    "a": fake("ready"),
    "voice": {"type": "inline"},
    "tool": {"type": "inline"},
    "absent": {"type": "webapi", "port": 1, "exec": "venv/bin/python x"},
}
VOICE = f"""
import asyncio
import time
from pathlib import Path
from pydantic import BaseModel
from onegai.sdk import File, progress

together = asyncio.Barrier(4)

class Speech(BaseModel):
    text: str
    speed: float = 1

def main(args: Speech):
    return args.text, {{"speed": args.speed}}

def audio(args: dict): return {WAV!r}
def raw(args: dict): return args
def fails(args: dict): raise ValueError("on purpose")
def kept(args: dict): return {{"sound": {WAV!r}}}

class Letter(BaseModel):
    page: File
    more: list[File] = []

def about(value):
    if isinstance(value, list):
        return [about(one) for one in value]
    return [value.name, value.read().decode()] if isinstance(value, File) else value

def letter(args: Letter): return [about(args.page), about(args.more)]
def anything(args: dict): return {{key: about(value) for key, value in args.items()}}

def later(args: Letter):
    while not (Path(__file__).parent / "open").exists():
        time.sleep(0.01)
    return letter(args)

def count(args: dict):
    progress(0.5, "half", step=1)
    for number in range(args.get("to", 3)):
        yield number
    if args.get("fail"):
        raise ValueError("on purpose")
    return "all", {{"to": 3}}

async def words(args: dict):
    yield "ね"
    yield "こ"

def sound(args: dict):
    yield {WAV!r}
    yield b"more"

async def endless(args: dict):
    try:
        while True:
            yield "x"
            await asyncio.sleep(0.01)
    finally:
        (Path(__file__).parent / "closed").touch()

async def meet(args: dict) -> dict:
    await together.wait()
    return args
"""
RECIPE = """#!/usr/bin/env bash
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
install_begin tool
echo working
if [[ -e ../slow ]]; then sleep 600; fi
[[ ! -e ../broken ]]
touch "$APP_DIR/made"
install_end
"""


class Threaded:
    """What blocks as a protocol.Engine: every call in a thread."""

    STREAMS = ("stream", "events", "follow", "log_follow")

    def __init__(self, client: Client | Blocking) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name in self.STREAMS:
            return lambda *given, **named: self._each(method(*given, **named))
        return lambda *given, **named: asyncio.to_thread(method, *given, **named)

    @staticmethod
    async def _each(items: Generator[T, None, None]) -> AsyncGenerator[T, None]:
        end = object()
        try:
            while (item := await asyncio.to_thread(next, items, end)) is not end:
                yield item
        finally:
            await asyncio.to_thread(items.close)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A home: without a server, where the engine is to be in this process."""
    here = {"engine", "Blocking"} & set(request.node.callspec.params.values())
    made = request.getfixturevalue("make_server" if here else "lend")(SERVICES)
    copy_install(made.home)
    made.write("install/tool.sh", RECIPE)
    shutil.copy(made.home / "install/tool.sh", made.home / "install/absent.sh")
    with_handles(made, "a")
    made.write("func/voice.py", VOICE)
    path = list(sys.path)
    yield made
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "func"]:
        del sys.modules[name]


@pytest.fixture(params=["engine", "Blocking", "AsyncClient", "Client"])
async def onegai(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Engine]:
    if request.param in ("engine", "Blocking"):
        current = Current(Home(server.home), Settings(password=PASSWORD))
        async with InProcess(current, probe=FakeProbe((12,))) as engine:
            blocking = Threaded(Blocking(engine, asyncio.get_running_loop()))
            yield engine if request.param == "engine" else blocking
    elif request.param == "AsyncClient":
        server.start()
        async with AsyncClient(server.url, "onegai", PASSWORD) as client:
            yield client
    else:
        server.start()
        with server.client() as client:
            yield Threaded(client)


async def error_of(work: Awaitable[Any]) -> OneGAIError:
    with pytest.raises(OneGAIError) as caught:
        await work
    return caught.value


async def lines(items: AsyncGenerator[T, None]) -> list[T]:
    return [item async for item in items]


async def working(onegai: Engine, job: Job) -> None:
    """Come back when the job has written a line."""
    async with aclosing(onegai.follow(job)) as output:
        assert await anext(output) == "working"


Ask = Callable[[Engine], Awaitable[Any]]
NO_JOB = Job(id="gone", kind="install", app="tool", state=JobState.RUNNING, created=0)
UNKNOWN = ("unknown_app", 404, "onegai", "'nobody'", "a, ")
ERRORS: dict[str, tuple[Ask, str, int, str, str, str]] = {
    "arguments": (
        lambda onegai: onegai.answer("voice", "main", {}),
        *("bad_arguments", 422, "onegai", "text: ", "text, speed"),
    ),
    "app": (lambda onegai: onegai.answer("nobody", "main", {}), *UNKNOWN),
    "function": (
        lambda onegai: onegai.answer("voice", "sing it?#%2F", {}),
        *("unknown_function", 404, "onegai", "'sing it?#%2F'", "main"),
    ),
    "failure": (
        lambda onegai: onegai.answer("voice", "fails", {}),
        *("function_failed", 500, "voice", "on purpose", "onegai.log"),
    ),
    "start of what is not there": (
        lambda onegai: onegai.start("absent"),
        *("not_installed", 409, "onegai", "absent", "/app/install"),
    ),
    "start of what has no process": (
        lambda onegai: onegai.start("voice"),
        *("no_service", 409, "onegai", "voice", ""),
    ),
    "update without a script": (
        lambda onegai: onegai.update("voice"),
        *("no_install_script", 409, "onegai", "install/voice.sh", ""),
    ),
    "job": (
        lambda onegai: onegai.job("a b"),
        *("unknown_job", 404, "onegai", "'a b'", "GET /job"),
    ),
    "job to follow": (
        lambda onegai: lines(onegai.follow(NO_JOB)),
        *("unknown_job", 404, "onegai", "'gone'", "GET /job"),
    ),
    "log": (lambda onegai: onegai.logs("nobody"), *UNKNOWN),
    "log to follow": (lambda onegai: first_of_log(onegai, "nobody"), *UNKNOWN),
}


async def first_of_log(onegai: Engine, app: str) -> str:
    async with aclosing(onegai.log_follow(app)) as log:
        return await anext(log)


class TestEngine:
    async def test_install_and_uninstall(self, onegai: Engine) -> None:
        assert not (await onegai.apps())["tool"].installed
        before = {known.id for known in await onegai.jobs()}
        job = await onegai.install("tool")
        assert (job.kind, job.app) == ("install", "tool")
        assert "working" in await lines(onegai.follow(job))
        ended = await onegai.job(job.id)
        assert ended.state is JobState.DONE
        assert {known.id for known in await onegai.jobs()} - before == {job.id}
        apps = await onegai.apps()
        assert list(apps) == sorted(SERVICES)
        assert apps["tool"].installed
        assert [info.name for info in apps["voice"].functions][:2] == ["main", "audio"]

        updated = await onegai.update("tool", force=True, wait=True)
        assert (updated.kind, updated.state) == ("update", JobState.DONE)
        gone = await onegai.uninstall("tool", purge=True, wait=True)
        assert gone.state is JobState.DONE
        assert "freed" in gone.result
        assert not (await onegai.apps())["tool"].installed

    async def test_failed_install(self, onegai: Engine, server: Server) -> None:
        server.write("broken", "")
        followed = await error_of(lines(onegai.follow(await onegai.install("tool"))))
        waited = await error_of(onegai.install("tool", wait=True))
        for error in (followed, waited):
            assert (error.code, error.status) == ("install_failed", 500)
            assert "exit status 1" in error.message
            assert error.detail["src"] == "tool"
            assert "data/logs/install-tool.log" in error.advice

    async def test_cancel(self, onegai: Engine, server: Server) -> None:
        server.write("slow", "")
        job = await onegai.install("tool")
        await working(onegai, job)
        assert (await onegai.install("tool")).id == job.id
        assert (await onegai.job(job.id)).log == ["working"]
        following = asyncio.create_task(lines(onegai.follow(job)))
        cancelled = await onegai.cancel(job.id)
        assert cancelled.state is JobState.CANCELLED
        error = await error_of(following)
        assert (error.code, error.status) == ("stopped", 409)
        assert "tool" in error.message

    async def test_events_resume(self, onegai: Engine) -> None:
        job = await onegai.install("tool", wait=True)
        events = await lines(onegai.events(job.id))
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        assert (events[0].event, events[0].data["state"]) == ("state", "running")
        assert (events[-1].event, events[-1].data["state"]) == ("state", "done")
        assert await lines(onegai.events(job.id, after=events[-3].id)) == events[-2:]

    async def test_start_and_stop(self, onegai: Engine) -> None:
        started = await onegai.start("a")
        assert (started.app, started.state) == ("a", State.READY)
        report = await onegai.status()
        assert [service.pid for service in report.services] == [started.pid, None]
        assert report.memory.ram_total > 0
        assert report.problems == []
        assert (await onegai.start("a")).pid == started.pid
        again = await onegai.start("a", restart=True)
        assert again.pid not in (None, started.pid)
        assert [(one.app, one.state) for one in await onegai.stop("a", force=True)] == [
            ("a", State.STOPPED)
        ]
        assert await onegai.stop("*") == []
        assert (await onegai.start("a", wait=False)).app == "a"
        async with asyncio.timeout(SECONDS):
            while (await onegai.status()).services[0].state is not State.READY:
                await asyncio.sleep(0.01)
        assert [one.app for one in await onegai.stop("*", force=True)] == ["a"]

    async def test_answers(self, onegai: Engine) -> None:
        echo = (await onegai.answer("a", "main", {"self": 1, "app": "x"})).result
        assert (echo["path"], '"app": "x"' in echo["body"]) == ("/echo", True)

        main = await onegai.answer("voice", "main", {"text": "ねこ"})
        assert main.envelope is not None
        assert main.envelope["status"] == 0
        assert main.envelope["detail"] == {"speed": 1}
        assert (main.result, main.media_type) == ("ねこ", "application/json")
        assert b'"servertime"' in main.content

        audio = await onegai.answer("voice", "audio", {})
        assert (audio.content, audio.result, audio.envelope) == (WAV, WAV, None)
        assert audio.media_type == "audio/wav"

        raw = await onegai.answer("voice", "raw", {"status": 0})
        assert (raw.content, raw.result, raw.envelope) == (b'{"status":0}', {"status": 0}, None)

    async def test_submit(self, onegai: Engine) -> None:
        job = await onegai.submit("voice", "main", {"text": "ねこ", "speed": 2})
        assert (job.kind, job.app, job.function) == ("call", "voice", "main")
        assert [event.data async for event in onegai.events(job.id)][-1]["state"] == "done"
        main = await onegai.result(job)
        assert (main.result, main.media_type) == ("ねこ", "application/json")
        assert main.envelope is not None
        assert main.envelope["detail"] == {"speed": 2}

        bare = await onegai.submit("voice", "raw", {"status": 0})
        await lines(onegai.follow(bare))
        raw = await onegai.result(bare)
        assert (raw.content, raw.result, raw.envelope) == (b'{"status":0}', {"status": 0}, None)

        sound = await onegai.submit("voice", "audio", {})
        await lines(onegai.follow(sound))
        audio = await onegai.result(sound)
        assert (audio.content, audio.media_type) == (WAV, "audio/wav")

        failing = await onegai.submit("voice", "fails", {})
        assert (await error_of(lines(onegai.follow(failing)))).code == "function_failed"
        error = await error_of(onegai.result(failing))
        assert (error.code, error.status, error.src) == ("function_failed", 500, "voice")
        wrong = await error_of(onegai.submit("voice", "main", {}))
        assert (wrong.code, wrong.status) == ("bad_arguments", 422)

    async def test_result_of_what_is_no_call(self, onegai: Engine, server: Server) -> None:
        server.write("slow", "")
        job = await onegai.install("tool")
        error = await error_of(onegai.result(job))
        assert (error.code, error.status) == ("job_not_done", 409)
        await onegai.cancel(job.id)
        assert (await error_of(onegai.result(job))).code == "stopped"
        (server.home / "slow").unlink()
        done = await onegai.install("tool", wait=True)
        assert (await onegai.result(done)).result["id"] == done.id

    async def test_files_in_answers(self, onegai: Engine) -> None:
        linked = await onegai.answer("voice", "kept", {})
        sound = linked.result["sound"]
        assert (sound["media_type"], sound["size"]) == ("audio/wav", len(WAV))
        assert sound["url"].startswith("/file/")
        assert "base64" not in sound
        whole = await onegai.answer("voice", "kept", {}, files="base64")
        assert base64.b64decode(whole.result["sound"]["base64"]) == WAV
        job = await onegai.submit("voice", "kept", {}, files="signed")
        await lines(onegai.follow(job))
        assert "signature=" in (await onegai.result(job)).result["sound"]["url"]

    async def test_files_of_the_caller(self, onegai: Engine, tmp_path: Path) -> None:
        first, second = tmp_path / "ね こ.txt", tmp_path / "b.txt"
        first.write_text("one")
        second.write_text("two")
        one, two = ["ね こ.txt", "one"], ["b.txt", "two"]

        async def result(function: str, **arguments: Any) -> Any:
            return (await onegai.answer("voice", function, arguments)).result

        assert await result("letter", page=first, more=[second, "data:,x", first]) == [
            one,
            [two, ["file.txt", "x"], one],
        ]
        assert await result("letter", page=first, more=[second]) == [one, [two]]
        exact = {"n": 3, "text": "3", "json": "[1]", "list": [1, "2"], "none": None}
        given = {**exact, "f": first, "l": [second, 1]}
        assert await result("anything", **given) == {**exact, "f": one, "l": [two, 1]}
        assert first.read_text() == "one"

    async def test_files_of_a_job_may_go_when_it_has_begun(
        self, onegai: Engine, server: Server, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.txt"
        path.write_text("one")
        job = await onegai.submit("voice", "later", {"page": path, "more": [path]})
        path.unlink()
        server.write("func/open", "")
        assert await lines(onegai.follow(job)) == []
        assert (await onegai.result(job)).result == [["a.txt", "one"], [["a.txt", "one"]]]
        async with asyncio.timeout(SECONDS):
            while any((server.home / "data/uploads").iterdir()):
                await asyncio.sleep(0.01)

    async def test_files_that_cannot_be_read(self, onegai: Engine, tmp_path: Path) -> None:
        for path in (tmp_path / "none", tmp_path):
            given = {"page": "data:,x", "more": [path]}
            for work in (
                onegai.answer("voice", "letter", given),
                onegai.submit("voice", "letter", given),
            ):
                error = await error_of(work)
                assert error.code == "bad_arguments"
                [told] = error.detail["errors"]
                assert (told["field"], str(path) in told["message"]) == ("more", True)

    async def test_stream(self, onegai: Engine) -> None:
        events = await lines(onegai.stream("voice", "count", {}))
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        assert [(event.event, event.data) for event in events] == [
            ("running", {}),
            ("progress", {"fraction": 0.5, "text": "half", "step": 1}),
            *(("output", {"result": number}) for number in range(3)),
            ("done", {"result": "all", "detail": {"to": 3}}),
        ]
        words = await lines(onegai.stream("voice", "words", {}))
        assert [event.data.get("result") for event in words] == [None, "ね", "こ", None]
        whole = await lines(onegai.stream("voice", "main", {"text": "hi"}))
        assert [(event.event, event.data) for event in whole] == [
            ("running", {}),
            ("done", {"result": "hi", "detail": {"speed": 1}}),
        ]

    async def test_stream_of_files(self, onegai: Engine, tmp_path: Path) -> None:
        page = tmp_path / "a.txt"
        page.write_text("one")
        letter = await lines(onegai.stream("voice", "letter", {"page": page, "more": [page]}))
        assert letter[-1].data["result"] == [["a.txt", "one"], [["a.txt", "one"]]]
        for form in ("url", "base64"):
            events = await lines(onegai.stream("voice", "sound", {}, files=form))
            wav, more = (event.data["result"] for event in events if event.event == "output")
            assert (wav["media_type"], wav["size"], more["size"]) == ("audio/wav", len(WAV), 4)
            assert wav["url"].startswith("/file/")
            assert ("base64" in wav) is (form == "base64")
        assert base64.b64decode(wav["base64"] + more["base64"]) == WAV + b"more"
        (*_rest, done) = await lines(onegai.stream("voice", "audio", {}))
        assert base64.b64decode(done.data["result"]) == WAV
        assert done.data["detail"] == {"media_type": "audio/wav", "size": len(WAV)}

    async def test_stream_that_fails(self, onegai: Engine, tmp_path: Path) -> None:
        for function, given, code in (
            ("main", {}, "bad_arguments"),
            ("sing", {}, "unknown_function"),
            ("letter", {"page": tmp_path}, "bad_arguments"),
        ):
            assert (await error_of(lines(onegai.stream("voice", function, given)))).code == code
        for given, pieces in (({"fail": True}, 3), ({"fail": True, "to": 0}, 0)):
            events = await lines(onegai.stream("voice", "count", given))
            assert [event.event for event in events].count("output") == pieces
            error = failure(events[-1].data)
            assert (error.code, error.status, error.src) == ("function_failed", 500, "voice")

    async def test_closed_stream_cancels_the_call(self, onegai: Engine, server: Server) -> None:
        async with asyncio.timeout(SECONDS):
            async with aclosing(onegai.stream("voice", "endless", {})) as events:
                async for event in events:
                    if event.event == "output":
                        break
            while not (server.home / "func/closed").exists():
                await asyncio.sleep(0.01)

    async def test_functions(self, onegai: Engine) -> None:
        main = await onegai.function("voice", "main")
        await onegai.functions_of("a")
        functions = await onegai.functions()
        assert set(functions) == {"a", "voice"}
        assert (main.name, main.about, main.derived, main.streams) == ("main", "", False, False)
        properties, required = main.arguments["properties"], main.arguments["required"]
        assert (list(properties), required) == (["text", "speed"], ["text"])
        assert main in functions["voice"]
        assert functions["voice"] == await onegai.functions_of("voice")
        for asking, code in (
            (onegai.function("voice", "sing"), "unknown_function"),
            (onegai.function("nobody", "main"), "unknown_app"),
            (onegai.functions_of("nobody"), "unknown_app"),
        ):
            assert (await error_of(asking)).code == code

    async def test_concurrent_calls(self, onegai: Engine) -> None:
        async with asyncio.timeout(SECONDS):
            answers = await asyncio.gather(
                *(onegai.answer("voice", "meet", {"n": number}) for number in range(4))
            )
        assert [answer.result for answer in answers] == [{"n": number} for number in range(4)]

    async def test_files(self, onegai: Engine, server: Server) -> None:
        server.write("config.json", {"username": "onegai", "password": PASSWORD})
        config = await onegai.config_document()
        assert config.content == {"username": "onegai", "password": "********"}
        wanted = {**config.content, "vram_headroom": 0.5}
        applied = await onegai.replace_config(wanted, config.etag)
        assert applied.now == ["vram_headroom"]
        assert await onegai.config_document() == Document(content=wanted, etag=applied.etag)
        lost = await error_of(onegai.replace_config(wanted, config.etag))
        assert (lost.code, lost.status) == ("lost_update", 412)

        entries = await onegai.services_document()
        assert list(entries.content) == list(SERVICES)
        wanted = {**entries.content, "voice": {"type": "inline", "title": "Voice"}}
        applied = await onegai.replace_services(wanted, entries.etag)
        assert (applied.now, applied.etag != entries.etag) == (["voice.title"], True)
        assert (await onegai.apps())["voice"].title == "Voice"
        blind = await error_of(onegai.replace_services(wanted, None))
        assert (blind.code, blind.status) == ("if_match_missing", 428)
        app = {"app": "x", "read": "y", "path": "z", "model": "w", "if_match": "*"}
        wrong = await error_of(onegai.replace_config({**wanted, **app}, "*"))
        assert {*app} <= {item["field"] for item in wrong.detail["errors"]}

    async def test_errors(self, onegai: Engine) -> None:
        for what, (ask, code, status, src, says, hint) in ERRORS.items():
            error = await error_of(ask(onegai))
            assert (error.code, error.status, error.src) == (code, status, src), what
            assert error.message == str(error)
            assert says in error.message, what
            assert hint in error.advice, what
            assert (error.detail["code"], error.detail["hint"]) == (code, error.advice)
        error = await error_of(onegai.answer("voice", "main", {"speed": "fast"}))
        assert error.code == "bad_arguments"
        assert [item["field"] for item in error.detail["errors"]] == ["text", "speed"]

    async def test_logs(self, onegai: Engine, server: Server) -> None:
        await onegai.start("a")
        assert (await onegai.logs("a")).startswith("listening on ")
        assert await onegai.logs("a", 0) == ""
        async with asyncio.timeout(SECONDS), aclosing(onegai.log_follow("a", 1)) as log:
            assert (await anext(log)).startswith("listening on ")
            with (server.home / "data/logs/a.log").open("a") as file:
                file.write("one\n二\n")
            assert [await anext(log), await anext(log)] == ["one", "二"]
        assert (await onegai.logs("a", 2)) == "one\n二\n"


@pytest.mark.parametrize("kind", ["AsyncClient", "Client"])
class TestClients:
    """What only somebody who is not in the server's process can meet."""

    @pytest.fixture
    def client(self, kind: str) -> Callable[..., Any]:
        def make(url: str, password: str = PASSWORD, **options: Any) -> Any:
            if kind == "AsyncClient":
                return AsyncClient(url, "onegai", password, **options)
            return Threaded(Client(url, "onegai", password, **options))

        return make

    async def test_call_and_raw(self, server: Server, client: Callable[..., Any]) -> None:
        onegai = client(server.start().url + "/")
        assert await onegai.healthy()
        assert await onegai.call("voice", text="hi") == "hi"
        assert await onegai.call("voice", "audio") == WAV
        assert await onegai.raw("voice", "audio") == WAV
        assert await onegai.raw("voice", b=1) == b'{"b":1}'
        await onegai.close()

    async def test_wrong_password(self, server: Server, client: Callable[..., Any]) -> None:
        onegai = client(server.start().url, "間違い")
        for work in (onegai.status(), lines(onegai.log_follow("a"))):
            error = await error_of(work)
            assert (error.code, error.status) == ("unauthorized", 401)
            assert "password" in error.advice
        await onegai.close()

    async def test_no_server(self, client: Callable[..., Any]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            onegai = client(url)
            error = await error_of(onegai.call("voice", text="hi"))
            assert (error.code, url in error.message) == ("server_unreachable", True)
            assert not await onegai.healthy()
            await onegai.close()

    async def test_silent_server(self, client: Callable[..., Any]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            onegai = client(url, timeout=0.1)
            error = await error_of(onegai.status())
            assert (error.code, url in error.message) == ("server_unreachable", True)
            await onegai.close()

    async def test_something_else(self, server: Server, client: Callable[..., Any]) -> None:
        server.start()
        with server.client() as right:
            url = right.start("a").url
        onegai = client(url)
        found, missing = await error_of(onegai.jobs()), await error_of(onegai.install("a"))
        assert (found.code, missing.code) == ("no_onegai", "no_onegai")
        assert (url in missing.message, "404" in missing.message) == (True, True)
        await onegai.close()

    async def test_killed_server(self, make_server: Make, client: Callable[..., Any]) -> None:
        server = make_server(SERVICES)
        onegai = client(server.start().url)
        await onegai.start("a")
        async with asyncio.timeout(SECONDS), aclosing(onegai.log_follow("a")) as log:
            await anext(log)
            assert server.process is not None
            os.kill(server.process.pid, signal.SIGKILL)
            error = await error_of(anext(log))
        assert error.code == "server_unreachable"
        server.process.wait()
        server.process = None
        await onegai.close()


class Listener:
    """Takes one request on a socket and never answers; knows when its sender has gone."""

    def __init__(self, head: bytes = b"") -> None:
        self._head = head
        self.asked, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._head)
        self.asked.set()
        while await reader.read(100):
            pass
        self.left.set()
        writer.close()


EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b'event: line\ndata: {"line": "one"}\n\n'
)


async def test_cancelled_call_hangs_up() -> None:
    listener = Listener()
    async with (
        asyncio.timeout(SECONDS),
        await asyncio.start_server(listener, "127.0.0.1", 0) as listening,
        AsyncClient(url_of(listening), "onegai", PASSWORD) as onegai,
    ):
        call = asyncio.create_task(onegai.call("voice", text="x"))
        await listener.asked.wait()
        call.cancel()
        await listener.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_closed_stream_hangs_up() -> None:
    listener = Listener(EVENTS)
    async with (
        asyncio.timeout(SECONDS),
        await asyncio.start_server(listener, "127.0.0.1", 0) as listening,
        AsyncClient(url_of(listening), "onegai", PASSWORD) as onegai,
    ):
        async with aclosing(onegai.log_follow("a")) as log:
            assert await anext(log) == "one"
            assert not listener.left.is_set()
        await listener.left.wait()


CUT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1c\r\nevent: running\ndata: {}\n\n\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("kind", ["AsyncClient", "Client"])
class TestStreams:
    """Of servers that are not ours, or in need."""

    @pytest.fixture
    async def stream(self, kind: str) -> AsyncIterator[Callable[[bytes], Any]]:
        async with AsyncExitStack() as open_until:

            async def stream(answer: bytes) -> list[Event]:
                listener = Listener(answer)
                listening = await asyncio.start_server(listener, "127.0.0.1", 0)
                await open_until.enter_async_context(listening)
                if kind == "AsyncClient":
                    client: Any = AsyncClient(url_of(listening), "onegai", PASSWORD)
                    open_until.push_async_callback(client.close)
                else:
                    blocking = Client(url_of(listening), "onegai", PASSWORD)
                    open_until.callback(blocking.close)
                    client = Threaded(blocking)
                async with asyncio.timeout(SECONDS):
                    return await lines(client.stream("voice", "main", {}))

            yield stream

    async def test_events_that_end_before_the_call(self, stream: Callable[..., Any]) -> None:
        assert (await error_of(stream(CUT))).code == "server_unreachable"

    async def test_a_route_of_an_api_file_that_answers_at_once(
        self, stream: Callable[..., Any]
    ) -> None:
        for media_type, data in (
            ("application/json", {"result": {"a": 1}, "detail": {}}),
            ("text/plain", {"result": '{"a": 1}', "detail": {}}),
            (
                "audio/wav",
                {
                    "result": base64.b64encode(b'{"a": 1}').decode(),
                    "detail": {"media_type": "audio/wav", "size": 8},
                },
            ),
        ):
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: 8\r\n\r\n"
            (event,) = await stream(head.encode() + b'{"a": 1}')
            assert (event.id, event.event, event.data) == (1, "done", data)


async def test_close_ends_what_waits() -> None:
    listener = Listener()
    async with (
        asyncio.timeout(SECONDS),
        await asyncio.start_server(listener, "127.0.0.1", 0) as listening,
    ):
        onegai = AsyncClient(url_of(listening), "onegai", PASSWORD)
        call = asyncio.create_task(onegai.call("voice", text="x"))
        await listener.asked.wait()
        await onegai.close()
        assert (await error_of(call)).code == "server_unreachable"
        await listener.left.wait()


def url_of(listening: asyncio.Server) -> str:
    return f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
