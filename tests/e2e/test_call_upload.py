"""Files that clients and ``onegai call`` send: large ones, answers that come early, bad servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forked
import pytest
from harness import PASSWORD, ROOT, Server, new_server, until

from onegai import AsyncClient, Client, OneGAIError
from onegai.errors import ServerUnreachable

MIB = 1 << 20
LARGE = 200 * MIB
LIMIT = 300 * MIB
SECONDS = 60

FUNC = """
import time
from pathlib import Path

from pydantic import BaseModel

from onegai.sdk import File

here = Path(__file__).parent


class Args(BaseModel):
    audio: File
    more: list[File] = []
    text: str = ""


def about(value):
    if isinstance(value, list):
        return [about(one) for one in value]
    return [value.name, value.size] if isinstance(value, File) else value


def main(args: Args) -> dict:
    return {"audio": about(args.audio), "more": about(args.more), "text": args.text}


def anything(args: dict) -> dict:
    return {key: about(value) for key, value in args.items()}


def waits(args: Args) -> str:
    (here / "called").write_text("")
    while not (here / "open").exists():
        time.sleep(0.01)
    return "done"
"""
SCRIPT = """
import asyncio, re, sys
from pathlib import Path
from onegai import AsyncClient, Client

kind, url, password, path = sys.argv[1:]


async def call():
    async with AsyncClient(url, "onegai", password) as onegai:
        return await onegai.call("files", audio=Path(path))


if kind == "Client":
    with Client(url, "onegai", password) as onegai:
        result = onegai.call("files", audio=Path(path))
else:
    result = asyncio.run(call())
print(result["audio"][1], re.findall(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[0])
"""
MEASURED = """
import resource, subprocess, sys

ended = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(ended.returncode)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("upload") / "home"
    with new_server(home, {"files": {"type": "inline"}}) as made:
        made.write("func/files.py", FUNC)
        config = {"username": "onegai", "password": PASSWORD, "max_upload": LIMIT}
        made.write("config.json", {**config, "max_json": MIB})
        yield made.start()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes no room."""
    return sparse(tmp_path / "large.wav", LARGE)


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def call_command(server: Server, *words: str, **more: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "ONEGAI_HOME": str(server.home), **more.pop("env", {})}
    before = more.pop("before", ())
    return (subprocess if before else forked).Popen(
        [*before, sys.executable, "-m", "onegai", "call", *words],
        cwd=ROOT,
        env=environment,
        stdin=more.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


Ask = Callable[..., Any]


@pytest.fixture(params=["Client", "AsyncClient"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls main of files at an address, with either client."""

    def make(url: str, arguments: dict[str, Any], *, function: str = "main", **options: Any) -> Any:
        given = ("files", function, arguments)
        password = options.pop("password", PASSWORD)
        if request.param == "Client":
            with Client(url, "onegai", password, **options) as onegai:
                return onegai.answer(*given).result

        async def asking() -> Any:
            async with AsyncClient(url, "onegai", password, **options) as onegai:
                return (await onegai.answer(*given)).result

        return asyncio.run(within(asking()))

    return make


async def within(work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(SECONDS):
        return await work


# --- a real server --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_memory_of_a_client_does_not_grow_with_the_file(
    server: Server, large: Path, kind: str
) -> None:
    words = [sys.executable, "-c", SCRIPT, kind, server.url, PASSWORD, str(large)]
    got = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert got.returncode == 0, got.stderr
    size, peak = map(int, got.stdout.split())
    assert size == LARGE
    assert peak << 10 < LARGE // 2


def test_memory_of_the_command_does_not_grow_with_the_file(server: Server, large: Path) -> None:
    measured = [sys.executable, "-c", MEASURED]
    status, out, err = ended(call_command(server, "files", f"audio=@{large}", before=measured))
    assert status == 0, err
    answer, end = json.JSONDecoder().raw_decode(out)
    assert answer["audio"] == ["large.wav", LARGE]
    assert int(out[end:]) << 10 < LARGE // 2


def test_arguments_without_types_arrive_as_they_are(server: Server, ask: Ask, large: Path) -> None:
    given = {"n": 3, "text": "3", "json": '{"a": 1}', "list": [1, "x"], "none": None, "app": True}
    small = sparse(large.with_name("ね こ.txt"), 5)
    result = ask(server.url, {**given, "f": large, "fs": [small, 1]}, function="anything")
    assert result == {**given, "f": ["large.wav", LARGE], "fs": [["ね こ.txt", 5], 1]}


def test_answers_come_although_the_file_is_not_sent_whole(
    server: Server, ask: Ask, large: Path
) -> None:
    too_large = sparse(large.with_name("more"), LIMIT + 1)
    for _ in range(5):
        for given, expected in (
            ({"function": "sing"}, (404, "unknown_function")),
            ({"arguments": {"audio": too_large}}, (413, "file_too_large")),
            ({"arguments": {"text": "x" * (MIB + 1), "audio": large}}, (413, "body_too_large")),
        ):
            with pytest.raises(OneGAIError) as caught:
                ask(server.url, **{"arguments": {"audio": large}, **given})
            assert (caught.value.status, caught.value.code) == expected
    with pytest.raises(OneGAIError) as caught:
        ask(server.url, {"audio": large}, password="wrong")
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")


def test_the_command_shows_what_the_server_says(server: Server, large: Path) -> None:
    too_large = sparse(large.with_name("more"), LIMIT + 1)
    status, out, err = ended(call_command(server, "files", f"audio=@{too_large}"))
    assert (status, out) == (2, "")
    assert err.splitlines()[0] == "onegai: the upload is larger than 300.0 MiB"
    status, _out, err = ended(call_command(server, "nobody", f"audio=@{large}"))
    assert (status, err.splitlines()[0]) == (2, "onegai: there is no app 'nobody'")
    url = ["--server", server.url]
    wrong = {"ONEGAI_PASSWORD": "wrong"}
    status, _out, err = ended(call_command(server, *url, "files", f"audio=@{large}", env=wrong))
    assert status == 4, err


def test_a_file_from_stdin(server: Server, tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path)}
    with sparse(tmp_path / "in.wav", 3 * MIB).open("r+b") as piped:
        piped.write(b"RIFF\x24\0\0\0WAVEfmt ")
        piped.seek(0)
        (tmp_path / "in.wav").unlink()
        words = ["files", "audio=@-", "text=1"]
        status, out, err = ended(call_command(server, *words, stdin=piped, env=environment))
    assert status == 0, err
    assert json.loads(out) == {"audio": ["file.wav", 3 * MIB], "more": [], "text": "1"}
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_temporary_file(server: Server, tmp_path: Path) -> None:
    called = server.home / "func" / "called"
    called.unlink(missing_ok=True)
    gate = server.write("func/open", "")
    gate.unlink()
    with tmp_path.joinpath("in").open("w+b") as piped:
        tmp_path.joinpath("in").unlink()
        piped.write(b"sound")
        piped.seek(0)
        words = ["files", "waits", "audio=@-"]
        process = call_command(server, *words, stdin=piped, env={"TMPDIR": str(tmp_path)})
    try:
        until(called.exists, what="the call")
        assert [path.name for path in tmp_path.rglob("file")] == ["file"]
        process.send_signal(signal.SIGINT)
        status, _out, err = ended(process)
    finally:
        gate.write_text("")
    assert (status, err) == (130, "stopped\n")
    assert list(tmp_path.iterdir()) == []


