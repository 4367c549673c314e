"""Answers of apps as results: whole, and piece by piece."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.errors import ErrorAnswer
from onegai.functions.function import Result
from onegai.functions.openapi.answers import pieces, whole
from onegai.handles.http import Response

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"


def answer(media_type: str, content: bytes) -> Response:
    return Response("a", 200, {"content-type": media_type} if media_type else {}, content)


async def pieces_of(media_type: str, *content: bytes, most: int = 1000) -> list[Any]:
    async def parts() -> AsyncIterator[bytes]:
        for part in content:
            yield part

    def check(size: int) -> None:
        if size > most:
            raise OverflowError

    return [piece async for piece in pieces(answer(media_type, b""), parts(), check)]


@pytest.mark.parametrize(
    ("media_type", "content", "result"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("Application/Problem+JSON; charset=utf-8", b"[1]", [1]),
        ("application/json", b"", None),
        ("", b"", None),
        ("text/plain", b"", ""),
        ("audio/wav", b"", b""),
        ("text/plain", "ü".encode(), "ü"),
        ("text/html; charset=latin-1", b"\xfc", "ü"),
        ("text/plain; charset=nonsense", "ü".encode(), "ü"),
        ("application/xml", b"<a/>", "<a/>"),
        ("audio/wav", b"RIFF", (b"RIFF", "audio/wav")),
        ("audio/l16; rate=8000", b"\0", (b"\0", "audio/l16; rate=8000")),
        ("application/octet-stream", b"\0", b"\0"),
        ("audio/w\u0101v", b"\0", b"\0"),
        ("", b'{"a": 1}', {"a": 1}),
        ("", b"words", "words"),
        ("", b"\xff\0", b"\xff\0"),
        (LINES, b'{"a": 1}\n\n2\nx', [{"a": 1}, 2, "x"]),
        (EVENTS, b"data: 1\r\n\r\ndata: 2", [1, 2]),
    ],
)
def test_whole(media_type: str, content: bytes, result: Any) -> None:
    assert whole(answer(media_type, content)) == result


def test_json_that_is_none_is_an_error() -> None:
    with pytest.raises(ErrorAnswer, match="not JSON"):
        whole(answer("application/json", b"{"))


async def test_an_event_that_does_not_end_has_a_limit() -> None:
    lines = [b"data: " + b"x" * 20 + b"\n"] * 100
    with pytest.raises(OverflowError):
        await pieces_of(EVENTS, *lines, most=200)
    assert len(await pieces_of(EVENTS, *(line + b"\n" for line in lines), most=200)) == 100
    empty = [b"data:\n"] * 100
    with pytest.raises(OverflowError):
        await pieces_of(EVENTS, *empty, most=50)


@pytest.mark.parametrize("media_type", ["application/json", "", EVENTS, LINES])
async def test_json_that_is_too_deep_is_the_apps_error_or_a_text(media_type: str) -> None:
    deep = b"[" * 100_000
    if media_type == "application/json":
        with pytest.raises(ErrorAnswer, match="deep"):
            whole(answer(media_type, deep))
    elif not media_type:
        assert whole(answer(media_type, deep)) == deep.decode()
    else:
        (value,) = whole(answer(media_type, b"data: " + deep if media_type == EVENTS else deep))
        assert value == deep.decode()


def test_an_error_that_is_too_deep_is_told() -> None:
    with pytest.raises(ErrorAnswer, match="answered 400"):
        Response("a", 400, {}, b"[" * 100_000).checked()


async def test_what_comes_is_passed_on() -> None:
    assert await pieces_of("audio/wav", b"RI", b"FF") == [
        (b"RI", "audio/wav"),
        (b"FF", "audio/wav"),
    ]
    assert await pieces_of("application/octet-stream", b"a") == [b"a"]
    assert await pieces_of("text/plain", b"\xc3", b"\xbc", b"x", b"\xff") == ["ü", "x", "\ufffd"]
    assert await pieces_of("text/plain", b"\xc3") == ["\ufffd"]
    assert await pieces_of("application/json", b"[1,", b"2]") == [Result([1, 2])]
    assert await pieces_of("", b"null") == [Result(None)]
    assert await pieces_of(LINES, b'{"a"', b":1}\n2\n", b"x") == [{"a": 1}, 2, "x"]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b'data: {"a": 1}\n\ndata: {"a": 2}\n\n', [{"a": 1}, {"a": 2}]),
        (b": comment\nid: 3\nretry: 5\n\ndata: 1\n\n", [1]),
        (b'data: {"a":\ndata: 1}\n\n', [{"a": 1}]),
        (b"data:1\n\ndata: [DONE]\n\ndata: 2\n\n", [1]),
        (b'event: delta\ndata: {"a": 1}\n\n', [{"event": "delta", "data": {"a": 1}}]),
        (b"event: message\ndata: 1\n\n", [1]),
        (b"data: 1\n\ndata: words\n\n", [1, "words"]),
        (b"data: Hel\n\ndata: lo\n\ndata: 2024\n\n", ["Hel", "lo", "2024"]),
        (b"data:  Hel\n\nevent: end\ndata: x\n\ndata: lo\n\n", [" Hel", "lo"]),
        (b'data: "Hel"\n\ndata: "l\\no"\n\n', ["Hel", "l\no"]),
        (b"data: 1", [1]),
        (b"\xef\xbb\xbfdata: 1\n\n", [1]),
        (b"data\n\n", [""]),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
async def test_events(content: bytes, values: list[Any]) -> None:
    assert whole(answer(EVENTS, content)) == values
    assert await pieces_of(EVENTS, content) == values
    crlf = content.replace(b"\n", b"\r\n")
    single = [crlf[at : at + 1] for at in range(len(crlf))]
    assert await pieces_of(EVENTS, *single) == values


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"error": {"message": "no more"}}', "no more"),
        (b'{"message": "no more"}', "no more"),
        (b'{"error": "no more"}', "no more"),
        (b"no more", "no more"),
        (b"[1]", "[1]"),
    ],
)
async def test_an_event_named_error_is_one(data: bytes, reason: str) -> None:
    with pytest.raises(ErrorAnswer) as caught:
        await pieces_of(EVENTS, b"data: 1\n\nevent: error\ndata: " + data + b"\n\n")
    assert caught.value.params["reason"].endswith(f": {reason}")


@pytest.mark.parametrize("media_type", ["application/json", EVENTS, LINES])
async def test_what_must_be_kept_has_a_limit(media_type: str) -> None:
    with pytest.raises(OverflowError):
        await pieces_of(media_type, b"data: " + b"x" * 60, b"x" * 60, most=100)


async def test_what_is_passed_on_has_none() -> None:
    assert len(await pieces_of("audio/wav", *[b"x" * 60] * 5, most=100)) == 5


@given(st.lists(st.one_of(st.integers(), st.dictionaries(st.text(), st.text()))), st.integers(0))
async def test_values_survive_however_they_are_cut(values: list[Any], at: int) -> None:

    content = "".join(f"data: {json.dumps(value)}\n\n" for value in values).encode()
    at %= len(content) + 1
    assert await pieces_of(EVENTS, content[:at], content[at:], most=10**6) == values
