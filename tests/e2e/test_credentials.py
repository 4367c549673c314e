"""Credentials of apps: shown to the app, to nobody else, and in no text that leaves."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import forked
import pytest
from commands import command, environment
from guarded import Guarded, guarded
from harness import PASSWORD, ROOT, Server, fake

Make = Callable[..., Server]

SECRET = "sk-test-5b1f3e9a7c2d4e6f"
FUNC = """
from onegai.errors import ErrorAnswer
from onegai.sdk import async_service, service

me, me_async = service("{app}"), async_service("{app}")


def main(args: dict) -> dict:
    return me.post(args.get("path", "/echo"), headers=args.get("headers"), json={{}}).json()


async def later(args: dict) -> dict:
    answer = await me_async.post(args.get("path", "/echo"), headers=args.get("headers"), json={{}})
    return answer.json()


def stream(args: dict) -> str:
    with me.stream("POST", args.get("path", "/echo")) as pieces:
        return b"".join(pieces).decode()


def rude(args: dict) -> str:
    answer = me.get("/leak", check=False)
    raise ErrorAnswer(
        app="{app}",
        upstream_status=500,
        reason=answer.text,
        detail={{"upstream_status": 500, "answer": [answer.text]}},
    )


def careless(args: dict) -> str:
    raise RuntimeError(me.get("/leak", check=False).text)
