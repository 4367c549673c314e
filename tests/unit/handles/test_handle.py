"""Requests and answers of handles, without a network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onegai.config.credentials import Access
from onegai.errors import ErrorAnswer, as_http
from onegai.handles.http import Lines, build
from onegai.sdk import Response, async_service, service


def response(status: int, body: str) -> Response:
    return Response("a", status, {}, body.encode())


def test_half_an_emoji_in_a_form_and_a_path() -> None:
    request = build("post", "/\ud83d", data={"a": "\ud83d"}, files={"f": ("\ud83d", b"x", "y/z")})
    assert request.target == "/\ufffd"
    assert "\ufffd".encode() in (request.body or b"")


def test_making_a_handle_needs_nothing() -> None:
    assert service("a").app == async_service("a").app == "a"


@pytest.mark.parametrize(
    ("options", "target", "kind", "body"),
    [
        ({}, "/p", None, None),
        ({"params": {"text": "a b&c", "n": [1, 2]}}, "/p?text=a+b%26c&n=1&n=2", None, None),
        ({"params": [("a", "ね")]}, "/p?a=%E3%81%AD", None, None),
        ({"json": {"a": "ね"}}, "/p", "application/json", '{"a": "ね"}'),
        ({"json": []}, "/p", "application/json", "[]"),
        ({"data": {"a": "b c"}}, "/p", "application/x-www-form-urlencoded", "a=b+c"),
        ({"content": b"raw"}, "/p", None, "raw"),
        ({"json": {"a": "hi \ud83d"}}, "/p", "application/json", '{"a": "hi \ufffd"}'),
        ({"json": ["\ud83d\ude00"]}, "/p", "application/json", '["\U0001f600"]'),
        ({"data": {"a": "\ud83d"}}, "/p", "application/x-www-form-urlencoded", "a=%3F"),
        ({"params": {"a": "\ud83d"}}, "/p?a=%3F", None, None),
        ({"json": 1, "headers": {"Content-Type": "x/y"}}, "/p", "x/y", "1"),
    ],
)
def test_build(options: dict[str, Any], target: str, kind: str | None, body: str | None) -> None:
    request = build("post", "p", **options)
    assert (request.method, request.target) == ("POST", target)
    assert request.headers.get("content-type") == kind
    assert request.body == (None if body is None else body.encode())


def test_build_adds_to_a_query() -> None:
    assert build("GET", "/p?x=1", params={"y": 2}).target == "/p?x=1&y=2"


def test_build_multipart() -> None:
    files = {"audio": ("a.wav", b"RIFF", "audio/wav"), "more": b"bytes"}
    request = build("POST", "/p", files=files, data={"language": "ja"})
    kind = request.headers["content-type"]
    assert kind.startswith("multipart/form-data; boundary=")
    assert request.body is not None
    assert request.body.count(kind.partition("=")[2].encode()) == 4
    assert b'name="audio"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF' in request.body
    assert b'name="language"\r\n\r\nja' in request.body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"error": "no such voice"}', "no such voice"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"error": {"message": "model not loaded", "code": 503}}', "model not loaded"),
        ('{"detail": [{"loc": ["text"]}]}', '{"detail": [{"loc": ["text"]}]}'),
        (
            '{"detail": [{"loc": ["query", "speaker"], "msg": "Required"}]}',
            "query.speaker: Required",
        ),
        ('{"detail": [{"loc": null, "msg": "Required"}]}', "Required"),
        ("<h1>Bad Gateway</h1>\nmore", "<h1>Bad Gateway</h1>"),
        ("", "without a text"),
    ],
)
def test_error_answers_carry_the_apps_own_words(body: str, reason: str) -> None:
    with pytest.raises(ErrorAnswer) as caught:
        response(500, body).checked()
    assert caught.value.params["reason"].startswith(reason)
    assert caught.value.src == "a"
    assert caught.value.detail["answer"] == body


@pytest.mark.parametrize(("upstream", "status"), [(422, 422), (400, 422), (404, 502), (503, 502)])
def test_refused_input_is_the_callers_and_all_else_the_apps(upstream: int, status: int) -> None:
    with pytest.raises(ErrorAnswer) as caught:
        response(upstream, "").checked()
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.2"}, 1),
        ({"Retry-After": "1e9"}, 86_400),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: int | None) -> None:
    with pytest.raises(ErrorAnswer) as caught:
        Response("a", 429, headers, b"").checked()
    assert caught.value.retry_after == seconds
    assert caught.value.detail.get("retry_after") == seconds
    assert dict(as_http(caught.value)[1]).get(b"retry-after") == (
        None if seconds is None else str(seconds).encode()
    )


def test_errors_tell_no_secret() -> None:
    access = Access({"x": "sk-12345678"}, {}, ("sk-12345678",), "my_key")
    body = '{"error": {"message": "wrong key sk-12345678"}}'
    with pytest.raises(ErrorAnswer) as caught:
        Response("a", 401, {}, body.encode(), access).checked()
    assert "sk-1" not in str(caught.value.data) + str(as_http(caught.value))
    assert "my_key" in caught.value.advice
    other = caught.value.with_example('{"bearer": "…"}')
    assert (other.status, other.detail["answer"]) == (502, caught.value.detail["answer"])
    access = Access()
    with pytest.raises(ErrorAnswer) as caught:
        Response("a", 401, {}, body.encode(), access).checked()
    assert '{"bearer": "…"}' in caught.value.with_example('{"bearer": "…"}').advice


def test_good_answers() -> None:
    answer = response(200, json.dumps({"a": "ね"}))
    assert answer.checked() is answer
    assert answer.ok
    assert answer.json() == {"a": "ね"}
    with pytest.raises(ErrorAnswer, match="not JSON"):
        response(200, "<html>").json()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_of_a_text_that_comes_cut_anywhere(size: int) -> None:
    text = "data: ね\r\n\n\nx\ry\n🐈 last".encode()
    lines = Lines()
    found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])]
    assert found == ["data: ね", "", "", "x\ry"]
    assert lines.waiting == len("🐈 last")
    assert lines.end() == ["🐈 last"]


def test_a_text_that_ends_with_its_last_line_has_no_line_more() -> None:
    lines = Lines()
    assert lines.feed(b"a\n") == ["a"]
    assert (lines.waiting, lines.end()) == (0, [])
    assert Lines().end() == []


def test_a_character_that_is_cut_off_is_seen_to_be() -> None:
    lines = Lines()
    assert lines.feed("ね".encode()[:2]) == []
    assert lines.end() == ["\ufffd"]
