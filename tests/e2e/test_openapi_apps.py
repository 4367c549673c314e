"""Servers that describe themselves: their OpenAPI document becomes functions, with no code."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import ROOT, Server, fake, form, free_port, new_server, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Make = Callable[..., Server]
Call = Callable[..., Any]
WAV = 40 * b"x"
"""As long as what the app sends first."""
HELLO = {"base64": base64.b64encode(b"hello").decode(), "name": "ä.txt"}


def told(answer: Any) -> list[tuple[str, dict[str, Any]]]:
    """The events of a call."""
    assert answer.status == 200, answer.body
    found = []
    for block in answer.body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def names(server: Server, app: str) -> list[str]:
    return [one["name"] for one in server.get(f"/api/{app}").result if not one["derived"]]


def remarks(server: Server) -> str:
    return " ".join(one["reason"] for one in server.get("/service/status").result["problems"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in front of a FastAPI app, which has no func file."""
    with new_server(tmp_path_factory.mktemp("shop"), {"shop": fake("fastapp")}) as server:
        server.write(
            "config.json",
            {**json.loads((server.home / "config.json").read_text()), "max_result": 1 << 20},
        )
        server.start()
        assert server.post("/service/start", {"app": "shop"}).status == 200
        yield server


@pytest.fixture(scope="module")
def call(shop: Server) -> Call:
    """The result of a call."""

    def call(function: str, /, **arguments: Any) -> Any:
        answer = shop.post(f"/api/shop/{function}", arguments)
        assert answer.status == 200, answer.body
        return answer.result

    return call


def failed(server: Server, function: str, **arguments: Any) -> tuple[int, str, dict[str, Any]]:
    answer = server.post(f"/api/shop/{function}", arguments)
    return answer.status, answer.detail["code"], answer.detail


# --- what is there ---------------------------------------------------------------------------


def test_a_call_starts_an_app_of_which_nothing_is_known(make_server: Make) -> None:
    server = make_server({"shop": fake("fastapp")}).start()
    assert names(server, "shop") == []
    assert server.post("/api/shop/tree", {"name": "a"}).result == 1
    assert "read_item" in names(server, "shop")
    server.stop()
    server.start()
    assert server.service("shop")["state"] == "stopped"
    assert "read_item" in names(server, "shop")
    schema = server.get("/openapi.json").json["paths"]["/api/shop/read_item"]["post"]
    assert schema["summary"] == "Read one."


def test_functions_are_described_as_the_app_does(shop: Server) -> None:
    found = {one["name"]: one for one in shop.get("/api/shop").result}
    item = found["read_item"]
    assert item["about"] == "Read one.\n\nAll kinds of parameters.\n\nGET /items/{item_id}"
    fields = item["schema"]["properties"]
    assert list(fields) == ["item_id", "q", "tags", "flag", "x-token", "session"]
    assert fields["q"]["description"] == "what is looked for"
    assert "Deprecated" in found["clash"]["about"]
    assert found["guarded"]["schema"]["properties"] == {}
    assert [found[name]["streams"] for name in ("words", "tree", "speak")] == [True, False, True]


# --- arguments -------------------------------------------------------------------------------


def test_parameters_of_all_kinds(call: Call) -> None:
    given = {"item_id": 3, "q": "a&b=c d/ö?", "tags": ["x,y", "z"], "flag": True, "session": "s1"}
    assert call("read_item", **given, **{"x-token": "t"}) == {**given, "x_token": "t"}
    assert call("read_item", item_id=3, q=None)["tags"] == []


def test_what_is_wrong_with_arguments_is_told_field_by_field(shop: Server) -> None:
    status, code, detail = failed(shop, "read_item", q=3, tag=["a"])
    assert (status, code, detail["src"]) == (422, "bad_arguments", "onegai")
    assert {one["field"] for one in detail["errors"]} == {"item_id", "q", "tag"}
    assert "tags" in detail["hint"]
    status, code, detail = failed(shop, "speak", text="", speed=3)
    assert {one["field"] for one in detail["errors"]} == {"text", "speed"}
    status, code, detail = failed(shop, "path_text", text="..")
    assert (status, code) == (422, "bad_arguments")


