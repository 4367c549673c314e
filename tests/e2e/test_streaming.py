"""Calls that stream, through an engine in this process: every way to read one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from test_sharing import Stage

from onegai.calls.calls import Streamed
from onegai.config.current import Current
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.engine.engine import Engine
from onegai.errors import BadArguments, CallTimeout, FunctionFailed, ResultTooLarge
from onegai.functions.results import Outcome
from onegai.schema import Event

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
CODE = f"""
import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from onegai.sdk import progress

WAV = {WAV!r}


class Words(BaseModel):
    n: int = 3
    note: str = ""


def noted(args, word):
    with open(args.note, "a") as file:
        file.write(word + "\\n")


def main(args: Words) -> str:
    progress(0.5, "half way")
    return "whole"


def words(args: Words):
    try:
        for number in range(args.n):
            progress(number / args.n, word=number)
            yield f"word{{number}} "
            if args.note:
                noted(args, str(number))
    finally:
        if args.note:
            noted(args, "finally " + threading.current_thread().name)


async def words_async(args: Words):
    try:
        for number in range(args.n):
            progress(number / args.n)
            yield f"word{{number}} "
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        if args.note:
            noted(args, "finally")


def sound(args: Words):
    yield WAV
    for number in range(args.n):
        yield bytes([number])


def rows(args: Words):
    for number in range(args.n):
        yield {{"n": number, "sound": WAV}}


def returns(args: Words):
    yield 1
    yield 2
    return {{"sum": 3}}


def breaks(args: Words):
    yield "begun"
    raise ValueError("on purpose")


def breaks_at_once(args: Words):
    raise ValueError("on purpose")
    yield


def mixed(args: Words):
    yield "text"
    yield b"bytes"


def nothing(args: Words):
    yield from ()


def no_words(args: Words) -> Iterator[str]:
    yield from ()


def waits(args: Words):
    yield "begun"
    try:
        while True:
            time.sleep(0.01)
            yield "more"
    finally:
        Path(args.note).write_text("finally")


async def late(args: Words):
    try:
        await asyncio.sleep(60)
        yield "late"
    finally:
        Path(args.note).write_text("finally")


def endless(args: Words):
    while True:
        yield "x" * 1000
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with running(tmp_path) as engine:
        yield engine


@asynccontextmanager
async def running(root: Path, **settings: Any) -> AsyncIterator[Engine]:
    """An engine with one app, which is a func file."""
    home = Home(root)
    home.func_file("talk").parent.mkdir()
    home.func_file("talk").write_text(CODE)
    current = Current(home, Settings(password="x", **settings))
    async with asyncio.timeout(60), Engine(current) as engine:
        yield engine


async def events(engine: Engine, function: str, **arguments: Any) -> list[Event]:
    return [event async for event in engine.stream("talk", function, arguments)]


def named(told: list[Event]) -> list[str]:
    return [event.event for event in told]


def outputs(told: list[Event]) -> list[Any]:
    return [event.data["result"] for event in told if event.event == "output"]


async def test_the_events_of_an_ordinary_function(engine: Engine) -> None:
    told = await events(engine, "main")
    assert named(told) == ["running", "progress", "done"]
    assert [event.id for event in told] == [1, 2, 3]
    assert told[1].data == {"fraction": 0.5, "text": "half way"}
    assert told[-1].data == {"result": "whole", "detail": {}}


@pytest.mark.parametrize("function", ["words", "words_async"])
async def test_the_pieces_of_a_generator(engine: Engine, function: str) -> None:
    told = await events(engine, function)
    assert outputs(told) == ["word0 ", "word1 ", "word2 "]
    assert named(told)[0] == "running"
    assert named(told)[-1] == "done"
    assert told[-1].data == {"result": None, "detail": {}}


async def test_bytes_are_files_in_events(engine: Engine) -> None:
    told = await events(engine, "sound", n=1)
    files = outputs(told)
    assert [(file["media_type"], file["size"]) for file in files] == [
        ("audio/wav", len(WAV)),
        ("application/octet-stream", 1),
    ]
    kept = [engine.files.find(*file["url"].split("/")[2:]) for file in files]
    assert [engine.files.path(one).read_bytes() for one in kept] == [WAV, b"\0"]


