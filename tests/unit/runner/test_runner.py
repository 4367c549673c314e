"""The runner as apps meet it: real processes, spoken to over HTTP."""

import ast
import contextlib
import http.client
import json
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onegai.runner import runfile
from onegai.runner.calls import Calls, ClientLeftError
from onegai.runner.media import sniff

RUNNER = Path(__file__).parents[3] / "onegai" / "runner"
PATIENCE = 60.0

RUN_FILE = '''
"""A run file with one of everything."""
from __future__ import annotations
import asyncio, contextlib, json, os, pathlib, sys, threading, time
from dataclasses import dataclass, field
from json import dumps as imported
from typing import Annotated, Iterator, Literal, NotRequired, TypedDict

HERE = pathlib.Path(__file__).parent
log = []

@dataclass
class Voice:
    text: str
    speed: Annotated[float, "1 is normal"] = 1.0
    style: Literal["calm", "glad"] = "calm"
    tags: list[str] = field(default_factory=list)

class Chat(TypedDict):
    text: str
    seed: NotRequired[int]

def load(args):
    log.append("load")

def unload(args):
    log.append("unload")
    (HERE / "unloaded").write_text("yes")

def main(args):
    """Answer with what came.

    At length.
    """
    return {"args": args, "kana": "おねがい"}

def voice(args: Voice) -> Voice:
    return args

def chat(args: Chat) -> Chat:
    return args

def optional(args, more=1, *rest, **named):
    return more

def two(args, needed):
    return None

def other(text):
    return None

def _private(args):
    return None

def result(args):
    return {
        "bytes": b"RIFF\\x04\\0\\0\\0WAVEfmt ", "typed": (b"x", "text/css"), "text": "ぎんが",
        "bytearray": bytearray(b"GIF89a"), "path": HERE / "page.html", "file": HERE / "big.bin",
        "big": b"\\x89PNG\\r\\n\\x1a\\n" + bytes(3_000_000), "empty": b"", "none": None, "set": {1},
        "surrogate": {"a": "\\ud800"}, "voice": {"v": Voice("a")}, "list": [1, 2],
        "pair": ["a", "b/c"],
    }[args["kind"]]

def typed_stream(args):
    return (b"%d" % n for n in range(3)), "audio/L16"

def stream(args):
    log.append("open")
    try:
        for number in range(args.get("count", 3)):
            yield args.get("piece", "piece %d\\n") % number
            time.sleep(args.get("pause", 0))
            if number == args.get("fail_after"):
                raise RuntimeError("half way")
    finally:
        log.append("closed")

def lines(args):
    yield {"a": 1}
    yield {"a": 2}

async def later(args):
    await asyncio.sleep(0)
    return "later"

async def later_pieces(args):
    yield "a"
    await asyncio.sleep(0)
    yield "b"

def fail(args):
    raise {
        "value": ValueError("text is too long"), "key": KeyError("x"), "exit": SystemExit(3),
        "runtime": RuntimeError("boom"), "type": TypeError("no"),
        "panic": BaseException("at lib.rs"),
    }[args["kind"]]

def unjson(args):
    return [object()] if args else float("nan")

def hold(args):
    log.append("begin " + args["name"])
    (HERE / (args["name"] + ".begun")).touch()
    while not (HERE / (args["name"] + ".release")).exists():
        time.sleep(0.005)
    log.append("end " + args["name"])
    return "held"

def seen(args):
    return log

def paths(args):
    return {"path": sys.path, "modules": sorted(sys.modules)}
'''


