"""Plug-in files in a running server: edits of func files, routes of api files."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import forked
from harness import ROOT, Server, until

Make = Callable[..., Server]

API = """
from fastapi import APIRouter, HTTPException

from onegai.protocol import Engine


def router(engine: Engine) -> APIRouter:
    routes = APIRouter()

    @routes.post("/main")
    async def main() -> dict:
        return {"from": "api"}

    @routes.get("/extra/{name}")
    async def extra(name: str) -> dict:
        answer = await engine.answer("a", "other", {"name": name})
        return {"value": answer.result}

    @routes.get("/raises")
    async def raises() -> dict:
        raise KeyError("inside")

    @routes.get("/refuses/{status}")
    async def refuses(status: int, said: str = "no such voice") -> dict:
        detail = {"voices": ["声"]} if said == "object" else said or None
        raise HTTPException(status, detail, {"X-Own": "yes"})

    return routes
"""


def test_edited_func_file_is_used_soon(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}})
    server.write("func/a.py", "def main(args): return 1")
    server.start()
    assert server.post("/api/a/main").result == 1
    server.write("func/a.py", "def main(args): return 2")
    begun = time.monotonic()
    until(lambda: server.post("/api/a/main").result == 2)
    assert time.monotonic() - begun < 1.5


def test_what_becomes_of_edits_of_func_files(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}, "b": {"type": "inline"}})
    server.write("func/a.py", "def main(args): return 1")
    server.start()
    assert server.post("/api/a/main").result == 1
    server.edit_func("a", "def main(args): return 2\ndef more(args): return 'more'")
    assert server.post("/api/a/main").result == 2
    assert server.post("/api/a/more").result == "more"
    assert "/api/a/more" in server.get("/openapi.json").json["paths"]

    server.edit_func("a", "def main(args: return 3")
    old = server.post("/api/a/main")
    assert old.result == 2
    assert (old.detail["problem"]["file"], old.detail["problem"]["line"]) == ("func/a.py", 1)
    told = server.post("/api/a/raw").headers["onegai-problem"]
    assert unquote(told).startswith("func/a.py:1: a: syntax")
    assert server.output.read_text().count("func/a.py:1: a: syntax") == 1
    assert server.log().count("func/a.py:1: a: syntax") == 1
    for words in (["main"], ["-o", str(server.home / "out")]):
        called = forked.run(
            [sys.executable, "-m", "onegai", "call", "a", *words],
            cwd=ROOT,
            env={**os.environ, "ONEGAI_HOME": str(server.home)},
            capture_output=True,
            text=True,
        )
        assert called.returncode == 0
        assert "func/a.py:1: a: syntax" in called.stderr
    [problem] = server.get("/service/status").result["problems"]
    assert (problem["file"], problem["line"]) == ("func/a.py", 1)
    assert "last good version" in problem["reason"]

    server.edit_func("a", "def main(args): return 4")
    new = server.post("/api/a/main")
    assert (new.result, new.detail) == (4, {})
    assert "onegai-problem" not in {name.lower() for name in new.headers}
    assert server.get("/service/status").result["problems"] == []
    assert server.post("/api/b/main").detail["code"] == "unknown_function"
    server.write("func/b.py", "def main(args): return 'new file'")
    assert server.post("/api/b/main").result == "new file"


def test_a_func_file_alone_is_an_app(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}, "broken": {"type": "no such"}})
    for app in ("a", "broken", "_words", "api", "Shout"):
        server.write(f"func/{app}.py", "def main(args): return 'file'")
    server.start()
    assert server.get("/service/status").result["functions_only"] == ["a"]
    server.edit("func/chain.py", "from func import a\ndef main(args): return a.main({})")
    assert server.post("/api/chain/main").result == "file"
    listed = {info["app"]: info for info in server.get("/app/list").result}
    assert set(listed) == {"a", "broken", "chain"}
    assert (listed["a"]["type"], listed["chain"]["type"]) == ("inline", "functions")
    assert [one["name"] for one in listed["chain"]["functions"]] == ["main", "raw"]
    assert listed["chain"]["installed"]
    assert not listed["chain"]["installable"]
    assert "/api/chain/main" in server.get("/openapi.json").json["paths"]
    assert server.get("/service/status").result["functions_only"] == ["a", "chain"]
    assert server.post("/service/start", {"app": "chain"}).detail["code"] == "no_service"
    assert server.post("/app/install", {"app": "chain"}).detail["code"] == "no_install_script"
    for app, code in (("broken", "broken_entry"), ("Shout", "unknown_app"), ("api", "unknown_app")):
        assert server.post(f"/api/{app}/main").detail["code"] == code

    # An entry wins; without it the file is an app again.
    server.edit("services.local.json", {"chain": {"type": "webapi", "url": "http://127.0.0.1:9"}})
    assert server.service("chain")["app"] == "chain"
    server.edit("services.local.json", {})
    assert server.post("/api/chain/main").result == "file"
    server.edit("func/chain.py", None)
    assert server.post("/api/chain/main").detail["code"] == "unknown_app"
    assert "/api/chain/main" not in server.get("/openapi.json").json["paths"]


def test_a_slow_import_holds_up_its_own_app_only(make_server: Make) -> None:
    """As one that imports torch."""
    server = make_server({"a": {"type": "inline"}, "slow": {"type": "inline"}})
    server.write("func/a.py", "def main(args): return 'a'")
    server.write("func/slow.py", SLOW.format(1))
    begun = time.monotonic()
    server.start()
    for _ in range(2):
        assert server.get("/health").status == 200
    with ThreadPoolExecutor() as threads:
        assert threads.submit(server.post, "/api/slow/main").result().result == 1
        assert time.monotonic() - begun > 2
        server.write("func/slow.py", SLOW.format(2))
        called = [threads.submit(server.get, "/api/slow") for _ in range(3)]
        quick = 0
        while not any(one.done() for one in called):
            begun = time.monotonic()
            assert server.post("/api/a/main").result == "a"
            # Its last version is there until the new one is.
            assert server.post("/api/slow/main").result in (1, 2)
            for path in ("/health", "/openapi.json", "/service/status", "/app/list"):
                assert server.get(path).status == 200
            quick += time.monotonic() - begun < 1
        assert quick > 2
        assert [one.result().status for one in called] == [200, 200, 200]
        assert server.post("/api/slow/main").result == 2


SLOW = """
import os
import subprocess
import sys
import time
time.sleep(2)
def main(args): return {}
"""


def test_api_file_adds_routes_and_wins_over_functions(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}})
    server.write("func/a.py", "def main(args): return 'func'\ndef other(args): return args['name']")
    server.write("api/a.py", API)
    server.start()
    assert server.post("/api/a/main").json == {"from": "api"}
    assert server.post("/api/a/raw").body == b"func"
    assert server.get("/api/a/extra/cat").json == {"value": "cat"}
    assert server.request("GET", "/api/a/extra/cat", auth=False).status == 401
    assert server.get("/api/a/extra/cat", Origin="http://evil.example").status == 403
    failed = server.get("/api/a/raises")
    assert (failed.status, failed.detail["code"]) == (500, "internal_error")
    assert "/api/a/extra/{name}" in server.get("/openapi.json").json["paths"]

    server.write("api/a.py", API + "\n# edited\n")
    [problem] = server.get("/service/status").result["problems"]
    assert "changed since load" in problem["reason"]
    assert server.post("/api/a/main").json == {"from": "api"}


def test_an_api_files_own_refusals_keep_their_status(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}})
    server.write("api/a.py", API)
    server.start()
    for status in (400, 404, 405, 418, 429, 503):
        answer = server.get(f"/api/a/refuses/{status}")
        assert (answer.status, answer.result) == (status, "no such voice")
        assert (answer.detail["code"], answer.detail["src"]) == ("route_refused", "a")
        assert answer.headers["x-own"] == "yes"
    answer = server.get("/api/a/refuses/409?said=object")
    assert (answer.status, answer.detail["detail"]) == (409, {"voices": ["声"]})
    assert server.get("/api/a/refuses/304").status == 304
    assert server.get("/api/a/refuses/x").detail["code"] == "bad_request"
    assert server.get("/api/a/no/such").detail["code"] == "unknown_route"
    assert server.post("/api/a/refuses/404").detail["code"] == "method_not_allowed"


def test_api_files_that_cannot_be_loaded_are_listed(make_server: Make) -> None:
    server = make_server({name: {"type": "inline"} for name in "abcd"})
    server.write("api/a.py", "def router(engine)\n")
    server.write("api/b.py", "\nimport no_such_module\n")
    server.write("api/c.py", "def router(engine):\n    return 5\n")
    server.write("api/d.py", API.replace('"a"', '"d"'))
    server.write("api/nobody.py", API)
    server.start()
    problems = {p["app"]: p for p in server.get("/service/status").result["problems"]}
    assert problems.keys() == {"a", "b", "c", "nobody"}
    assert problems["a"]["line"] == 1
    assert problems["b"]["line"] == 2
    assert "no_such_module" in problems["b"]["reason"]
    assert "APIRouter" in problems["c"]["reason"]
    assert server.post("/api/d/main").json == {"from": "api"}


def test_example_of_an_api_file(make_server: Make) -> None:
    server = make_server({"smollm": {"type": "inline"}})
    server.write("func/smollm.py", "def main(args): return 'echo ' + args['text'], {}")
    server.write("api/smollm.py", (ROOT / "examples" / "api_smollm.py").read_text())
    server.start()
    until(lambda: server.get("/api/smollm/ask?text=hello").body == b"echo hello")