async def test_other_pieces_are_their_json_and_what_is_returned_is_the_result(
    engine: Engine,
) -> None:
    told = await events(engine, "rows", n=2)
    assert [row["n"] for row in outputs(told)] == [0, 1]
    assert outputs(told)[0]["sound"]["media_type"] == "audio/wav"
    told = await events(engine, "returns")
    assert outputs(told) == [1, 2]
    assert told[-1].data == {"result": {"sum": 3}, "detail": {}}


async def test_a_failure_after_the_beginning_is_the_last_event(engine: Engine) -> None:
    told = await events(engine, "breaks")
    assert named(told) == ["running", "output", "error"]
    error = told[-1].data
    assert (error["code"], error["status"], error["src"]) == ("function_failed", 500, "talk")
    assert "on purpose" in error["message"]
    assert named(await events(engine, "breaks_at_once")) == ["running", "error"]


async def test_what_is_wrong_with_the_arguments_is_raised(engine: Engine) -> None:
    with pytest.raises(BadArguments):
        await anext(engine.stream("talk", "words", {"n": "many"}))


@pytest.mark.parametrize("function", ["waits", "words_async", "endless"])
async def test_closing_the_events_closes_the_generator(
    engine: Engine, function: str, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    stream = engine.stream("talk", function, {"note": str(note), "n": 1_000_000})
    async with aclosing(stream) as told:
        async for event in told:
            if event.event == "output":
                break
    await until(lambda: engine.calls.turns("talk").running == 0)
    if function != "endless":
        await until(note.exists)
        assert note.read_text().strip() == "finally"


async def until(wish: Any) -> None:
    async with asyncio.timeout(60):
        while not wish():
            await asyncio.sleep(0.002)


async def test_all_of_a_generator_runs_in_one_thread(engine: Engine, tmp_path: Path) -> None:
    note = tmp_path / "note"
    await events(engine, "words", note=str(note))
    assert [line.split()[0] for line in note.read_text().splitlines()] == ["0", "1", "2", "finally"]


async def test_a_slow_reader_holds_the_generator_back(engine: Engine, tmp_path: Path) -> None:
    note = tmp_path / "note"
    stream = engine.stream("talk", "words", {"n": 500, "note": str(note)})
    async with aclosing(stream) as told:
        while (await anext(told)).event != "output":
            pass
        await until(note.exists)
        made = 0
        while made < (made := len(note.read_text().splitlines())):  # until it makes no more
            await asyncio.sleep(0.05)
        assert made < 20
        rest = [event async for event in told]
    assert len(outputs(rest)) == 499
    assert rest[-1].event == "done"


async def test_progress_never_goes_back(engine: Engine) -> None:
    told = await events(engine, "words", n=50)
    fractions = [event.data["fraction"] for event in told if event.event == "progress"]
    assert fractions
    assert fractions == sorted(set(fractions))


# --- without events --------------------------------------------------------------------------


async def test_the_answer_has_the_pieces_together(engine: Engine) -> None:
    async def answer(function: str) -> Outcome:
        return await engine.call("talk", function, {})

    text = await answer("words")
    assert (text.body.content, text.body.media_type) == (
        b"word0 word1 word2 ",
        "text/plain; charset=utf-8",
    )
    sound = await answer("sound")
    assert (sound.body.content, sound.body.media_type) == (WAV + b"\0\1\2", "audio/wav")
    assert [row["n"] for row in (await answer("rows")).value] == [0, 1, 2]
    assert (await answer("returns")).value == {"sum": 3}
    assert (await answer("nothing")).value == []
    none = (await answer("no_words")).body
    assert (none.content, none.media_type) == (b"", "text/plain; charset=utf-8")


async def respond(engine: Engine, function: str, **arguments: Any) -> Outcome | Streamed:
    return await engine.respond("talk", function, arguments)


@pytest.mark.parametrize("function", ["words", "words_async"])
async def test_text_comes_as_it_is_yielded(engine: Engine, function: str) -> None:
    answer = await respond(engine, function)
    assert isinstance(answer, Streamed)
    assert answer.media_type == "text/plain; charset=utf-8"
    assert [piece async for piece in answer] == [b"word0 ", b"word1 ", b"word2 "]
    await answer.aclose()


async def test_bytes_come_as_they_are_yielded(engine: Engine) -> None:
    answer = await respond(engine, "sound", n=2)
    assert isinstance(answer, Streamed)
    assert answer.media_type == "audio/wav"
    assert [piece async for piece in answer] == [WAV, b"\0", b"\1"]


@pytest.mark.parametrize("function", ["main", "rows", "returns", "nothing"])
async def test_everything_else_is_an_ordinary_answer(engine: Engine, function: str) -> None:
    assert isinstance(await respond(engine, function), Outcome)


async def test_an_error_before_the_first_piece_is_an_ordinary_one(engine: Engine) -> None:
    with pytest.raises(FunctionFailed):
        await respond(engine, "breaks_at_once")


@pytest.mark.parametrize("function", ["breaks", "mixed"])
async def test_an_error_after_the_first_piece_is_raised_behind_it(
    engine: Engine, function: str
) -> None:
    answer = await respond(engine, function)
    assert isinstance(answer, Streamed)
    assert await anext(answer) in (b"begun", b"text")
    with pytest.raises(FunctionFailed):
        await anext(answer)


@pytest.mark.parametrize("reads", [0, 1])
async def test_closing_the_answer_closes_the_generator(
    engine: Engine, reads: int, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    answer = await respond(engine, "waits", note=str(note))
    assert isinstance(answer, Streamed)
    for _ in range(reads):
        await anext(answer)
    await answer.aclose()
    await until(note.exists)
    await until(lambda: engine.calls.turns("talk").running == 0)


async def test_what_is_collected_has_a_limit(tmp_path: Path) -> None:
    async with running(tmp_path, max_result=100_000) as engine:
        with pytest.raises(ResultTooLarge):
            await engine.call("talk", "endless", {})
        answer = await respond(engine, "endless")
        assert isinstance(answer, Streamed)
        for _ in range(500):
            assert len(await anext(answer)) == 1000
        await answer.aclose()
        job = await engine.submit("talk", "endless", {})
        async for event in engine.events(job.id):
            last = event
        assert last.data["error"]["code"] == "result_too_large"


# --- jobs ------------------------------------------------------------------------------------


async def test_a_job_has_the_same_events(engine: Engine) -> None:
    for function in ("main", "words", "rows", "returns", "breaks"):
        job = await engine.submit("talk", function, {})
        told = [event async for event in engine.events(job.id)]
        states = [event.data["state"] for event in told if event.event == "state"]
        assert states == ["running", "failed" if function == "breaks" else "done"]
        calls = [event for event in told if event.event not in ("state", "progress")]
        direct = [e for e in await events(engine, function) if e.event != "progress"]
        assert named(calls) == named(direct)
        if function != "rows":  # whose files are others each time
            assert [event.data for event in calls] == [event.data for event in direct]


async def test_a_job_has_the_answer(engine: Engine) -> None:
    async def result(function: str) -> Any:
        job = await engine.submit("talk", function, {})
        async for _ in engine.follow(job):
            pass
        return (await engine.result(await engine.job(job.id))).result

    assert await result("words") == "word0 word1 word2 "
    assert await result("sound") == WAV + b"\0\1\2"
    assert [row["n"] for row in await result("rows")] == [0, 1, 2]
    assert await result("returns") == {"sum": 3}


async def test_the_log_of_a_job_is_for_people(engine: Engine) -> None:
    job = await engine.submit("talk", "main", {})
    assert [line async for line in engine.follow(job)] == ["50% half way"]
    job = await engine.submit("talk", "words", {})
    async for _ in engine.follow(job):
        pass
    log = (await engine.job(job.id)).log
    assert "".join(line for line in log if line.startswith("word")) == "word0 word1 word2 "


async def test_the_cancel_of_a_job_closes_the_generator(engine: Engine, tmp_path: Path) -> None:
    note = tmp_path / "note"
    job = await engine.submit("talk", "waits", {"note": str(note)})
    async for event in engine.events(job.id):
        if event.event == "output":
            break
    assert (await engine.cancel(job.id)).state == "cancelled"
    await until(note.exists)


# --- with a service --------------------------------------------------------------------------

ASKS = """
from onegai.sdk import async_service, service

me, me_async = service("chat"), async_service("chat")


def words(args: dict):
    yield "begun"
    try:
        me.post("/sleep", params={"s": 60})
    finally:
        args["done"].append("finally")


async def words_async(args: dict):
    yield "begun"
    try:
        await me_async.post("/sleep", params={"s": 60})
    finally:
        args["done"].append("finally")
"""


@pytest.mark.parametrize("function", ["words", "words_async"])
async def test_a_generator_that_waits_for_its_app_is_closed_too(
    function: str, tmp_path: Path
) -> None:
    stage = Stage(tmp_path)
    stage.app("chat", 1, concurrency=1)
    stage.func("chat", ASKS)
    async with asyncio.timeout(60), stage.running():
        # In this process, so that the list is the same one.
        done: list[str] = []
        told = stage.engine.stream("chat", function, {"done": done})
        async with aclosing(told):
            assert [(await anext(told)).event for _ in range(3)] == [
                "starting",
                "running",
                "output",
            ]
            await stage.until("chat", lambda status: status.leases == 1)
        await until(lambda: done == ["finally"])
        await until(lambda: stage.engine.calls.turns("chat").running == 0)
        assert (await stage.status("chat")).leases == 0


@pytest.mark.alone
async def test_the_time_that_a_call_may_take_is_that_of_all_its_pieces(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.app("chat", 1)
    stage.func("chat", ASKS)
    async with asyncio.timeout(60), stage.running():
        await stage.engine.start("chat")
        stage.apps["chat"]["call_timeout"] = 1
        stage.home.services.write_text(json.dumps(stage.apps))
        async with asyncio.timeout(60):
            while stage.engine.current.catalog.specs["chat"].call_timeout != 1:
                await asyncio.sleep(0.01)
        for function in ("words", "words_async"):
            done: list[str] = []
            told = await collected(stage.engine.stream("chat", function, {"done": done}))
            assert named(told) == ["running", "output", "error"]
            assert told[-1].data["code"] == "call_timeout"
            answer = await stage.engine.respond("chat", function, {"done": done})
            assert isinstance(answer, Streamed)
            assert await anext(answer) == b"begun"
            with pytest.raises(CallTimeout):
                await anext(answer)
            await until(lambda done=done: done == ["finally"] * 2)


async def test_who_leaves_before_the_first_piece_closes_the_generator(
    engine: Engine, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    waiting = asyncio.create_task(respond(engine, "late", note=str(note)))
    await until(lambda: engine.calls.turns("talk").running == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(note.exists)
    assert engine.calls.turns("talk").running == 0


async def test_a_call_tells_what_it_waits_for(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for app in ("chat", "image"):
        stage.app(app, 8, concurrency=1)
    async with asyncio.timeout(60), stage.running():
        await stage.call("image")
        calls = [stage.engine.stream("chat", "main", {}) for _ in range(3)]
        told = await asyncio.gather(*map(collected, calls))
        waited = {"evicting": {"apps": ["image"]}, "starting": {"app": "chat"}}
        for events in told:
            found = {event.event: event.data for event in events}
            assert waited.items() <= found.items()
            assert named(events)[-2:] == ["running", "done"]
        places = [[e.data["place"] for e in events if e.event == "queued"] for events in told]
        assert places == [[], [1], [2, 1]]


async def collected(told: AsyncGenerator[Event, None]) -> list[Event]:
    return [event async for event in told]
