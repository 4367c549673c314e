"""Calling functions over HTTP: what they take and give, and every kind of bad input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import Server, fake, new_server

Make = Callable[..., Server]

KINDS = '''
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pydantic import BaseModel


class Model(BaseModel):
    text: str
    times: int = 1


class Typed(TypedDict):
    text: str


@dataclass
class Data:
    text: str
    loud: bool = False


def main(args: Model) -> tuple[str, dict]:
    """Repeat a text.

    The detail says how often.
    """
    return args.text * args.times, {"times": args.times}


def typed(args: Typed) -> str:
    return args["text"]


def data(args: Data) -> str:
    return args.text.upper() if args.loud else args.text


def anything(args: dict) -> dict:
    return args


async def later(args) -> str:
    await asyncio.sleep(0)
    return "later"


def wav(args: dict) -> bytes:
    return b"RIFF\\x24\\0\\0\\0WAVEfmt "


def named(args: dict) -> tuple[bytes, str]:
    return b"x,y", "text/csv"


def file(args: dict) -> Path:
    return Path(__file__)


def missing_file(args: dict) -> Path:
    return Path("/no/such/file")


def fails(args: dict) -> str:
    secret_of_the_traceback = 1
    raise KeyError("no such voice")


def exits(args: dict) -> str:
    raise SystemExit(3)


def slow(args: dict) -> str:
    time.sleep(args["s"])
    return "done"


def _private(args: dict) -> str:
    return "never"


def helper(text: str) -> str:
    return "not a function: no args"
'''
MEETING = """
import threading

together = threading.Barrier(8)


def main(args: dict) -> str:
    together.wait()
    return "met"