def test_names_that_clash(call: Call) -> None:
    body = {"item_id": "inner", "note": "n"}
    assert call("clash", item_id=4, body=body) == {"item_id": 4, "body": body}


def test_models_inside_each_other(call: Call, shop: Server) -> None:
    leaf = {"name": "c", "parent": {"name": "x"}}
    assert call("tree", name="a", children=[{"name": "b", "children": [leaf]}]) == 3
    status, code, detail = failed(shop, "tree", name="a", children=[{"children": []}])
    assert (status, code) == (422, "bad_arguments")
    assert [one["field"] for one in detail["errors"]] == ["children.0.name"]
    assert call("pet", body={"kind": "cat", "lives": 9}) == "cat"
    assert failed(shop, "pet", body={"kind": "cat", "lives": 10})[:2] == (422, "bad_arguments")


def test_forms_and_files(call: Call, shop: Server) -> None:
    assert call("form", name="a b&c=ä", sizes=[1, 2]) == {
        "name": "a b&c=ä",
        "sizes": [1, 2],
        "note": None,
    }
    assert call("upload", sound=HELLO, more=[HELLO, "data:audio/wav,RIFF"], note="hi") == {
        "sound": ["ä.txt", "text/plain", 5],
        "more": [["ä.txt", "text/plain", 5], ["file.wav", "audio/wav", 4]],
        "note": "hi",
    }
    assert call("optional") == call("optional", sound=None) == -1
    assert call("optional", sound=HELLO) == 5
    assert call("bytes_in", body=HELLO) == {"size": 5, "type": "text/plain"}
    content, media_type = form(("name", None, b"x"), ("sizes", None, b"1"), ("sizes", None, b"2"))
    answer = shop.request("POST", "/api/shop/form", content, {"Content-Type": media_type})
    assert answer.result["sizes"] == [1, 2]
    content, media_type = form(("sound", "b.wav", b"RIFF"), ("note", None, b"part"))
    answer = shop.request("POST", "/api/shop/upload", content, {"Content-Type": media_type})
    assert answer.result["sound"] == ["b.wav", "application/x-given", 4]
    assert answer.result["note"] == "part"


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
_IN_PATH = _TEXT.filter(lambda text: text not in ("", ".", ".."))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=_IN_PATH, q=_TEXT, tags=st.lists(_TEXT, max_size=3), name=_TEXT.filter(bool))
def test_whatever_is_given_arrives(
    call: Call, path: str, q: str, tags: list[str], name: str
) -> None:
    assert call("path_text", text=path, q=q) == {"text": path, "q": q}
    assert call("read_item", item_id=1, q=q, tags=tags)["tags"] == tags
    assert call("form", name=name, sizes=[1])["name"] == name
    assert call("tree", name=q) == 1


# --- answers ---------------------------------------------------------------------------------


def test_bytes_come_as_they_are_made(shop: Server) -> None:
    answer = shop.post("/api/shop/speak", {"text": "hi"})
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.body.startswith(b"RIFF")
    assert answer.body.endswith(b"hi")
    with shop.reading("/api/shop/slow_sound", {"pieces": 5}) as reading:
        assert reading.headers["content-type"] == "audio/wav"
        pieces = iter(lambda: reading.read1(65536), b"")
        sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == len(WAV) + 5000
    assert len(sizes) > 3


def test_server_sent_events_are_pieces(call: Call, shop: Server) -> None:
    assert call("words", count=3) == [{"number": n} for n in range(3)]
    answer = shop.post("/api/shop/words", {"count": 2}, Accept="text/event-stream")
    pieces = [data["result"] for event, data in told(answer) if event == "output"]
    assert pieces == [{"number": 0}, {"number": 1}]
    job = shop.post("/api/shop/words", {"count": 2}, Prefer="respond-async").result["id"]
    until(lambda: shop.get(f"/job/{job}").result["state"] == "done")
    assert shop.get(f"/job/{job}/result").result == pieces


