"""Every route of the application: who may use it, and what its errors look like.

The one shape: {"status": 1, "servertime": float, "result": "a sentence",
"detail": {"code", "src", "hint", …}}, and the HTTP status of the error's class.
"""

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from served import BASE, LISTED, PASSWORD, Server
from starlette.routing import Route

from onegai.apps.folder import AppFolder
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.server.app import App

EVIL = "http://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST"}


PARAMETERS = {
    "{app}": "echo",
    "{function}": "main",
    "{job}": "none",
    "{file}": "none",
    "{name}": "none",
}


def walk(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route, with something in the place of each parameter."""

    def routes(found: Any) -> Iterator[Route]:
        for route in found:
            if isinstance(route, Route):
                yield route
            elif (original := getattr(route, "original_router", None)) is not None:
                yield from routes(original.routes)
            else:
                yield from routes(route.routes)

    for route in routes(app.routes):
        path = route.path
        for name, value in PARAMETERS.items():
            path = path.replace(name, value)
        assert "{" not in path
        for method in (route.methods or set()) - {"HEAD"}:  # whose answers have no body
            yield method, path


async def every_answer(server: Server, **headers: str) -> dict[tuple[str, str], httpx2.Response]:
    """Without the password; requests that get through to a route are told from its answer."""
    return {
        (method, path): await server.stranger(method, path, headers=headers)
        for method, path in walk(server.app)
    }


async def test_the_walk_sees_the_routes(server: Server) -> None:
    found = set(walk(server.app))
    assert {
        ("GET", "/health"),
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/app/list"),
        ("POST", "/app/install"),
        ("POST", "/service/start"),
        ("POST", "/service/stop"),
        ("GET", "/service/status"),
        ("GET", "/config/get_json"),
        ("POST", "/service/set_json"),
        ("GET", "/service/echo/logs"),
        ("GET", "/job"),
        ("GET", "/job/none"),
        ("GET", "/job/none/events"),
        ("DELETE", "/job/none"),
        ("POST", "/api/echo/main"),
    } <= found
    plain = [
        route.path
        for route in server.app.routes
        if hasattr(route, "path") and not isinstance(route, APIRoute)
    ]
    assert set(plain) == {"/api/{app}/{function}"}


# --- who may come in -------------------------------------------------------------------------


async def test_everything_but_health_wants_a_password(server: Server, is_error: Any) -> None:
    for (method, path), answer in (await every_answer(server)).items():
        if path == "/health":
            assert answer.status_code == 200
            assert answer.json()["status"] == 0
        else:
            assert "basic" in answer.headers["www-authenticate"].lower(), (method, path)
            is_error(answer, "unauthorized")


async def test_a_wrong_password_opens_nothing(server: Server, is_error: Any) -> None:
    wrong = base64.b64encode(b"onegai:wrong").decode()
    for (_, path), answer in (await every_answer(server, authorization=f"Basic {wrong}")).items():
        if path != "/health":
            is_error(answer, "unauthorized")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:7860"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"},
    ],
)
async def test_pages_of_other_sites_are_refused_everywhere(
    server: Server, is_error: Any, headers: dict[str, str]
) -> None:
    for method, path in walk(server.app):
        is_error(await server.send(method, path, headers=headers), "forbidden_origin")
    is_error(await server.send("GET", "/no/such/route", headers=headers), "forbidden_origin")


async def test_a_link_from_another_site_may_be_opened(server: Server, is_error: Any) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    answer = await server.send("GET", "/", headers=link)
    assert answer.status_code == 200
    assert "text/html" in answer.headers["content-type"]
    is_error(await server.stranger("GET", "/", headers=link), "unauthorized")
    for method, path in walk(server.app):
        if method != "GET":
            is_error(await server.send(method, path, headers=link), "forbidden_origin")


async def test_a_link_starts_no_app(server: Server, is_error: Any) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    for path in ("/service/absent/hold", "/service/absent/hold%0a"):
        is_error(await server.send("GET", path, headers=link), "method_not_allowed")
        is_error(await server.send("POST", path, headers=link), "forbidden_origin")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_our_pages_stand_in_no_frame(server: Server, path: str) -> None:
    policy = (await server.send("GET", path)).headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy


async def test_right_credentials_of_every_kind(server: Server) -> None:
    for headers in ({"authorization": f"Bearer {PASSWORD}"}, {"x-api-key": PASSWORD}):
        answer = await server.stranger("GET", "/app/list", headers=headers)
        assert answer.status_code == 200
    assert (await server.send("GET", "/app/list")).status_code == 200
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert (await server.send("GET", "/app/list", headers=own)).status_code == 200


# --- CORS ------------------------------------------------------------------------------------


async def test_preflights_of_unlisted_origins_are_refused(server: Server, is_error: Any) -> None:
    for _, path in walk(server.app):
        for origin in (EVIL, "null"):
            answer = await server.send("OPTIONS", path, headers={"origin": origin, **PREFLIGHT})
            is_error(answer, "forbidden_origin")
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("network", ["private", "local"])
async def test_preflights_from_another_network_are_answered(server: Server, network: str) -> None:
    asked = f"access-control-request-{network}-network"
    headers = {"origin": LISTED, **PREFLIGHT, asked: "true"}
    answer = await server.stranger("OPTIONS", "/api/echo/main", headers=headers)
    assert answer.status_code == 200
    assert answer.headers[asked.replace("request", "allow")] == "true"
    answer = await server.stranger("OPTIONS", "/api/echo/main", headers=headers | {"origin": EVIL})
    assert answer.status_code == 403
    answer = await server.stranger("OPTIONS", "/api/echo/main", headers=headers | {"origin": BASE})
    assert answer.status_code == 403


@pytest.mark.parametrize("asked", ["authorization, content-type", "prefer", "last-event-id"])
async def test_preflights_of_listed_origins_need_no_password(server: Server, asked: str) -> None:
    for method, path in walk(server.app):
        headers = {
            "origin": LISTED,
            "access-control-request-method": method,
            "access-control-request-headers": asked,
        }
        answer = await server.stranger("OPTIONS", path, headers=headers)
        assert answer.status_code == 200, (method, path)
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert method in answer.headers["access-control-allow-methods"]
        assert asked.lower() in answer.headers["access-control-allow-headers"].lower()


async def test_listed_pages_can_read_answers_and_errors(server: Server) -> None:
    for method, path, body in (
        ("GET", "/app/list", None),
        ("GET", "/no/such/route", None),
        ("POST", "/api/echo/main", {"text": "hi"}),
        ("POST", "/api/echo/main", {}),
        ("POST", "/api/echo/fails", {}),
    ):
        answer = await server.send(method, path, json=body, headers={"origin": LISTED})
        assert answer.headers["access-control-allow-origin"] == LISTED, (path, answer.text)
        assert "origin" in answer.headers["vary"].lower()
    answer = await server.stranger("GET", "/app/list", headers={"origin": LISTED})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == LISTED


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/no/such/route", "/apis", "/api/", "/api/echo/main/", "/job/", "/service/echo"]
)
async def test_unknown_path(server: Server, is_error: Any, path: str) -> None:
    assert path in is_error(await server.send("GET", path), "unknown_route")["result"]


async def test_wrong_method_says_all_right_ones(server: Server, is_error: Any) -> None:
    allowed: dict[str, set[str]] = {}
    for method, path in walk(server.app):
        allowed.setdefault(path, set()).add(method)
    for path, methods in allowed.items():
        answer = await server.send("PATCH", path)
        body = is_error(answer, "method_not_allowed")
        named = {word.strip() for word in answer.headers["allow"].split(",")}
        assert named - {"HEAD"} == methods, path
        assert "PATCH" in body["result"]
        assert all(method in body["detail"]["hint"] for method in methods)


BODIES = [
    *("/api/echo/main", "/app/install", "/service/start", "/service/stop"),
    *("/config/set_json", "/service/set_json"),
]
AS_JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"text": }',
        b"text",
        b'{"a": "\xff"}',
        b'{"a": ' * 900,
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[" * 5000,
    ],
    ids=["cut", "gap", "bare", "not-utf8", "deep", "long-number", "deep-array"],
)
async def test_invalid_json(server: Server, is_error: Any, path: str, body: bytes) -> None:
    answer = await server.send("POST", path, content=body, headers=AS_JSON)
    said = is_error(answer, "bad_json")["result"]
    assert ("UTF-8" in said) is (b"\xff" in body), said


@pytest.mark.parametrize("path", BODIES)
async def test_wrong_content_type(server: Server, is_error: Any, path: str) -> None:
    kinds = ["text/plain", "application/x-www-form-urlencoded"]
    for kind in [*kinds, *(["multipart/form-data"] if path.startswith("/app") else [])]:
        headers = {"content-type": kind}
        answer = await server.send("POST", path, content=b"{}", headers=headers)
        assert kind in is_error(answer, "wrong_content_type")["result"]
    is_error(await server.send("POST", path, content=b"{}"), "wrong_content_type")


@pytest.mark.parametrize("path", BODIES)
async def test_body_too_large(server: Server, is_error: Any, path: str) -> None:
    body = b'{"text": "' + b"x" * 10_000 + b'"}'
    is_error(await server.send("POST", path, content=body, headers=AS_JSON), "body_too_large")


@pytest.mark.parametrize("body", [[], "text", 1, 1.5, True, None])
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/echo/main", "bad_arguments"),
        ("/app/install", "bad_request"),
        ("/config/set_json", "bad_request"),
    ],
)
async def test_json_that_is_no_object(
    server: Server, is_error: Any, path: str, code: str, body: Any
) -> None:
    answer = await server.send("POST", path, content=json.dumps(body), headers=AS_JSON)
    assert is_error(answer, code)["detail"]["errors"]


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "field"),
    [
        ("POST", "/app/install", {}, "bad_request", "app"),
        ("POST", "/app/install", {"app": 1}, "bad_request", "app"),
        ("POST", "/service/start", {"app": "echo", "wait": "x"}, "bad_request", "wait"),
        ("POST", "/service/stop", {}, "bad_request", "app"),
        ("GET", "/service/absent/logs?tail=-1", None, "bad_request", "tail"),
        ("GET", "/service/absent/logs?tail=x", None, "bad_request", "tail"),
        ("POST", "/api/echo/main", {}, "bad_arguments", "text"),
        ("POST", "/api/echo/main", {"text": 1}, "bad_arguments", "text"),
        (
            "POST",
            "/api/echo/main",
            {"text": "", "inner": {"size": "x"}},
            "bad_arguments",
            "inner.size",
        ),
    ],
)
async def test_wrong_fields_are_named(
    server: Server, is_error: Any, method: str, path: str, body: Any, code: str, field: str
) -> None:
    problem = is_error(await server.send(method, path, json=body), code)
    assert [error["field"] for error in problem["detail"]["errors"]] == [field]
    assert field in problem["result"]


async def test_wrong_last_event_id(server: Server, is_error: Any) -> None:
    headers = {"last-event-id": "x"}
    is_error(await server.send("GET", "/job/none/events", headers=headers), "bad_request")


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/api/none/main", {}, "unknown_app"),
        ("POST", "/api/echo/none", {}, "unknown_function"),
        ("POST", "/api/off/main", {}, "inactive"),
        ("POST", "/api/torn/main", {}, "broken_plugin"),
        ("POST", "/api/broken/main", {}, "broken_entry"),
        ("POST", "/api/absent/main", {}, "unknown_function"),
        ("POST", "/app/install", {"app": "none"}, "unknown_app"),
        ("POST", "/app/install", {"app": "echo"}, "no_install_script"),
        ("POST", "/service/start", {"app": "none"}, "unknown_app"),
        ("POST", "/service/start", {"app": "echo"}, "no_service"),
        ("POST", "/service/start", {"app": "absent"}, "not_installed"),
        ("POST", "/service/start", {"app": "absent", "wait": False}, "not_installed"),
        ("POST", "/service/stop", {"app": "none"}, "unknown_app"),
        ("POST", "/service/stop", {"app": "echo"}, "no_service"),
        ("GET", "/service/none/logs", None, "unknown_app"),
        ("GET", "/service/none/logs?follow=1", None, "unknown_app"),
        ("GET", "/service/echo/logs?follow=1", None, "no_service"),
        ("GET", "/job/none", None, "unknown_job"),
        ("GET", "/job/none/events", None, "unknown_job"),
        ("GET", "/job/none/result", None, "unknown_job"),
        ("GET", "/file/none/none", None, "unknown_file"),
        ("GET", "/file/none/none?signature=x", None, "signature_refused"),
        ("DELETE", "/job/none", None, "unknown_job"),
        ("POST", "/config/set_json", {}, "if_match_missing"),
        ("POST", "/service/set_json", {}, "if_match_missing"),
    ],
)
async def test_errors_of_onegai(
    server: Server, is_error: Any, method: str, path: str, body: Any, code: str
) -> None:
    is_error(await server.send(method, path, json=body), code)


@pytest.mark.parametrize("function", ["fails", "stops", "circle", "surrogate", "raw_surrogate"])
async def test_what_a_function_does_wrong_is_its_app_s_fault(
    server: Server, is_error: Any, function: str
) -> None:
    async with asyncio.timeout(60):
        answer = await server.send("POST", f"/api/echo/{function}", json={})
    if answer.status_code != 200 or function in ("fails", "stops", "circle"):
        body = is_error(answer, "function_failed", src="echo")
        assert "Traceback" not in answer.text
        assert f"echo/{function}" in body["result"]


async def test_half_an_emoji_arrives_as_what_unicode_has_for_it(server: Server) -> None:
    body = rb'{"text": "hi \ud83d", "\udc00": ["\ud83d\ude00 \\ud83d", "\udfff\ud800"]}'
    answer = await server.send("POST", "/api/echo/later", content=body, headers=AS_JSON)
    assert answer.json()["result"] == {
        "text": "hi \ufffd",
        "\ufffd": ["\U0001f600 \\ud83d", "\ufffd\ufffd"],
    }
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n"\\ud83d"\r\n'
    body = part % (b"a", b"\r\nContent-Type: application/json") + b"--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await server.send("POST", "/api/echo/later", content=body, headers=headers)
    assert answer.json()["result"] == {"a": "\ufffd"}


RESULTS = """
from pathlib import Path
async def main(args): return "x" * args["n"]
def short(args): return "x" * args["n"]
def many(args): return list(range(args["n"]))
def data(args): return bytes(args["n"])
def path(args): return file(args["n"])
def link(args): return {"file": file(args["n"])}
def typed(args): return bytes(args["n"]), "audio/wav"
def detail(args): return 1, {"x": "x" * args["n"]}
def file(n):
    path = Path(__file__).with_name("made")
    path.write_bytes(bytes(n))
    return path
"""


@pytest.mark.parametrize(
    "function", ["main", "raw", "short", "many", "data", "path", "typed", "detail"]
)
async def test_a_result_has_a_limit(
    server: Server, home: Home, is_error: Any, function: str
) -> None:
    await server.edit_func("echo", RESULTS)
    home.config.write_text(json.dumps({"password": PASSWORD, "max_result": 1000}))
    await server.engine.current.refresh()
    path = f"/api/echo/{function}"
    assert (await server.send("POST", path, json={"n": 200})).status_code == 200
    said = is_error(await server.send("POST", path, json={"n": 1001}), "result_too_large", "echo")
    assert f"echo/{function}" in said["result"]
    headers = {"prefer": "respond-async"}
    job = await server.send("POST", path, json={"n": 1001}, headers=headers)
    async for _ in server.engine.events(job.json()["result"]["id"]):
        pass
    answer = await server.send("GET", job.headers["location"] + "/result")
    is_error(answer, "result_too_large", "echo")


async def test_a_file_inside_of_a_result_has_none(
    server: Server, home: Home, is_error: Any
) -> None:
    await server.edit_func("echo", RESULTS)
    home.config.write_text(json.dumps({"password": PASSWORD, "max_result": 1000}))
    await server.engine.current.refresh()
    answer = await server.send("POST", "/api/echo/link", json={"n": 5000})
    found = answer.json()["result"]["file"]
    assert len((await server.send("GET", found["url"])).content) == found["size"] == 5000
    answer = await server.send("POST", "/api/echo/link?files=base64", json={"n": 5000})
    is_error(answer, "result_too_large", "echo")


async def test_large_results_are_whole(server: Server, home: Home) -> None:
    await server.edit_func(
        "echo",
        "TEXT = 'a\"あ😀\\n' * 400_000\n"
        "def main(args): return TEXT\n"
        "def data(args): return bytes(range(256)) * 8000, {'x': 1}\n",
    )
    text = 'a"あ😀\n' * 400_000
    assert (await server.send("POST", "/api/echo/main", json={})).json()["result"] == text
    assert (await server.send("POST", "/api/echo/raw", json={})).text == text
    data = await server.send("POST", "/api/echo/data", json={})
    assert data.content == bytes(range(256)) * 8000
    assert data.headers["content-length"] == str(256 * 8000)


async def test_job_that_failed_with_text_that_is_no_unicode_is_shown(
    server: Server, home: Home
) -> None:
    await server.edit_func("echo", r'def main(args): raise ValueError("a \ud800 b")')
    job = await server.engine.submit("echo", "main", {})
    async for _ in server.engine.events(job.id):
        pass
    answer = await server.send("GET", f"/job/{job.id}")
    assert answer.status_code == 200, answer.text
    assert "ValueError: a ? b" in answer.json()["result"]["error"]["message"]


async def test_a_job_is_refused_where_a_call_would_be(
    server: Server, home: Home, is_error: Any
) -> None:
    home.services_local.write_text('{"echo": {"concurrency": 1, "queue": 1}}')
    await server.engine.current.refresh()
    await server.edit_func(
        "echo", "import asyncio\nasync def main(args): await asyncio.Event().wait()\n"
    )
    turns = server.engine.calls.turns("echo")
    headers = {"prefer": "respond-async"}

    async def submit() -> httpx2.Response:
        return await server.send("POST", "/api/echo/main", json={}, headers=headers)

    answers = await asyncio.gather(*(submit() for _ in range(5)))
    taken = [answer.json()["result"]["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert (len(taken), len(refused)) == (2, 3)
    for answer in (*refused, await server.send("POST", "/api/echo/main", json={})):
        is_error(answer, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
    assert len((await server.send("GET", "/job")).json()["result"]) == 2
    for job in taken:
        await server.send("DELETE", f"/job/{job}")
    assert (turns.running, turns.queued) == (0, 0)
    # One that is cancelled before it has begun gives its place back, too.
    job = await server.engine.submit("echo", "main", {})
    assert turns.queued == 1
    await server.engine.cancel(job.id)
    assert (turns.running, turns.queued) == (0, 0)
    assert (await submit()).status_code == 202


async def test_failed_and_refused_installs_keep_their_own_status(
    server: Server, home: Home, is_error: Any
) -> None:
    answer = await server.send("POST", "/app/install", json={"app": "absent", "wait": True})
    is_error(answer, "install_failed", src="absent")
    with AppFolder(home.apps, "busy").locked():  # somebody installs it by hand
        answer = await server.send("POST", "/app/install", json={"app": "busy", "wait": True})
    body = is_error(answer, "installing")
    assert body["result"] == "busy is being installed, updated or uninstalled"


@pytest.mark.parametrize("asked", ["bytes=0-1", "bytes=-3", "items=0-1", None])
@pytest.mark.parametrize("wrong", ["bytes=5000-", "bytes=", "bytes=3-1", "bytes=a-b"])
async def test_ranges_of_files(
    server: Server, home: Home, is_error: Any, asked: str | None, wrong: str
) -> None:
    await server.edit_func("echo", RESULTS)
    answer = await server.send("POST", "/api/echo/link", json={"n": 5000})
    url = answer.json()["result"]["file"]["url"]
    headers = {"range": asked} if asked else {}
    answer = await server.send("GET", url, headers=headers)
    part = asked is not None and asked.startswith("bytes")
    assert answer.status_code == (206 if part else 200), answer.text
    answer = await server.send("GET", url, headers={"range": wrong})
    is_error(answer, "bad_range")
    assert answer.headers["content-range"] == "bytes */5000"
    assert (await server.send("HEAD", url, headers={"range": wrong})).status_code == 416


SHORT = {"name", "summary", "derived", "streams"}


async def test_functions_of_an_app(server: Server, is_error: Any) -> None:
    everything = (await server.send("GET", "/api")).json()["result"]
    listed = (await server.send("GET", "/app/list")).json()["result"]
    for info in listed:
        answer = await server.send("GET", f"/api/{info['app']}")
        if info["app"] in ("off", "torn", "broken"):
            code = {"off": "inactive", "torn": "broken_plugin", "broken": "broken_entry"}
            is_error(answer, code[info["app"]])
        else:
            functions = answer.json()["result"]
            short = [
                {key: value for key, value in one.items() if key in SHORT} for one in functions
            ]
            assert short == info["functions"]
            for one in functions:
                assert (await server.send("GET", f"/api/{info['app']}/{one['name']}")).json()[
                    "result"
                ] == one
            assert everything.get(info["app"], []) == functions
    is_error(await server.send("GET", "/api/none"), "unknown_app")


async def test_docs_can_be_switched_off(server: Server, is_error: Any) -> None:
    settings = Settings(password=PASSWORD, disable_docs=True)
    transport = httpx2.ASGITransport(App(server.engine, settings))
    async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
        for path in ("/docs", "/openapi.json", "/docs/swagger-ui.js"):
            is_error(await client.get(path, auth=("onegai", PASSWORD)), "unknown_route")


# --- answers ---------------------------------------------------------------------------------


async def test_successes_are_envelopes(server: Server) -> None:
    for method, path in walk(server.app):
        if method == "GET" and path in ("/health", "/app/list", "/service/status", "/job"):
            answer = await server.send(method, path)
            body = answer.json()
            assert answer.status_code == 200
            assert set(body) == {"status", "servertime", "result", "detail"}
            assert body["status"] == 0


async def test_calls(server: Server) -> None:
    answer = await server.send(
        "POST", "/api/echo/main", json={"text": "やあ", "inner": {"size": 2}}
    )
    body = answer.json()
    assert (body["status"], body["result"], body["detail"]) == (0, "やあ", {"size": 2})
    answer = await server.send("POST", "/api/echo/raw", json={"text": "やあ"})
    assert (answer.text, answer.headers["content-type"]) == ("やあ", "text/plain; charset=utf-8")
    answer = await server.send("POST", "/api/echo/audio", json={})
    assert (answer.content, answer.headers["content-type"]) == (b"RIFF....WAVE", "audio/wav")
    assert (await server.send("POST", "/api/echo/later")).json()["result"] == {}
    answer = await server.send("POST", "/api/twin/raw", json={"inner": {"weight": 1}})
    assert (answer.json(), answer.headers["content-type"]) == ({"weight": 1.0}, "application/json")


async def test_calls_share_their_timers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_at, timers = loop.call_at, 0

    def counted(*given: Any, **named: Any) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(*given, **named)

    monkeypatch.setattr(loop, "call_at", counted)
    for _ in range(100):
        assert (await server.send("POST", "/api/echo/later", json={})).status_code == 200
    # Some are of the clock: who looks for edits, and for clients that have left.
    assert timers < 50


async def test_broken_ones_are_listed_and_hide_no_other(server: Server) -> None:
    report = (await server.send("GET", "/service/status")).json()["result"]
    assert {problem["app"] for problem in report["problems"]} == {"broken", "torn"}
    listed = {app["app"]: app for app in (await server.send("GET", "/app/list")).json()["result"]}
    assert list(listed) == sorted(listed)
    assert listed["broken"]["problems"][0]["file"] == "services.json"
    assert listed["torn"]["problems"][0]["line"] == 1
    assert [function["name"] for function in listed["twin"]["functions"]] == ["raw", "main"]
    assert PASSWORD not in (await server.send("GET", "/service/status")).text


async def test_install_is_a_job(server: Server) -> None:
    answer = await server.send("POST", "/app/install", json={"app": "absent"})
    job = answer.json()["result"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/job/{job['id']}")
    events = await server.send("GET", f"/job/{job['id']}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.headers["x-accel-buffering"] == "no"
    assert events.text.startswith("id: 1\nevent: state\ndata: {")
    resumed = await server.send("GET", f"/job/{job['id']}/events", headers={"last-event-id": "1"})
    assert resumed.text.startswith("id: 2\n")
    ended = (await server.send("GET", answer.headers["location"])).json()["result"]
    assert (ended["state"], ended["error"]["code"]) == ("failed", "install_failed")
    assert (await server.send("GET", "/job")).json()["result"][0]["id"] == job["id"]


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_need_nothing_from_elsewhere(server: Server, path: str) -> None:
    page = await server.send("GET", path)
    assert page.status_code == 200
    assert "//cdn" not in page.text
    for name in assets(page.text):
        asset = await server.send("GET", name)
        assert asset.status_code == 200, name
        assert asset.content
        assert "set-cookie" not in asset.headers


def assets(html: str) -> list[str]:
    """What the page loads."""
    found = re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', html)
    assert found
    return [str(httpx2.URL(BASE).join(link).path) for link in found]
