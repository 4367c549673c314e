"""Handles inside functions: streams, leases, addresses for other clients, and loading."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from harness import PASSWORD, Server, fake, new_server, until

Make = Callable[..., Server]

FUNC = """
import urllib.request

from onegai.sdk import async_service, service

me = service("a")
me_async = async_service("a")
other = service("b")
other_async = async_service("b")
nobody = service("nobody")


def stream(args: dict) -> dict:
    with me.stream("GET", args["path"]) as pieces:
        sizes = [len(piece) for piece in pieces]
    return {"bytes": sum(sizes), "pieces": len(sizes)}


async def stream_async(args: dict) -> dict:
    async with me_async.stream("GET", args["path"]) as pieces:
        return {"bytes": sum([len(piece) async for piece in pieces])}


def refused(args: dict) -> str:
    with other.stream("POST", "/none") as pieces:
        return b"".join(pieces).decode()


async def refused_async(args: dict) -> str:
    async with other_async.stream("POST", "/none") as pieces:
        return b"".join([piece async for piece in pieces]).decode()


def lines(args: dict) -> dict:
    with me.lines("GET", args["path"]) as lines:
        return {"lines": list(lines)}


async def lines_async(args: dict) -> dict:
    async with me_async.lines("GET", args["path"]) as lines:
        return {"lines": [line async for line in lines]}


def last(args: dict) -> str:
    with other.lines("POST", "/echo") as lines:
        return "".join(lines)


async def last_async(args: dict) -> str:
    async with other_async.lines("POST", "/echo") as lines:
        return "".join([line async for line in lines])


def lease(args: dict) -> bool:
    with me.lease() as url:
        return url == me.url


async def lease_async(args: dict) -> bool:
    async with me_async.lease() as url:
        return url == await me_async.url()


def by_url(args: dict) -> str:
    with urllib.request.urlopen(other.url + "/x") as answer:
        return answer.read().decode()


def chain(args: dict) -> str:
    return me.get("/x?pieces=1&size=2").text + other.get("/x").text


def unchecked(args: dict) -> int:
    return other.post("/none", check=False).status_code


def impatient(args: dict) -> str:
    return me.get("/stream?seconds=5", timeout=0.3).text


async def impatient_async(args: dict) -> str:
    return (await me_async.get("/stream?seconds=5", timeout=0.3)).text


def sleeps(args: dict) -> None:
    other.post("/sleep?s=100")


def hears_nothing(args: dict) -> None:
    with me.lines("GET", "/sse?seconds=100&interval=100") as lines:
        list(lines)


def verbs(args: dict) -> list:
    return [call("/echo").json()["method"] for call in (other.post, other.put, other.delete)]


def files(args: dict) -> str:
    sent = {"f": ("a.wav", b"RIFF", "audio/wav")}
    return other.post("/echo", files=sent, data={"x": 1}).json()["body"]


def whole(args: dict) -> int:
    return len(me.get(args["path"]).content)


async def whole_async(args: dict) -> int:
    return len((await me_async.get(args["path"])).content)


def unknown(args: dict) -> str:
    return nobody.get("/").text
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    services = {"a": fake("stream"), "b": fake("ready")}
    with new_server(tmp_path_factory.mktemp("handles"), services) as made:
        made.write("func/a.py", FUNC)
        made.environment["ONEGAI_MAX_RESULT"] = "1000000"
        yield made.start()


@pytest.mark.parametrize(
    ("function", "arguments", "result"),
    [
        ("lease", {}, True),
        ("lease_async", {}, True),
        ("by_url", {}, "ok"),
        ("chain", {}, "\0\0ok"),
        ("verbs", {}, ["POST", "PUT", "DELETE"]),
        ("unchecked", {}, 404),
    ],
)
def test_results(server: Server, function: str, arguments: object, result: object) -> None:
    assert server.post(f"/api/a/{function}", arguments).result == result
    assert server.service("a")["leases"] == 0


@pytest.mark.parametrize("function", ["stream", "stream_async"])
def test_streams_hold_the_service_while_they_last(server: Server, function: str) -> None:
    path = "/stream?pieces=20&interval=0&size=50000"
    assert server.post(f"/api/a/{function}", {"path": path}).result["bytes"] == 1_000_000
    assert server.service("a")["leases"] == 0