def test_an_answer_of_which_nothing_is_said(shop: Server) -> None:
    def unsaid(kind: str) -> Any:
        return shop.post("/api/shop/unsaid", {"kind": kind})

    assert unsaid("json").result == {"kind": "json"}
    assert unsaid("none").json["result"] is None
    assert unsaid("words").result == [{"number": n} for n in range(3)]
    text = unsaid("text")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.body.decode() == "plain wörds"
    assert failed(shop, "unsaid", kind="bad")[:2] == (502, "error_answer")
    done = dict(told(shop.post("/api/shop/unsaid", {"kind": "json"}, Accept="text/event-stream")))
    assert done["done"]["result"] == {"kind": "json"}


def test_an_answer_over_the_limit(shop: Server) -> None:
    assert failed(shop, "large", mib=2)[:2] == (500, "result_too_large")


def test_an_app_that_fails_in_the_middle(shop: Server) -> None:
    answer = shop.post("/api/shop/words", {"count": 1, "error": True}, Accept="text/event-stream")
    events = told(answer)
    assert [event for event, _ in events][-2:] == ["output", "error"]
    assert events[-1][1]["code"] == "error_answer"
    assert "no more words" in events[-1][1]["message"]
    answer = shop.post("/api/shop/words", {"count": 1, "die": True}, Accept="text/event-stream")
    events = told(answer)
    assert [event for event, _ in events][-2:] == ["output", "error"]
    assert (events[-1][1]["code"], events[-1][1]["src"]) == ("died", "shop")


# --- errors of the app -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upstream", "status", "code"),
    [
        (400, 422, "error_answer"),
        (401, 502, "error_answer"),
        (403, 502, "error_answer"),
        (404, 502, "error_answer"),
        (405, 502, "error_answer"),
        (429, 502, "error_answer"),
        (500, 502, "error_answer"),
        (503, 502, "error_answer"),
    ],
)
def test_errors_of_the_app(shop: Server, upstream: int, status: int, code: str) -> None:
    answer = shop.post("/api/shop/failing", {"status": upstream})
    assert (answer.status, answer.detail["code"]) == (status, code)
    assert (answer.detail["src"], answer.detail["upstream_status"]) == ("shop", upstream)
    assert f"so says the app: {upstream}" in answer.result
    assert answer.headers.get("retry-after") == ("7" if upstream == 429 else None)
    assert "WWW-Authenticate" not in answer.headers


def test_what_the_app_alone_refuses(shop: Server) -> None:
    answer = shop.post("/api/shop/picky", {"size": 11})
    assert (answer.status, answer.detail["code"]) == (422, "error_answer")
    assert "body.size: it is too large" in answer.result


def test_credentials_are_not_the_callers(shop: Server) -> None:
    status, code, detail = failed(shop, "guarded")
    assert (status, code, detail["upstream_status"]) == (502, "error_answer", 401)
    assert '{"bearer": "…"}' in detail["hint"]
    assert failed(shop, "guarded", **{"X-Api-Key": "k"})[:2] == (422, "bad_arguments")


def test_credentials_of_the_entry_let_it_in(make_server: Make) -> None:
    entry = fake("fastapp", credentials={"header": {"X-Api-Key": "k3y"}})
    server = make_server({"shop": entry}).start()
    assert server.post("/api/shop/guarded", {}).result == {"key": "k3y"}


def test_an_app_that_is_not_what_it_was(make_server: Make) -> None:
    server = make_server({"shop": fake("fastapp")}).start()
    assert server.post("/api/shop/change", {}).result == "changed"
    status, code, detail = failed(server, "older")
    assert (status, code, detail["src"]) == (409, "app_changed", "shop")
    assert "older" not in names(server, "shop")
    assert server.post("/api/shop/newer", {}).result == "newer"
    assert failed(server, "older")[:2] == (404, "unknown_function")


