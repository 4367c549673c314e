"""A source of functions of one's own: everybody who knows functions knows its."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from pydantic import BaseModel
from served import PASSWORD

from onegai import AsyncClient, Client
from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.engine.engine import Engine
from onegai.errors import BadArguments, UnknownFunction
from onegai.functions.function import Function
from onegai.functions.functions import Functions
from onegai.functions.signature import Typed
from onegai.functions.source import NOTHING, Found, Look
from onegai.memory.probe import FakeProbe
from onegai.schema import FunctionInfo, Job
from onegai.sdk.local import LocalEngine
from onegai.server.app import App

ROOT = Path(__file__).parents[2]
SUMMARY = "Say it loudly."


class Words(BaseModel):
    text: str


class Shouts:
    """Lets one app shout."""

    def __init__(self, app: str = "a_b") -> None:
        self.app = app
        shout = Function(
            app=app,
            name="shout",
            doc=SUMMARY,
            form="other",
            accepts=Typed(Words),
            run=lambda args: args.text.upper(),
        )
        self.found = Found({"shout": shout})

    def last(self, spec: AppSpec) -> Found:
        return self.found if spec.app == self.app else NOTHING

    async def refresh(self, spec: AppSpec, look: Look) -> Found:
        return self.last(spec)


@dataclass
class Served:
    """A server on a socket."""

    engine: Engine
    url: str


@pytest.fixture
async def served(home: Home, settings: Settings) -> AsyncIterator[Served]:
    async with Engine(
        Current(home, settings), probe=FakeProbe((12,)), sources=[Shouts()]
    ) as engine:
        app = App(engine, settings)
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            yield Served(engine, f"http://127.0.0.1:{listener.getsockname()[1]}")
            server.should_exit = True
            await serving


@pytest.fixture
async def onegai(served: Served) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.url, "onegai", PASSWORD) as client:
        yield client


def check(info: FunctionInfo) -> None:
    assert (info.name, info.summary, info.about) == ("shout", SUMMARY, SUMMARY)
    assert list(info.arguments["properties"]) == ["text"]


async def test_it_is_listed_beside_those_of_the_func_file(onegai: AsyncClient) -> None:
    functions = await onegai.functions()
    assert {one.name for one in functions["a_b"]} == {"c", "shout"}
    assert functions["a_b"] == await onegai.functions_of("a_b")
    check(await onegai.function("a_b", "shout"))
    listed = (await onegai.apps())["a_b"].functions
    assert {one.name: one.summary for one in listed}["shout"] == SUMMARY


async def test_it_is_in_the_docs(served: Served) -> None:
    async with httpx2.AsyncClient(auth=("onegai", PASSWORD)) as client:
        document = (await client.get(f"{served.url}/openapi.json")).json()
    operation = document["paths"]["/api/a_b/shout"]["post"]
    assert operation["summary"] == SUMMARY
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert list(schema["properties"]) == ["text"]


async def test_both_clients_call_it(served: Served, onegai: AsyncClient) -> None:
    assert await onegai.call("a_b", "shout", text="hey") == "HEY"

    def by_the_other() -> tuple[FunctionInfo, Any]:
        client = Client(served.url, "onegai", PASSWORD)
        return client.function("a_b", "shout"), client.call("a_b", "shout", text="ho")

    info, result = await asyncio.to_thread(by_the_other)
    check(info)
    assert result == "HO"


async def test_it_runs_as_a_job(onegai: AsyncClient) -> None:
    job: Job = await onegai.submit("a_b", "shout", {"text": "hey"})
    async for _ in onegai.events(job.id):
        pass
    assert (await onegai.result(job)).result == "HEY"


async def test_the_command_calls_and_explains_it(served: Served, home: Home) -> None:
    async def command(*words: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "onegai", "call", "--server", served.url, *words),
            cwd=ROOT,
            env={**os.environ, "ONEGAI_HOME": str(home.root), "ONEGAI_PASSWORD": PASSWORD},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    assert (await command("a_b", "shout", "text=hey"))[:2] == (0, "HEY\n")
    status, out, _err = await command("a_b", "shout", "--help")
    assert (status, out.splitlines()[0], "text" in out) == (0, SUMMARY, True)
    status, _out, err = await command("a_b", "shout", "txt=hey")
    assert (status, "no argument 'txt'" in err) == (2, True)


def test_plain_python_has_it(home: Home) -> None:
    local = LocalEngine(home, sources=[Shouts()])
    try:
        onegai = local.blocking
        check(onegai.function("a_b", "shout"))
        assert onegai.answer("a_b", "shout", {"text": "hey"}).result == "HEY"
    finally:
        local.close()


CHAIN = """
from func import bare


def main(args: dict) -> str:
    return bare.shout(args) + bare.shout(text="!")


async def later(args: dict) -> str:
    return await bare.shout(args)


def wrong(args: dict) -> str:
    return bare.whisper(args)


def missing(args: dict) -> str:
    return bare.shout()
"""


async def test_func_files_call_it_though_its_app_has_no_func_file(
    home: Home, settings: Settings
) -> None:
    home.services_local.write_text(json.dumps({"bare": {"type": "inline"}}))
    home.func_file("chain").write_text(CHAIN)
    async with Engine(
        Current(home, settings), probe=FakeProbe((12,)), sources=[Shouts("bare")]
    ) as engine:
        assert all(problem.app != "chain" for problem in engine.problems())
        assert (await engine.answer("chain", "main", {"text": "hey"})).result == "HEY!"
        assert (await engine.answer("chain", "later", {"text": "hey"})).result == "HEY"
        with pytest.raises(UnknownFunction) as unknown:
            await engine.answer("chain", "wrong", {})
        assert unknown.value.advice == "it has: shout"
        with pytest.raises(BadArguments):
            await engine.answer("chain", "missing", {})


OWN = """
from onegai.sdk import app_functions

bare = app_functions("bare")


def shout(args: dict) -> str:
    return bare.shout(args) + "?"


def whisper(args: dict) -> str:
    return bare.whisper(args)
"""


async def test_its_own_func_file_calls_what_it_covers(home: Home, settings: Settings) -> None:
    home.services_local.write_text(json.dumps({"bare": {"type": "inline"}}))
    home.func_file("bare").write_text(OWN)
    async with Engine(
        Current(home, settings), probe=FakeProbe((12,)), sources=[Shouts("bare")]
    ) as engine:
        assert (await engine.answer("bare", "shout", {"text": "hey"})).result == "HEY?"
        with pytest.raises(UnknownFunction) as unknown:
            await engine.answer("bare", "whisper", {})
        assert unknown.value.advice == "it has: shout"


def test_a_module_that_is_no_app_is_not_found(home: Home, settings: Settings) -> None:
    home.func_file("chain").write_text("from func import nothing")
    Functions(Current(home, settings))
    with pytest.raises(ImportError, match="nothing"):
        importlib.import_module("func.chain")