@pytest.mark.parametrize("function", ["lines", "lines_async"])
def test_lines_of_a_stream(server: Server, function: str) -> None:
    path = "/sse?pieces=3&interval=0"
    lines = server.post(f"/api/a/{function}", {"path": path}).result["lines"]
    assert lines == ["data: 0", "", "data: 1", "", "data: 2", ""]
    answer = server.post(f"/api/a/{function}", {"path": "/?pieces=1000000&interval=0&size=50000"})
    assert (answer.status, answer.detail["code"]) == (500, "result_too_large")
    until(lambda: server.service("a")["leases"] == 0)


@pytest.mark.parametrize("function", ["last", "last_async"])
def test_a_stream_is_the_last_of_its_connection(server: Server, function: str) -> None:
    """Some apps close it then, without a word, and the next request would go astray."""
    echoed = json.loads(server.post(f"/api/a/{function}").result)
    assert echoed["headers"]["connection"] == "close"


@pytest.mark.parametrize("function", ["whole", "whole_async"])
def test_an_answer_that_is_read_whole_has_a_limit(server: Server, function: str) -> None:
    path = "/stream?pieces={}&interval=0&size=50000"
    answer = server.post(f"/api/a/{function}", {"path": path.format(20)})
    assert answer.result == 1_000_000
    answer = server.post(f"/api/a/{function}", {"path": path.format(1_000_000)})
    assert (answer.status, answer.detail["code"]) == (500, "result_too_large")
    assert answer.detail["src"] == "a"
    until(lambda: server.service("a")["leases"] == 0)


@pytest.mark.parametrize("function", ["refused", "refused_async"])
def test_stream_that_is_refused(server: Server, function: str) -> None:
    answer = server.post(f"/api/a/{function}")
    assert (answer.status, answer.detail["code"]) == (502, "error_answer")
    assert server.service("b")["leases"] == 0


def test_files_go_out_as_multipart(server: Server) -> None:
    body = server.post("/api/a/files").result
    assert 'filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF' in body


@pytest.mark.parametrize("function", ["impatient", "impatient_async"])
def test_timeout_of_a_request(server: Server, function: str) -> None:
    answer = server.post(f"/api/a/{function}")
    assert (answer.status, answer.detail["code"]) == (504, "call_timeout")
    # Of the body only what its head has left of the time.
    assert re.search(r"longer than 0\.(3|2\d?) s", answer.result)


def test_handle_of_an_app_that_is_not_there(server: Server) -> None:
    answer = server.post("/api/a/unknown")
    assert (answer.status, answer.detail["code"]) == (404, "unknown_app")
    assert "'nobody'" in answer.result


def test_load_is_part_of_ready(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    server.write(
        "func/a.py",
        "from pathlib import Path\nfrom onegai.sdk import service\nme = service('a')\n"
        "def load(args):\n    Path(__file__).with_name('loaded').write_text(me.get('/x').text)\n"
        "def main(args):\n    return Path(__file__).with_name('loaded').read_text()\n",
    )
    server.start()
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"
    assert (server.home / "func" / "loaded").read_text() == "ok"
    assert server.post("/api/a/main").result == "ok"


def test_load_that_fails_is_a_failed_start(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def load(args):\n    me.post('/die', params={'code': 4})\n"
        "def main(args):\n    return me.get('/x').text\n",
    )
    server.start()
    answer = server.post("/api/a/main")
    assert (answer.status, answer.detail["code"]) == (502, "exited_early")
    assert "exit status 4" in answer.result
    server.write("func/a.py", (server.home / "func/a.py").read_text().replace("'/die'", "'/none'"))
    server.stop()
    server.start()
    answer = server.post("/api/a/main")
    assert (answer.status, answer.detail["code"]) == (502, "error_answer")
    until(lambda: server.service("a")["state"] == "failed")
    assert server.service("a")["pid"] is None


@pytest.mark.parametrize(("function", "app"), [("sleeps", "b"), ("hears_nothing", "a")])
def test_what_nobody_waits_for_any_more_is_not_waited_for(
    server: Server, function: str, app: str
) -> None:
    """A thread that waits for an app is freed, as an async function would be, and the app told."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {token}"}
        connection.request("POST", f"/api/a/{function}", headers=headers)
        until(lambda: server.service(app)["leases"] == 1)
    until(lambda: server.service(app)["leases"] == 0)