# --- documents -------------------------------------------------------------------------------


def test_a_document_in_yaml(make_server: Make) -> None:
    server = make_server({"search": fake("yamlapi")}).start()
    server.post("/service/start", {"app": "search"})
    assert names(server, "search") == ["search", "nodes_add", "lines"]
    assert "other.yaml" in remarks(server)
    given = {"kind": "a b", "filter": {"size": 3, "name": "x"}, "ids": [1, 2], "X-Trace": [4, 5]}
    found = server.post("/api/search/search", {**given, "theme": "dark"}).result
    assert found == {
        "method": "GET",
        "path": "/v1/search/a b",
        "query": {"filter[size]": "3", "filter[name]": "x", "ids": "1|2"},
        "x-trace": "4,5",
        "cookie": "theme=dark",
        "body": "",
    }
    assert server.post("/api/search/search", {"kind": "a", "theme": None}).result["cookie"] is None
    node = {"size": 1, "next": {"size": 2, "next": None}}
    found = server.post("/api/search/nodes_add", node).result
    assert (json.loads(found["body"]), found["path"]) == (node, "/v1/nodes")
    assert server.post("/api/search/nodes_add", {"size": 0}).status == 422
    assert server.post("/api/search/nodes_add", {"size": 1, "id": 3}).status == 422
    assert server.post("/api/search/lines", {}).result == [{"number": n} for n in range(3)]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (None, "/openapi.json"),
        ("<html>", "openapi"),
        ('{"swagger": "2.0"}', "Swagger 2.0"),
        ('{"openapi": "3.1.0", "paths": {', "not JSON"),
        ("openapi: 3.1.0\npaths: &a {b: *a}", "too deep"),
        ('{"openapi": "3.1.0", "paths": {}}', "no operation"),
    ],
)
def test_documents_that_are_none(make_server: Make, document: str | None, told: str) -> None:
    server = make_server()
    declared = {"ask": {"path": "/v1/ask", "args": {"text": {"type": "string"}}}}
    path = server.write("document", document or "")
    entry = fake(
        "yamlapi", "--document", str(path), "--place", "/openapi.json" if document else "/no"
    )
    server.write(
        "services.json",
        {"bad": entry, "good": {**entry, "port": free_port(), "functions": declared}},
    )
    server.start()
    answer = server.post("/api/bad/ask", {})
    assert (answer.status, answer.detail["code"]) == (404, "unknown_function")
    assert told in remarks(server)
    found = server.post("/api/good/ask", {"text": "hi"}).result
    assert (found["path"], found["body"]) == ("/v1/ask", '{"text":"hi"}')


def test_what_the_entry_says_of_functions(make_server: Make) -> None:
    functions = {
        "find": "search",
        "lines": None,
        "say": {"path": "/v1/say/{to}", "args": {"to": {}, "text": {"type": "string"}}},
        "wrong": {"path": "say"},
        "none": "nothing",
    }
    server = make_server({"search": fake("yamlapi", functions=functions)}).start()
    said = server.post("/api/search/say", {"to": "me", "text": "hi"}).result
    assert (said["path"], said["body"]) == ("/v1/say/me", '{"text":"hi"}')
    assert set(names(server, "search")) == {"say", "find", "nodes_add"}
    assert "functions.wrong" in remarks(server)
    assert server.post("/api/search/find", {"kind": "x"}).result["path"] == "/v1/search/x"


def test_where_the_document_is(make_server: Make) -> None:
    elsewhere = fake("yamlapi")
    url = f"http://127.0.0.1:{elsewhere['port']}"
    other = fake("yamlapi", "--place", "/no", openapi=f"{url}/openapi.yaml")
    own = fake("yamlapi", "--place", "/docs/api.yaml", openapi="/docs/api.yaml")
    far = {"type": "webapi", "url": url}
    server = make_server({"first": elsewhere, "other": other, "own": own, "far": far}).start()
    for app in ("first", "other", "own", "far"):
        assert server.post(f"/api/{app}/search", {"kind": "x"}).result["path"] == "/v1/search/x"