# --- servers of another kind ----------------------------------------------------------------------


class Taker:
    """A server of one request: asks for the body, reads ``first`` bytes, calls ``then``, reads on.

    ``taken`` is what it got of the body, which ended early where that is less than ``announced``.
    """

    def __init__(self, first: int, then: Callable[[], None], *, asks: bool = True) -> None:
        self._first = first
        self._asks = asks
        self._then = then
        self.announced = 0
        self.taken = bytearray()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(SECONDS)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    @contextmanager
    def serving(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._thread.join(SECONDS)
            self._listening.close()
            assert not self._thread.is_alive()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(SECONDS)
            head = b"".join(iter(stream.readline, b"\r\n"))
            self.announced = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
            if self._asks and b"100-continue" in head.lower():
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.taken += stream.read(self._first)
            self._then()
            while piece := stream.read(min(MIB, self.announced - len(self.taken))):
                self.taken += piece
            if len(self.taken) == self.announced:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
                connection.sendall(b"Content-Length: 2\r\nConnection: close\r\n\r\nok")


def test_a_file_that_becomes_shorter_ends_the_call(ask: Ask, large: Path) -> None:
    taker = Taker(MIB, lambda: os.truncate(large, MIB))
    with taker.serving(), pytest.raises(OneGAIError) as caught:
        ask(taker.url, {"audio": large})
    assert caught.value.code == "bad_arguments"
    assert [error["field"] for error in caught.value.detail["errors"]] == ["audio"]
    assert str(large) in caught.value.message
    assert len(taker.taken) < taker.announced


def test_of_a_file_that_grows_its_beginning_is_sent(ask: Ask, tmp_path: Path) -> None:
    path = sparse(tmp_path / "log", 20 * MIB)
    taker = Taker(MIB, lambda: os.truncate(path, 40 * MIB))
    with taker.serving():
        assert ask(taker.url, {"audio": path}) == "ok"
    assert 20 * MIB < taker.announced < 20 * MIB + 1000
    assert len(taker.taken) == taker.announced


def test_a_server_that_takes_no_more_is_given_up(ask: Ask, large: Path) -> None:
    given_up = threading.Event()
    taker = Taker(MIB, lambda: given_up.wait(SECONDS) and None)
    with taker.serving():
        try:
            with pytest.raises(OneGAIError) as caught:
                ask(taker.url, {"audio": large}, connect_timeout=0.3)
        finally:
            given_up.set()
    assert caught.value.code == "server_unreachable"


def test_nothing_is_sent_to_a_server_that_never_asks_for_it(large: Path) -> None:
    """Were it sent at once, an answer that comes early would be lost now and then."""

    async def asking(url: str) -> None:
        async with AsyncClient(url, "onegai", PASSWORD, connect_timeout=0.3) as onegai:
            await onegai.call("files", audio=large)

    taker = Taker(0, lambda: None, asks=False)
    with taker.serving(), pytest.raises(ServerUnreachable):
        asyncio.run(within(asking(taker.url)))
    assert taker.announced > LARGE
    assert taker.taken == b""


async def test_a_cancelled_upload_hangs_up(large: Path) -> None:
    halfway, cancelled = threading.Event(), threading.Event()

    def wait() -> None:
        halfway.set()
        cancelled.wait(SECONDS)

    taker = Taker(MIB, wait)
    with taker.serving():
        async with asyncio.timeout(SECONDS), AsyncClient(taker.url, "onegai", PASSWORD) as onegai:
            call = asyncio.create_task(onegai.call("files", audio=large))
            await asyncio.to_thread(halfway.wait, SECONDS)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            cancelled.set()
    assert len(taker.taken) < taker.announced
