"""Apps that answer what no app should: nothing secret is told, and the server goes on."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from harness import PASSWORD, Server

Make = Callable[..., Server]
Answer = Callable[[Mapping[str, str]], tuple[int, dict[str, str], bytes]]
"""Of the request's headers: status, headers, content."""

SECRET = "sk-test-5b1f3e9a7c2d4e6f"
DEEP = b"[" * 100_000
TEXTBOX = {"id": 1, "type": "textbox", "props": {"label": "t"}, "api_info": {"type": "string"}}


@contextmanager
def listening(answers: Mapping[str, Answer]) -> Iterator[str]:
    """An app in this process, by the paths of its routes. Gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = answers.get(self.path.partition("?")[0])
            status, headers, content = answer(self.headers) if answer else (404, {}, b"{}")
            self.send_response(status)
            sent = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            for name, value in {**sent, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def says(value: Any) -> Answer:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda _headers: (200, {}, content)


def gradio(event: Callable[[str], bytes], **others: Answer) -> dict[str, Answer]:
    """Routes of a Gradio app whose one event this is, made of the Authorization it was shown."""
    config = {
        "version": "5.50.0",
        "protocol": "sse_v3",
        "components": [TEXTBOX],
        "dependencies": [{"id": 0, "api_name": "say", "inputs": [1], "outputs": [1]}],
    }

    def events(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        content = b"data: " + event(headers.get("Authorization", "")) + b"\n\n"
        return 200, {"Content-Type": "text/event-stream"}, content

    return {
        "/config": says(config),
        "/app_id": says({"app_id": 1}),
        "/queue/join": says({"event_id": "e"}),
        "/queue/data": events,
        **others,
    }


def with_app(make: Make, url: str) -> Server:
    entry = {"type": "gradio", "url": url, "credentials": {"bearer": "{my_key}"}}
    server = make({"a": entry})
    config = {"username": "onegai", "password": PASSWORD, "my_key": SECRET}
    server.write("config.json", config)
    return server.start()


@pytest.mark.parametrize(
    "message",
    [
        {"msg": "process_completed", "success": False, "output": {"error": "SHOWN is no key"}},
        {"msg": "unexpected_error", "message": "SHOWN is no key"},
        {"msg": "process_completed", "success": True, "output": {"error": "SHOWN is no key"}},
    ],
)
def test_a_gradio_app_that_repeats_its_key_in_an_error(
    make_server: Make, message: dict[str, Any]
) -> None:
    def event(shown: str) -> bytes:
        return json.dumps(message).replace("SHOWN", shown).encode()

    with listening(gradio(event)) as url:
        server = with_app(make_server, url)
        answer = server.post("/api/a/say", {"t": "x"})
        assert answer.detail["code"] == "error_answer", answer.body
        assert b"is no key" in answer.body
        assert SECRET not in answer.body.decode()
        assert SECRET not in server.log()


def test_a_gradio_app_whose_json_is_too_deep(make_server: Make) -> None:
    with listening(gradio(lambda _shown: DEEP)) as url:
        server = with_app(make_server, url)
        answer = server.post("/api/a/say", {"t": "x"})
        assert (answer.status, answer.detail["code"]) == (502, "error_answer"), answer.body


def test_a_description_that_unpacks_to_more_than_it_may(make_server: Make) -> None:
    routes = gradio(lambda _shown: b"{}")
    _status, _headers, config = routes["/config"]({})
    packed = gzip.compress(config + b" " * (40 << 20), 1)
    routes["/config"] = lambda _headers: (200, {"Content-Encoding": "gzip"}, packed)
    with listening(routes) as url:
        server = with_app(make_server, url)
        answer = server.post("/api/a/say", {"t": "x"})
        assert (answer.status, answer.detail["code"]) == (404, "unknown_function"), answer.body


def test_a_cookie_of_one_app_is_shown_to_no_other(make_server: Make) -> None:
    operation = {"operationId": "who", "responses": {"200": {"description": "", "content": {}}}}
    document = {"openapi": "3.1.0", "info": {}, "paths": {"/who": {"post": operation}}}

    def who(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        cookie = {"Set-Cookie": "session=private; Path=/"}
        return 200, cookie, json.dumps({"shown": headers.get("Cookie")}).encode()

    routes = {"/openapi.json": says(document), "/who": who}
    with listening(routes) as one, listening(routes) as other:
        urls = {"a": one, "b": other}
        server = make_server(
            {
                app: {"type": "webapi", "url": url.replace("127.0.0.1", "localhost")}
                for app, url in urls.items()
            }
        )
        server.start()
        for app in ("a", "b", "a"):
            answer = server.post(f"/api/{app}/who", {})
            assert json.loads(answer.body)["result"] == {"shown": None}


def test_an_app_that_repeats_its_key_in_what_it_tells_of_itself(make_server: Make) -> None:
    def version(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        shown = headers.get("Authorization", "").removeprefix("Bearer ")
        return 200, {}, json.dumps({"version": shown, "dependencies": []}).encode()

    with listening({"/config": version}) as url, listening({}) as empty:
        credentials = {"bearer": "{my_key}"}
        elsewhere = empty.replace("//", f"//me:{SECRET}@") + f"/openapi.json?key={SECRET}"
        server = make_server(
            {
                "a": {"type": "gradio", "url": url, "credentials": credentials},
                "b": {"type": "webapi", "url": url, "openapi": elsewhere},
            }
        )
        config = {"username": "onegai", "password": PASSWORD, "my_key": SECRET}
        server.write("config.json", config)
        server.start()
        told = [server.post(f"/api/{app}/say", {}).body for app in ("a", "b")]
        status = server.get("/service/status")
        assert {problem["app"] for problem in status.result["problems"]} == {"a", "b"}
        for text in (*told, status.body, server.get("/app/list").body):
            assert SECRET not in text.decode()
        assert SECRET not in server.log()