class Runner:
    """One runner process on a port of its own choosing."""

    def __init__(self, folder: Path, source: str = RUN_FILE, *options: str) -> None:
        self.folder = folder
        self.file = folder / "run_it.py"
        self.file.write_text(textwrap.dedent(source), encoding="utf-8")
        command = [sys.executable, str(RUNNER), str(self.file), "--port", "0", *options]
        self.errors = folder / "stderr.txt"
        with self.errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        url = self.line.partition(" on ")[2].partition(" (")[0]
        self.port = int(url.rpartition(":")[2]) if url else 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(
        self,
        path: str,
        args: object = None,
        method: str = "POST",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if body is None and args is not None:
            body = json.dumps(args).encode()
        kind = {"Content-Type": "application/json"} if body else {}
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, {**kind, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def call(self, path: str, args: object = None) -> object:
        status, _, body = self.ask(path, args)
        assert status == 200, body
        return json.loads(body)

    def refused(self, path: str, args: object = None, **how: object) -> tuple[int, str, dict]:
        status, headers, body = self.ask(path, args, **how)
        assert headers["Content-Type"] == "application/json"
        told = json.loads(body)
        assert set(told) == {"error", "detail"}
        return status, told["error"], told["detail"]

    def raw(self, data: bytes, half_close: bool = True) -> bytes:
        """Everything the server says to these bytes until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                return stream.read()

    def hold(self, name: str) -> tuple[threading.Thread, list[bytes]]:
        """A call that has begun and runs until release(name); the list will have its answer."""
        answers: list[bytes] = []

        def call() -> None:
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                answers.append(self.ask("/hold", {"name": name})[2])

        thread = in_background(call)
        until((self.folder / f"{name}.begun").exists)
        return thread, answers

    def release(self, name: str) -> None:
        (self.folder / f"{name}.release").touch()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    with contextlib.ExitStack() as stack:

        def starter(*arguments: str) -> Runner:
            runner = Runner(tmp_path, *arguments)
            stack.callback(runner.close)
            return runner

        yield starter


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    (folder / "page.html").write_text("<p>hi</p>")
    (folder / "big.bin").write_bytes(b"%PDF-" + bytes(200_000))
    runner = Runner(folder)
    yield runner
    runner.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class TestDocuments:
    def test_says_where_it_serves(self, runner: Runner) -> None:
        assert runner.line.startswith(
            f"runner: serving run_it.py on http://127.0.0.1:{runner.port}"
        )
        assert "(loaded in 0." in runner.line

    def test_health(self, runner: Runner) -> None:
        status, headers, body = runner.ask("/health", method="GET")
        assert (status, headers["Content-Type"], body) == (
            200,
            "application/json",
            b'{"status":"ok"}',
        )

    def test_head(self, runner: Runner) -> None:
        status, headers, body = runner.ask("/health", method="HEAD")
        assert (status, headers["Content-Length"], body) == (200, "15", b"")

    def test_index_names_public_functions_only(self, runner: Runner) -> None:
        _, _, body = runner.ask("/", method="GET")
        names = json.loads(body)["functions"]
        assert {"load", "unload", "main", "voice", "stream", "later", "optional"} <= set(names)
        assert not {"two", "other", "_private", "imported", "dataclass", "Voice"} & set(names)

    def test_openapi(self, runner: Runner) -> None:
        _, _, body = runner.ask("/openapi.json", method="GET")
        document = json.loads(body)
        assert document["openapi"].startswith("3.1")
        assert document["info"]["description"] == "A run file with one of everything."
        main = document["paths"]["/main"]["post"]
        assert (main["summary"], main["description"]) == ("Answer with what came.", "At length.")
        assert _schema(document, "/main") == {"type": "object"}
        assert _schema(document, "/voice") == {
            "type": "object",
            "required": ["text"],
            "additionalProperties": False,
            "properties": {
                "text": {"type": "string"},
                "speed": {"type": "number", "description": "1 is normal", "default": 1.0},
                "style": {"enum": ["calm", "glad"], "default": "calm"},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
        }
        chat = _schema(document, "/chat")
        assert chat["required"] == ["text"]
        assert chat["properties"]["seed"] == {"type": "integer"}

    def test_all_wins(self, start: Callable[..., Runner]) -> None:
        runner = start("__all__ = ['b']\ndef a(args): ...\ndef b(args): ...\n")
        assert json.loads(runner.ask("/", method="GET")[2])["functions"] == ["b"]


def _schema(document: dict, path: str) -> dict:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


class TestResults:
    @pytest.mark.parametrize(
        ("kind", "media_type", "body"),
        [
            ("bytes", "audio/wav", b"RIFF\x04\0\0\0WAVEfmt "),
            ("bytearray", "image/gif", b"GIF89a"),
            ("empty", "application/octet-stream", b""),
            ("typed", "text/css", b"x"),
            ("text", "text/plain; charset=utf-8", "ぎんが".encode()),
            ("path", "text/html", b"<p>hi</p>"),
            ("file", "application/pdf", b"%PDF-" + bytes(200_000)),
            ("big", "image/png", b"\x89PNG\r\n\x1a\n" + bytes(3_000_000)),
            ("none", "application/json", b"null"),
            ("list", "application/json", b"[1,2]"),
            ("pair", "application/json", b'["a","b/c"]'),
            ("set", "application/json", b"[1]"),
            ("surrogate", "application/json", b'{"a":"\\ud800"}'),
        ],
    )
    def test_media_types(self, runner: Runner, kind: str, media_type: str, body: bytes) -> None:
        status, headers, got = runner.ask("/result", {"kind": kind})
        assert (status, headers["Content-Type"]) == (200, media_type)
        assert got == body

    def test_json(self, runner: Runner) -> None:
        assert runner.call("/main", {"a": 1}) == {"args": {"a": 1}, "kana": "おねがい"}
        assert runner.call("/main") == {"args": {}, "kana": "おねがい"}

    def test_dataclass_in_json(self, runner: Runner) -> None:
        voice = {"text": "a", "speed": 1.0, "style": "calm", "tags": []}
        assert runner.call("/result", {"kind": "voice"}) == {"v": voice}

    def test_missing_file_is_a_failure(self, runner: Runner) -> None:
        (runner.folder / "page.html").rename(runner.folder / "gone.html")
        try:
            status, error, _ = runner.refused("/result", {"kind": "path"})
        finally:
            (runner.folder / "gone.html").rename(runner.folder / "page.html")
        assert status == 500
        assert error.startswith("FileNotFoundError")

    @pytest.mark.parametrize("args", [{}, {"a": 1}])
    def test_no_json_form_is_a_failure(self, runner: Runner, args: dict) -> None:
        status, error, _ = runner.refused("/unjson", args)
        assert status == 500
        assert "has no JSON form" in error

    def test_async(self, runner: Runner) -> None:
        assert runner.ask("/later")[2] == b"later"
        assert runner.ask("/later_pieces")[2] == b"ab"


class TestStreams:
    def test_pieces_arrive_as_they_are_made(self, runner: Runner) -> None:
        with contextlib.closing(runner.connect()) as connection:
            args = json.dumps({"count": 3, "pause": 0.3})
            connection.request("POST", "/stream", args, {"Content-Type": "application/json"})
            began = time.monotonic()
            response = connection.getresponse()
            assert response.headers["Transfer-Encoding"] == "chunked"
            assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert response.readline() == b"piece 0\n"
            first = time.monotonic() - began
            assert response.read() == b"piece 1\npiece 2\n"
            assert time.monotonic() - began - first > 0.4
            connection.request("GET", "/health")  # the connection is still good
            assert connection.getresponse().read()

    def test_media_types(self, runner: Runner) -> None:
        _, headers, body = runner.ask("/typed_stream")
        assert (headers["Content-Type"], body) == ("audio/L16", b"012")
        _, headers, body = runner.ask("/lines")
        assert (headers["Content-Type"], body) == ("application/x-ndjson", b'{"a":1}\n{"a":2}\n')

    def test_empty(self, runner: Runner) -> None:
        status, _, body = runner.ask("/stream", {"count": 0})
        assert (status, body) == (200, b"")

    def test_failure_before_the_first_piece_has_a_status(self, runner: Runner) -> None:
        status, error, _ = runner.refused("/stream", {"piece": "%z"})
        assert status == 422
        assert "format character" in error

    def test_failure_half_way_breaks_the_stream(self, runner: Runner) -> None:
        with pytest.raises(http.client.IncompleteRead):
            runner.ask("/stream", {"count": 5, "fail_after": 1})
        assert "RuntimeError: half way" in runner.errors.read_text()

    def test_client_that_leaves_closes_the_generator(self, runner: Runner) -> None:
        before = _count(runner, "closed")
        connection = runner.connect()
        args = json.dumps({"count": 10_000, "pause": 0.01})
        connection.request("POST", "/stream", args, {"Content-Type": "application/json"})
        assert connection.getresponse().readline() == b"piece 0\n"
        connection.close()
        until(lambda: _count(runner, "closed") == before + 1)

    def test_http_1_0_gets_no_chunks(self, runner: Runner) -> None:
        answer = runner.raw(b"POST /typed_stream HTTP/1.0\r\n\r\n", half_close=False)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Transfer-Encoding" not in head
        assert body == b"012"


def _count(runner: Runner, entry: str) -> int:
    return runner.call("/seen").count(entry)


class TestArguments:
    def test_half_an_emoji(self, runner: Runner) -> None:
        """As JavaScript cuts a text in the middle of one."""
        sent = {"text": "hi \ud83d", "tags": ["\udc00", "\ud83d\ude00"]}
        heard = runner.call("/voice", sent)
        assert (heard["text"], heard["tags"]) == ("hi \ufffd", ["\ufffd", "\U0001f600"])

    def test_dataclass(self, runner: Runner) -> None:
        assert runner.call("/voice", {"text": "a", "speed": 2, "tags": ["x"]}) == {
            "text": "a",
            "speed": 2.0,
            "style": "calm",
            "tags": ["x"],
        }

    @pytest.mark.parametrize(
        ("path", "args", "field", "text"),
        [
            ("/voice", {}, "text", "text is missing"),
            ("/voice", {"text": "a", "spede": 1}, "spede", "there is no field spede"),
            ("/voice", {"text": 1}, "text", "text must be text, not a whole number"),
            ("/voice", {"text": "a", "speed": "x"}, "speed", "speed must be a number, not text"),
            (
                "/voice",
                {"text": "a", "style": "sad"},
                "style",
                "style must be one of 'calm', 'glad'",
            ),
            (
                "/voice",
                {"text": "a", "tags": ["x", None]},
                "tags[1]",
                "tags[1] must be text, not null",
            ),
            ("/chat", {"seed": 1}, "text", "text is missing"),
            (
                "/chat",
                {"text": "a", "seed": 1.5},
                "seed",
                "seed must be a whole number, not a number",
            ),
        ],
    )
    def test_what_does_not_fit(
        self, runner: Runner, path: str, args: dict, field: str, text: str
    ) -> None:
        status, error, detail = runner.refused(path, args)
        assert (status, error, detail["field"]) == (422, text, field)

    def test_typed_dict_keeps_other_keys(self, runner: Runner) -> None:
        assert runner.call("/chat", {"text": "a", "more": 1}) == {"text": "a", "more": 1}


class TestRefusals:
    def test_unknown_function(self, runner: Runner) -> None:
        status, error, detail = runner.refused("/nope", {})
        assert (status, error) == (404, "there is no function nope")
        assert "main" in detail["functions"]
        assert runner.refused("/two", {})[0] == 404

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_wrong_method(self, runner: Runner, method: str) -> None:
        status, headers, body = runner.ask("/main", method=method)
        assert (status, headers["Allow"]) == (405, "POST")
        assert json.loads(body)["error"] == "/main takes POST"

    def test_wrong_method_of_a_document(self, runner: Runner) -> None:
        assert runner.ask("/health", method="POST")[1]["Allow"] == "GET, HEAD"

    @pytest.mark.parametrize(
        ("body", "status", "text"),
        [
            (b'{"a":\n 1;}', 400, "line 2 column 3"),
            (b"[1]", 422, "must be a JSON object"),
            (b'"x"', 422, "must be a JSON object"),
            (b"\xff\xfe", 400, "not UTF-8 at byte 0"),
            (b'{"a": NaN}', 400, "NaN is not JSON"),
            (b"[" * 100_000, 400, "invalid JSON"),
        ],
    )
    def test_bad_json(self, runner: Runner, body: bytes, status: int, text: str) -> None:
        got, error, _ = runner.refused("/main", body=body)
        assert got == status
        assert text in error

    def test_where_the_json_is_bad(self, runner: Runner) -> None:
        _, _, detail = runner.refused("/main", body=b'{"a":\n 1;}')
        assert (detail["line"], detail["column"]) == (2, 3)

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_content_type(self, runner: Runner, kind: str) -> None:
        status, error, _ = runner.refused("/main", body=b"{}", headers={"Content-Type": kind})
        assert (status, error) == (415, "the body must be application/json")

    def test_content_type_may_have_parameters(self, runner: Runner) -> None:
        headers = {"Content-Type": "Application/JSON; charset=utf-8"}
        assert runner.ask("/main", body=b"{}", headers=headers)[0] == 200

    def test_too_large(self, start: Callable[..., Runner]) -> None:
        runner = start(RUN_FILE, "--max-body", "1000")
        assert runner.ask("/main", {"a": "x" * 900})[0] == 200
        status, error, detail = runner.refused("/main", {"a": "x" * 2_000_000})
        assert (status, error, detail) == (
            413,
            "the body is larger than 1000 bytes",
            {"limit": 1000},
        )
        assert b" 413 " in runner.raw(_chunked([b'{"a":"', b"x" * 999, b'"}']))
        expecting = b"POST /main HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        expecting += b"Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
        assert runner.raw(expecting).startswith(b"HTTP/1.1 413 ")

    def test_chunked_body(self, runner: Runner) -> None:
        answer = runner.raw(_chunked([b'{"a"', b": 1}"]))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert '{"args":{"a":1},"kana":"おねがい"}'.encode() in answer

    @pytest.mark.parametrize(
        ("lines", "status"),
        [
            (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"400"),
            (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"400"),
            (b"Content-Length: -1\r\n", b"400"),
            (b"Transfer-Encoding: gzip\r\n", b"501"),
        ],
    )
    def test_bad_framing(self, runner: Runner, lines: bytes, status: bytes) -> None:
        head = b"POST /main HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = runner.raw(head + lines + b"\r\n{}")
        assert answer.split()[1] == status
        assert b"Connection: close" in answer

    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (b"garbage\r\n\r\n", b"400"),
            (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
            (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
            (b"GET / HTTP/2.0\r\n\r\n", b"505"),
        ],
    )
    def test_what_is_not_http(self, runner: Runner, request_: bytes, status: bytes) -> None:
        head, _, body = runner.raw(request_).partition(b"\r\n\r\n")
        assert head.split()[1] == status
        assert set(json.loads(body)) == {"error", "detail"}

    def test_keep_alive_after_a_refusal(self, runner: Runner) -> None:
        with contextlib.closing(runner.connect()) as connection:
            for _ in range(3):
                connection.request("POST", "/main", b"[]", {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                assert response.status == 422
                sock = connection.sock
            assert sock is connection.sock is not None


def _chunked(chunks: list[bytes]) -> bytes:
    head = b"POST /main HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\nTrailer: x\r\n\r\n"


class TestFailures:
    def test_value_error_is_bad_input(self, runner: Runner) -> None:
        status, error, detail = runner.refused("/fail", {"kind": "value"})
        assert (status, error, detail) == (422, "text is too long", {"function": "fail"})

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("runtime", "RuntimeError: boom"),
            ("key", "KeyError: 'x'"),
            ("type", "TypeError: no"),
            ("exit", "SystemExit: 3"),
            ("panic", "BaseException: at lib.rs"),
        ],
    )
    def test_others_are_failures(self, runner: Runner, kind: str, text: str) -> None:
        status, error, detail = runner.refused("/fail", {"kind": kind})
        assert (status, error, detail) == (500, text, {"function": "fail"})
        log = runner.errors.read_text()
        assert text in log
        assert "Traceback" in log
        assert runner.ask("/health", method="GET")[0] == 200


class TestGuard:
    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "127.8.8.8", "[::1]:5"]
    )
    def test_loopback_names(self, runner: Runner, host: str) -> None:
        assert runner.ask("/health", method="GET", headers={"Host": host})[0] == 200

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""])
    def test_other_names(self, runner: Runner, host: str) -> None:
        for method, path in (("GET", "/health"), ("POST", "/main")):
            assert runner.refused(path, method=method, headers={"Host": host})[0] == 403

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1"])
    def test_web_pages(self, runner: Runner, origin: str) -> None:
        for method, path in (("GET", "/health"), ("POST", "/main"), ("OPTIONS", "/main")):
            assert runner.refused(path, method=method, headers={"Origin": origin})[0] == 403

    def test_binds_the_given_host_only(self, runner: Runner) -> None:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", runner.port), timeout=PATIENCE).close()


class TestTurns:
    def test_in_order_of_arrival(self, tmp_path: Path) -> None:
        file = tmp_path / "run_it.py"
        file.write_text("def main(args): ...\n")
        calls = Calls(runfile.read(str(file)))
        took: list[int] = []

        def take(number: int, waits: threading.Event) -> None:
            # left() is asked only by a call that is in the line
            with calls.turn(lambda: waits.set() or False):
                took.append(number)

        threads = []
        with calls.turn(lambda: False):
            for number in range(4):
                waits = threading.Event()
                threads.append(in_background(lambda at=number, waits=waits: take(at, waits)))
                assert waits.wait(PATIENCE)
            with pytest.raises(ClientLeftError), calls.turn(lambda: True):
                took.append(-1)
        for thread in threads:
            thread.join(PATIENCE)
        assert took == [0, 1, 2, 3]

    def test_one_at_a_time_and_health_answers(self, runner: Runner) -> None:
        thread, answers = runner.hold("first")
        second = in_background(lambda: runner.hold("second"))
        until(lambda: len(_connections(runner.port)) == 2)
        assert runner.ask("/health", method="GET")[0] == 200
        assert not (runner.folder / "second.begun").exists()
        runner.release("first")
        second.join(PATIENCE)
        runner.release("second")
        thread.join(PATIENCE)
        assert answers == [b"held"]

    def test_a_call_whose_client_left_is_dropped(self, runner: Runner) -> None:
        thread, _ = runner.hold("holder")
        with socket.create_connection(("127.0.0.1", runner.port)) as gone:
            body = b'{"name":"dropped"}'
            head = b"POST /hold HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            gone.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: _connections(runner.port) == ["established"])
        runner.release("holder")
        thread.join(PATIENCE)
        log = runner.call("/seen")
        assert "end holder" in log
        assert "begin dropped" not in log

    def test_concurrent(self, start: Callable[..., Runner]) -> None:
        runner = start("""
            import threading
            CONCURRENT = True
            meet = threading.Barrier(3)
            def main(args):
                meet.wait(60)
                return "met"
            """)
        threads = [in_background(lambda: runner.ask("/main")) for _ in range(2)]
        assert runner.ask("/main")[2] == b"met"
        for thread in threads:
            thread.join(PATIENCE)

    def test_loads_again_after_unload(self, start: Callable[..., Runner]) -> None:
        runner = start()
        assert runner.call("/unload") is None
        assert runner.call("/seen") == ["load", "unload", "load"]


_STATES = {"01": "established", "08": "close wait"}


def _connections(port: int) -> list[str]:
    """The server's ends of its connections, as the kernel lists them."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = [row[3] for row in rows if row[1].endswith(f":{port:04X}")]
    return sorted(_STATES[state] for state in ours if state in _STATES)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:  # it was closed between the two ends of the handshake
        return True
    return True


class TestLife:
    def test_listening_means_loaded(self, start: Callable[..., Runner]) -> None:
        source = "import time\ndone = []\ndef load(args): time.sleep(0.3); done.append(args)\n"
        runner = start(source + "def main(args): return done\n")
        assert runner.call("/main") == [{}]
        assert float(runner.line.rpartition("loaded in ")[2].split()[0]) >= 0.3

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_stops_at_a_signal_and_unloads(
        self, start: Callable[..., Runner], number: signal.Signals
    ) -> None:
        runner = start()
        with contextlib.closing(runner.connect()) as idle:
            idle.request("GET", "/health")
            idle.getresponse().read()
            began = time.monotonic()
            runner.process.send_signal(number)
            assert runner.process.wait(PATIENCE) == 0
            assert time.monotonic() - began < 20
        assert (runner.folder / "unloaded").exists()
        assert runner.errors.read_text() == ""

    def test_a_short_call_is_answered_before_the_end(self, start: Callable[..., Runner]) -> None:
        runner = start()
        thread, answers = runner.hold("short")
        runner.process.terminate()
        until(lambda: not _listens(runner.port))
        runner.release("short")
        assert runner.process.wait(PATIENCE) == 0
        thread.join(PATIENCE)
        assert answers == [b"held"]
        assert (runner.folder / "unloaded").exists()

    def test_a_long_call_does_not_hold_it(self, start: Callable[..., Runner]) -> None:
        runner = start()
        thread, answers = runner.hold("long")
        began = time.monotonic()
        assert runner.stop() == 0
        assert time.monotonic() - began < 20
        thread.join(PATIENCE)
        assert not answers
        assert not (runner.folder / "unloaded").exists()

    def test_a_stuck_unload_does_not_hold_it(self, start: Callable[..., Runner]) -> None:
        runner = start("import time\ndef unload(args): time.sleep(60)\ndef main(args): ...\n")
        assert runner.stop() == 0

    def test_port_taken(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            file = tmp_path / "run_it.py"
            file.write_text("def load(args): raise SystemExit('loaded in vain')\n")
            done = _run(file, "--port", str(port))
        assert done.returncode == 98
        assert done.stderr == f"runner: port {port} on 127.0.0.1 is taken by another program\n"

    @pytest.mark.parametrize(
        ("source", "status", "text", "traceback"),
        [
            (None, 2, "there is no file", False),
            ("def main(args:\n", 2, "run_it.py line 1:", False),
            ("x = 1\n", 2, "no public function", False),
            ("import nothing_like_it\ndef main(args): ...\n", 1, "No module named", True),
            (
                "def load(args): raise OSError('no model')\n",
                1,
                "did not load: OSError: no model",
                True,
            ),
            ("def load(args): raise SystemExit(0)\n", 1, "did not load: SystemExit", True),
        ],
    )
    def test_cannot_start(
        self, tmp_path: Path, source: str | None, status: int, text: str, traceback: bool
    ) -> None:
        file = tmp_path / "run_it.py"
        if source is not None:
            file.write_text(source)
        done = _run(file, "--port", "0")
        assert done.returncode == status
        assert text in done.stderr.splitlines()[-1]
        assert done.stderr.splitlines()[-1].startswith("runner: ")
        assert ("Traceback" in done.stderr) is traceback

    def test_access_log(self, start: Callable[..., Runner]) -> None:
        runner = start(RUN_FILE, "--access-log")
        runner.call("/main")
        assert runner.errors.read_text().startswith("POST /main 200 ")
        runner.raw(b"garbage\r\n\r\n")
        assert " 400 " in runner.errors.read_text().splitlines()[1]

    def test_its_modules_do_not_shadow_the_apps(self, runner: Runner) -> None:
        facts = runner.call("/paths")
        assert facts["path"][0] == str(runner.folder)
        assert str(RUNNER) not in facts["path"]
        ours = {file.stem for file in RUNNER.glob("*.py")} - {"__init__", "__main__"}
        assert not ours & set(facts["modules"])

    def test_runs_by_name_too(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "onegai.runner", str(tmp_path / "none.py"), "--port", "0"]
        done = subprocess.run(
            command, cwd=RUNNER.parents[1], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "there is no file" in done.stderr


def _run(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUNNER), str(file), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


SOURCES = sorted(RUNNER.glob("*.py"))


class TestStandsApart:
    @pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
    def test_python_3_8_and_standard_library_only(self, file: Path) -> None:
        tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))
        for node in ast.walk(tree):
            assert not isinstance(node, getattr(ast, "Match", ()))
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names

    @pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
    def test_annotations_are_not_evaluated(self, file: Path) -> None:
        """So that they may be written in today's way and still run on 3.8."""
        source = file.read_text(encoding="utf-8")
        assert "from __future__ import annotations" in source or file.name.startswith("__")


def _mp4(brand: bytes, *compatible: bytes) -> bytes:
    brands = b"".join(compatible)
    return struct.pack(">I4s4sI", 16 + len(brands), b"ftyp", brand, 0) + brands


_MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x24\0\0\0????", "application/octet-stream"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"ID3\x04", "audio/mpeg"),
        (_MP3_FRAME * 2, "audio/mpeg"),
        (_MP3_FRAME, "application/octet-stream"),
        (b"\xff\xfe" + bytes(600), "application/octet-stream"),
        (b"fLaC\0", "audio/flac"),
        (b"OggS\0\x02" + bytes(22) + b"OpusHead", "audio/ogg"),
        (b"OggS\0\x02" + bytes(22) + b"\x80theora", "video/ogg"),
        (b"OggS\0\x02" + bytes(22) + b"fishead\0", "application/ogg"),
        (_mp4(b"isom", b"iso2", b"mp41"), "video/mp4"),
        (_mp4(b"M4A ", b"mp42"), "audio/mp4"),
        (_mp4(b"heic", b"mif1"), "application/octet-stream"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webmB\x87\x81\x04", "video/webm"),
        (b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska", "application/octet-stream"),
        (b"%PDF-1.7", "application/pdf"),
        (b"", "application/octet-stream"),
        (b"just text", "application/octet-stream"),
    ],
)
def test_sniffing(head: bytes, media_type: str) -> None:
    assert sniff(head) == media_type