"""
ONLY_RAW = "def raw(args: dict) -> bytes:\n    return b'\\x89PNG\\r\\n\\x1a\\n'\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    services = {
        "kinds": {"type": "inline", "call_timeout": 4},
        "meeting": {"type": "inline"},
        "png": {"type": "command"},
        "off": {"type": "inline", "active": 0},
        "absent": fake("ready"),
        "halfway": fake("ready"),
        "broken": {"type": "webapi", "port": 1, "exec": "x", "prot": 5},
        "syntax": {"type": "inline"},
        "raises": {"type": "inline"},
        "silent": {"type": "inline"},
        "legacy": fake("ready"),
        "async_app": fake("ready"),
    }
    with new_server(tmp_path_factory.mktemp("calls"), services) as made:
        made.write("func/kinds.py", KINDS)
        made.write("func/meeting.py", MEETING)
        made.write("func/png.py", ONLY_RAW)
        made.write("func/off.py", ONLY_RAW)
        for app in ("absent", "halfway"):
            made.write(f"func/{app}.py", ONLY_RAW)
            made.write(f"install/{app}.sh", "exit 1\n")
        made.write("apps/halfway/part", "")
        made.write("func/syntax.py", "def main(args):\n    return (\n")
        made.write("func/raises.py", "import os\n\nos.no_such_name\n")
        made.write(
            "func/legacy.py",
            "import urllib.request\nimport os, json\n"
            "def main(args):\n"
            "    port = args['port']\n"
            "    return urllib.request.urlopen(f'http://127.0.0.1:{port}/x').read().decode()\n",
        )
        made.write(
            "func/async_app.py",
            "from onegai.sdk import async_service, config, service\n"
            "me, blocking = async_service('async_app'), service('async_app')\n"
            "async def main(args):\n"
            "    answer = await me.post('/echo', json=args, params={'q': 'a b'})\n"
            "    return answer.json()\n"
            "async def url(args):\n"
            "    return await me.url()\n"
            "async def wrong(args):\n"
            "    return blocking.get('/x').text\n"
            "async def missing(args):\n"
            "    return (await me.post('/none')).text\n"
            "async def settings(args):\n"
            "    return dict(config('async_app'))\n",
        )
        made.write(
            "config.json",
            {
                "username": "onegai",
                "password": "correct horse",
                "max_json": 100_000,
                "apps": {"async_app": {"voice": "nyan", "concurrency": 3}},
            },
        )
        yield made.start()


@pytest.mark.parametrize(
    ("path", "body", "result"),
    [
        ("kinds/main", {"text": "にゃ", "times": 2}, "にゃにゃ"),
        ("kinds/typed", {"text": "a"}, "a"),
        ("kinds/data", {"text": "a", "loud": True}, "A"),
        ("kinds/anything", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("kinds/later", None, "later"),
        ("png/main", {}, "iVBORw0KGgo="),
    ],
)
def test_results_in_an_envelope(server: Server, path: str, body: object, result: object) -> None:
    answer = server.post(f"/api/{path}", body)
    assert answer.status == 200
    assert answer.json["status"] == 0
    assert abs(answer.json["servertime"] - time.time()) < 60
    assert answer.result == result


def test_detail_of_a_result(server: Server) -> None:
    assert server.post("/api/kinds/main", {"text": "a", "times": 3}).detail == {"times": 3}
    assert server.post("/api/png/main").detail == {"media_type": "image/png", "size": 8}


@pytest.mark.parametrize(
    ("path", "media_type", "start"),
    [
        ("kinds/raw", "text/plain; charset=utf-8", b"aa"),
        ("kinds/wav", "audio/wav", b"RIFF"),
        ("kinds/named", "text/csv; charset=utf-8", b"x,y"),
        ("kinds/file", "text/x-python; charset=utf-8", b"\nimport asyncio"),
        ("png/raw", "image/png", b"\x89PNG"),
    ],
)
def test_bare_results(server: Server, path: str, media_type: str, start: bytes) -> None:
    answer = server.post(f"/api/{path}", {"text": "a", "times": 2})
    assert answer.status == 200
    assert answer.headers["content-type"] == media_type
    assert answer.body.startswith(start)


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words", "hint"),
    [
        ("nobody/main", {}, 404, "unknown_app", "no app 'nobody'", "kinds"),
        ("..%2Fx/main", {}, 404, "unknown_route", "", "/docs"),
        ("%2e%2e/main", {}, 404, "unknown_app", "'..'", ""),
        ("kinds/none", {}, 404, "unknown_function", "'none'", "anything"),
        ("kinds/_private", {}, 404, "unknown_function", "'_private'", ""),
        ("kinds/helper", {}, 404, "unknown_function", "'helper'", ""),
        ("silent/main", {}, 404, "unknown_function", "", "func/silent.py"),
        ("off/raw", {}, 409, "inactive", "off", "config apps.off.active 1"),
        ("absent/raw", {}, 409, "not_installed", "absent", "/app/install"),
        ("halfway/raw", {}, 409, "install_broken", "halfway", "/app/install"),
        ("broken/raw", {}, 409, "broken_entry", "prot: ", "services.json"),
        ("syntax/main", {}, 409, "broken_plugin", "func/syntax.py, line 2", ""),
        ("raises/main", {}, 409, "broken_plugin", "func/raises.py, line 3", ""),
        ("kinds/main", {"times": 2}, 422, "bad_arguments", "text: ", "text, times"),
        ("kinds/main", {"text": 5}, 422, "bad_arguments", "text: ", ""),
        ("kinds/typed", {}, 422, "bad_arguments", "text: ", ""),
        ("kinds/data", {"text": "a", "loud": "?"}, 422, "bad_arguments", "loud: ", ""),
        ("kinds/main", [1], 422, "bad_arguments", "array", ""),
        ("kinds/main", b"", 422, "bad_arguments", "text", ""),
        ("kinds/fails", {}, 500, "function_failed", "KeyError: 'no such voice'", "onegai.log"),
        ("kinds/exits", {}, 500, "function_failed", "SystemExit", ""),
        ("kinds/missing_file", {}, 500, "function_failed", "FileNotFoundError", ""),
        ("kinds/slow", {"s": 6}, 504, "call_timeout", "4 s", "call_timeout"),
        ("async_app/wrong", {}, 500, "sdk_misuse", "", "async_service"),
        ("async_app/missing", {}, 502, "error_answer", "404", "detail.answer"),
    ],
)
def test_bad_calls(
    server: Server, path: str, body: object, status: int, code: str, words: str, hint: str
) -> None:
    answer = server.post(f"/api/{path}", body)
    assert (answer.status, answer.detail["code"]) == (status, code)
    assert answer.json["status"] == 1
    assert words in answer.result
    assert hint in answer.detail["hint"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code", "words"),
    [
        (b"{", "application/json", 400, "bad_json", "line 1, column 2"),
        (b"\xff", "application/json", 400, "bad_json", "UTF-8"),
        (b"[" * 50_000, "application/json", 400, "bad_json", "nested"),
        (b"text=a", "application/x-www-form-urlencoded", 415, "wrong_content_type", "x-www"),
        (b"{}", "text/plain", 415, "wrong_content_type", "text/plain"),
        (b'"' + b"a" * 100_000 + b'"', "application/json", 413, "body_too_large", "0.1 MiB"),
    ],
)
def test_bad_bodies(
    server: Server, body: bytes, kind: str, status: int, code: str, words: str
) -> None:
    answer = server.post("/api/kinds/main", body, Content_Type=kind)
    assert (answer.status, answer.detail["code"]) == (status, code)
    assert words in answer.result


def test_failure_of_a_function_is_the_apps_and_its_traceback_in_the_log_only(
    server: Server,
) -> None:
    answer = server.post("/api/kinds/fails")
    assert answer.detail["src"] == "kinds"
    assert b"secret_of_the_traceback" not in answer.body
    assert b"Traceback" not in answer.body
    assert 'raise KeyError("no such voice")' in server.log()


def test_function_without_a_handle_has_its_service_started(server: Server) -> None:
    port = server.service("legacy")["port"]
    assert server.post("/api/legacy/main", {"port": port}).result == "ok"
    assert server.service("legacy")["leases"] == 0


def test_async_function_with_its_handle(server: Server) -> None:
    answer = server.post("/api/async_app/main", {"text": "ねこ"}).result
    assert answer["query"] == {"q": "a b"}
    assert server.post("/api/async_app/url").result == (
        f"http://127.0.0.1:{server.service('async_app')['port']}"
    )
    assert server.service("async_app")["leases"] == 0
    assert server.post("/api/async_app/settings").result == {"voice": "nyan"}


def test_sync_functions_run_side_by_side(server: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(server.post, "/api/meeting/main") for _ in range(16)]
        assert {call.result().result for call in calls} == {"met"}


def test_problems_are_listed_and_hide_nothing(server: Server) -> None:
    problems = {
        (item["app"], item["key"], item["line"])
        for item in server.get("/service/status").result["problems"]
    }
    assert ("broken", "prot", None) in problems
    assert ("syntax", "", 2) in problems
    assert ("raises", "", 3) in problems
    listed = {item["app"]: item for item in server.get("/app/list").result}
    assert listed["broken"]["state"] == "failed"
    assert listed["kinds"]["functions"][0]["name"] == "main"
    assert "func/syntax.py:2" in server.output.read_text()


def test_functions_are_in_the_openapi_document(server: Server) -> None:
    document = server.get("/openapi.json").json
    operation = document["paths"]["/api/kinds/main"]["post"]
    assert operation["summary"] == "Repeat a text."
    assert operation["requestBody"]["content"]["application/json"]["schema"]["required"] == ["text"]
    page = server.get("/docs").body.decode()
    assert "//" not in page, "everything is served from here"
    assert len(server.get("/docs/swagger-ui.js").body) > 1_000_000


def test_home_is_where_it_was_put(server: Server) -> None:
    assert Path(server.home, "data", "server.json").stat().st_mode & 0o777 == 0o600