"""
WAYS = {
    "bearer": ({"bearer": "{my_key}"}, ("Authorization", f"Bearer {SECRET}")),
    "basic": (
        {"basic": ["me", "{my_key}"]},
        ("Authorization", "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()),
    ),
    "header": ({"header": {"X-Api-Key": "{my_key}"}}, ("X-Api-Key", SECRET)),
    "query": ({"query": {"key": "{my_key}"}}, ("key", SECRET)),
}


@pytest.fixture
def strict() -> Iterator[Guarded]:
    with guarded(WAYS["header"][1]) as found:
        yield found


def onegai(server: Server, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return forked.run(
        command(words),
        env=environment(server),
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )


def with_app(make: Make, url: str, credentials: object, **config: object) -> Server:
    server = make({"a": {"type": "webapi", "url": url, "credentials": credentials}})
    server.write("config.json", {"username": "onegai", "password": PASSWORD, **config})
    server.write("func/a.py", FUNC.format(app="a"))
    return server


def nothing_told(server: Server, *texts: str) -> None:
    """Neither the texts nor anything that the server has written has the secret, or most of it."""
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    kept = [path for path in (server.home / "data").rglob("*") if path.is_file()]
    for text in (*texts, *(path.read_text("utf-8", "replace") for path in kept)):
        for secret in (SECRET, SECRET[:12], SECRET[-8:], pair):
            assert secret not in text


@pytest.mark.parametrize("way", WAYS)
def test_each_way_in(make_server: Make, way: str) -> None:
    credentials, wants = WAYS[way]
    with guarded(wants) as there:
        server = with_app(make_server, there.url, credentials, my_key=SECRET).start()
        for function in ("main", "later", "stream"):
            answer = server.post(f"/api/a/{function}", {})
            assert answer.status == 200, answer.body
        leaked = server.post("/api/a/main", {"path": "/leak"})
        assert (leaked.status, leaked.detail["code"]) == (502, "error_answer")
        careless = server.post("/api/a/careless", {})
        assert careless.detail["code"] == "function_failed"
        rude = server.post("/api/a/rude", {})
        assert rude.detail["code"] == "error_answer"
        assert "********" in rude.result
        told = [
            answer.body.decode()
            for answer in (
                leaked,
                rude,
                careless,
                server.get("/service/status"),
                server.get("/app/list"),
                server.get("/api/a"),
                server.get("/config/get_json"),
                server.get("/service/get_json"),
                server.get("/openapi.json"),
                server.get("/service/plan?app=a"),
            )
        ]
        for words in (["config"], ["config", "my_key"], ["ps"], ["doctor"], ["list"]):
            ran = onegai(server, *words)
            told += ran.stdout, ran.stderr
        nothing_told(server, *told)
        assert "RuntimeError" in server.log()


def test_what_the_function_gives_wins(make_server: Make) -> None:
    with guarded() as there:
        credentials = {"header": {"X-Api-Key": "{my_key}"}, "query": {"key": "{my_key}"}}
        server = with_app(make_server, there.url, credentials, my_key=SECRET).start()
        for function in ("main", "later"):
            given = {"path": "/echo?key=mine", "headers": {"x-api-KEY": "own"}}
            shown = server.post(f"/api/a/{function}", given).result
            assert (shown["headers"]["x-api-key"], shown["query"]) == ("own", {"key": "mine"})


@pytest.mark.parametrize("function", ["main", "later", "stream"])
@pytest.mark.parametrize("way", WAYS)
def test_another_origin_is_shown_nothing(make_server: Make, function: str, way: str) -> None:
    credentials, wants = WAYS[way]
    with guarded(wants) as there, guarded() as other:
        server = with_app(make_server, there.url, credentials, my_key=SECRET).start()
        path = f"/moved?carry=1&to={other.url}/echo?a=1"
        assert server.post(f"/api/a/{function}", {"path": path}).status == 200
        [shown] = other.requests
        assert SECRET not in str(shown)
        assert "authorization" not in shown.headers
        assert shown.query["a"] == "1"
        # Within one origin they go along.
        near = f"/moved?to=/echo?a=1%26b={there.url}"
        assert server.post(f"/api/a/{function}", {"path": near}).status == 200
        assert there.requests[-1].path == "/echo"


@pytest.mark.parametrize("function", ["main", "later"])
def test_a_header_that_the_function_gives_stays_there_too(
    make_server: Make, strict: Guarded, function: str
) -> None:
    with guarded() as other:
        server = with_app(make_server, strict.url, WAYS["header"][0], my_key="another").start()
        given = {"path": f"/moved?to={other.url}/echo", "headers": {"x-api-key": SECRET}}
        assert server.post(f"/api/a/{function}", given).status == 200
        assert SECRET not in str(other.requests)


@pytest.mark.parametrize("function", ["main", "later"])
def test_redirects_without_an_end(make_server: Make, function: str) -> None:
    with guarded() as there:
        server = with_app(make_server, there.url, None).start()
        answer = server.post(f"/api/a/{function}", {"path": "/moved?to=/moved%3Fto=/echo"})
        assert answer.status == 200
        there.answer = lambda _request: (302, {"Location": "/again"}, {})  # type: ignore[method-assign]
        answer = server.post(f"/api/a/{function}", {})
        assert (answer.status, answer.detail["code"]) == (502, "unreachable")
        assert "redirects" in answer.result


def test_refused_credentials_are_told_from_onegais_own(make_server: Make) -> None:
    with guarded(("Authorization", f"Bearer {SECRET}")) as there:
        server = with_app(make_server, there.url, {"bearer": "{my_key}"}, my_key=SECRET).start()
        for function in ("main", "later", "stream"):
            answer = server.post(f"/api/a/{function}", {"path": "/short"})
            assert (answer.status, answer.detail["code"]) == (502, "error_answer")
            assert answer.detail["upstream_status"] == 401
            assert "my_key" in answer.detail["hint"]
            assert "www-authenticate" not in answer.headers
            nothing_told(server, answer.body.decode())
        there.wants = ("Authorization", "Bearer other")
        answer = server.post("/api/a/main", {})
        assert answer.detail["upstream_status"] == 401
        assert "my_key" in answer.detail["hint"]
    with guarded(("Authorization", "x")) as there:
        server.edit("services.local.json", {"a": {"url": there.url, "credentials": None}})
        assert "apps.a.credentials" in server.post("/api/a/main", {}).detail["hint"]


def test_limits_of_the_app_are_told_with_the_time_to_wait(make_server: Make) -> None:
    with guarded() as there:
        server = with_app(make_server, there.url, None).start()
        for function in ("main", "later", "stream"):
            answer = server.post(f"/api/a/{function}", {"path": "/limited"})
            assert (answer.status, answer.detail["code"]) == (502, "error_answer")
            assert (answer.headers["retry-after"], answer.detail["retry_after"]) == ("7", 7)


def test_a_missing_key_is_said_before_anything_is_asked(make_server: Make, strict: Guarded) -> None:
    server = with_app(make_server, strict.url, WAYS["header"][0]).start()
    for answer in (
        server.post("/api/a/main", {}),
        server.post("/api/a/later", {}),
        server.post("/service/start", {"app": "a"}),
    ):
        assert (answer.status, answer.detail["code"]) == (409, "key_missing")
        assert "my_key" in answer.detail["hint"]
    assert strict.requests == []
    ran = onegai(server, "config", "my_key", "-", typed=f"{SECRET}\n")
    assert "in effect" in ran.stdout
    assert SECRET not in ran.stdout
    assert server.post("/api/a/main", {}).status == 200


def test_a_service_elsewhere_is_asked_with_them_whether_it_is_there(
    make_server: Make, strict: Guarded
) -> None:
    server = with_app(make_server, strict.url, WAYS["header"][0], my_key=SECRET).start()
    assert server.post("/service/start", {"app": "a"}).status == 200
    assert server.service("a")["state"] == "ready"
    [asked] = strict.requests
    assert asked.headers["x-api-key"] == SECRET


def test_an_app_of_ones_own_and_a_literal_secret(make_server: Make) -> None:
    server = make_server({"a": fake("ready"), "b": fake("ready")})
    server.write(
        "config.json",
        {"password": PASSWORD, "apps": {"a": {"credentials": {"bearer": SECRET}}}},
    )
    for app in "ab":
        server.write(f"func/{app}.py", FUNC.format(app=app))
    server.start()
    shown = server.post("/api/a/main", {}).result["headers"]
    assert shown["authorization"] == f"Bearer {SECRET}"
    other = server.post("/api/b/main", {}).result["headers"]
    assert "authorization" not in other
    for path in ("/config/get_json", "/service/get_json", "/service/status"):
        assert SECRET not in server.get(path).body.decode()
    ran = onegai(server, "config", "apps.a.credentials")
    assert SECRET not in ran.stdout + ran.stderr


def test_they_are_changed_in_the_file_only(make_server: Make, strict: Guarded) -> None:
    server = with_app(make_server, strict.url, WAYS["header"][0], my_key=SECRET).start()
    for kind, change in (
        ("service", {"a": {"credentials": {"header": {"X-Other": "{my_key}"}}}}),
        ("config", {"apps": {"a": {"credentials": {"header": {"X-Other": "{my_key}"}}}}}),
    ):
        shown = server.get(f"/{kind}/get_json")
        content = json.loads(json.dumps(shown.result))
        for key, value in change.items():
            content[key] = {**content.get(key, {}), **value}
        answer = server.request(
            "POST", f"/{kind}/set_json", content, {"If-Match": shown.headers["etag"]}
        )
        assert (answer.status, answer.detail["code"]) == (403, "remote_edit_off")


def test_plain_python_shows_them_beside_a_server_and_alone(
    make_server: Make, strict: Guarded
) -> None:
    server = with_app(make_server, strict.url, WAYS["header"][0], my_key=SECRET)
    server.write("func/__init__.py", (ROOT / "func/__init__.py").read_text())
    script = "from func import a; print(a.main()['path'], a.main(path='/echo')['path'])"

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return forked.run(
            [sys.executable, "-c", code],
            cwd=server.home,
            env=environment(server, PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=60,
        )

    alone = run(script)
    assert alone.stdout == "/echo /echo\n", alone.stderr
    server.start()
    assert run(script).stdout == "/echo /echo\n"
    failed = run("from func import a; a.main(path='/leak')")
    assert "ErrorAnswer" in failed.stderr
    assert SECRET not in failed.stderr


def test_a_wrong_entry_does_not_show_what_is_in_it(make_server: Make, tmp_path: Path) -> None:
    del tmp_path
    server = make_server({})
    bad = {"bearer": f"{SECRET}\n", "header": {"X Y": SECRET}, "what": SECRET}
    server.write(
        "services.local.json", {"a": {"type": "webapi", "url": "http://x", "credentials": bad}}
    )
    server.start()
    told = server.get("/service/status").body.decode() + server.get("/app/list").body.decode()
    assert "credentials" in told
    nothing_told(server, told, onegai(server, "doctor").stdout)