def test_a_func_file_wins_and_the_document_is_asked_where_the_entry_says_so(
    make_server: Make,
) -> None:
    source = "def lines(args: dict) -> str:\n    return 'mine'\n"
    server = make_server({"a": fake("yamlapi"), "b": fake("yamlapi", openapi="/openapi.yaml")})
    server.write("func/a.py", source)
    server.write("func/b.py", source)
    server.start()
    for app in ("a", "b"):
        server.post("/service/start", {"app": app})
        assert server.post(f"/api/{app}/lines", {}).result == "mine"
    assert names(server, "a") == ["lines"]
    assert names(server, "b") == ["lines", "search", "nodes_add"]


# --- other people's servers, and the manual --------------------------------------------------

RUN = '''
from collections.abc import Iterator
from typing import TypedDict


class Speech(TypedDict):
    """What to say."""

    text: str


def load(args: dict) -> None:
    """Nothing."""


def raw(args: Speech) -> bytes:
    """Say a text."""
    return b"RIFF\\x24\\0\\0\\0WAVEfmt " + args["text"].encode()


def stream(args: Speech) -> Iterator[str]:
    """Say it word by word."""
    yield from args["text"].split()
'''


def test_a_run_file_needs_no_func_file(make_server: Make) -> None:
    server = make_server()
    run = server.write("run/run_voice.py", RUN)
    words = [sys.executable, str(ROOT / "onegai" / "runner"), str(run), "--port", "{port}"]
    entry = {"type": "webapi", "port": free_port(), "exec": shlex.join(words)}
    server.write("services.json", {"voice": entry})
    server.start()
    answer = server.post("/api/voice/raw", {"text": "hi"})
    assert (answer.headers["content-type"], answer.body[-2:]) == ("audio/wav", b"hi")
    content = base64.b64decode(server.post("/api/voice/main", {"text": "hi"}).result)
    assert content == answer.body
    assert server.post("/api/voice/stream", {"text": "a b"}).body == b"ab"
    answer = server.post("/api/voice/raw", {"txt": "hi"})
    assert {one["field"] for one in answer.detail["errors"]} == {"text", "txt"}


@pytest.mark.timeout(900)
def test_a_shipped_app_without_its_func_file(shipped: Server) -> None:
    func = shipped.home / "func" / "hibari.py"
    source = func.read_text()
    before = shipped.post("/api/hibari/raw", {"text": "Hello there.", "seed": 1})
    func.unlink()
    try:
        until(lambda: shipped.get("/api/hibari").status == 200 and not func.exists())
        shipped.post("/service/start", {"app": "hibari", "restart": True})
        answer = shipped.post("/api/hibari/raw", {"text": "Hello there.", "seed": 1})
        assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
        assert answer.body == before.body
        assert len(shipped.post("/api/hibari/stream", {"text": "One. Two."}).body) > 10_000
    finally:
        shipped.write("func/hibari.py", source)


SCRIPT = """
from func import shop

print(shop.tree(name="a", children=[{"name": "b"}]))
print(shop.words(count=1), shop.unsaid(kind="none"), shop.unsaid(kind="text"))
print(shop.speak(text="hi")[-2:], shop.upload(sound=b"RIFF")["sound"][2])
"""


def test_plain_python_has_the_functions(make_server: Make) -> None:
    server = make_server({"shop": fake("fastapp")})
    server.write("func/__init__.py", (ROOT / "func" / "__init__.py").read_text())
    for _ in ("alone", "beside the server"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=server.home,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ONEGAI_HOME": str(server.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["2", "[{'number': 0}] None plain wörds", "b'hi' 4"]
        if server.process is None:
            server.start()
