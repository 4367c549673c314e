"""Server-sent events, cut anywhere."""

from __future__ import annotations

import json

import pytest

from onegai.client import wire
from onegai.client.events import EventParser
from onegai.errors import NoOneGAI
from onegai.schema import Event

OURS = (
    b'id: 3\nevent: state\ndata: {"state": "running"}\n\n'
    b": alive\n\n"
    b'id: 4\nevent: output\ndata: {"line": "\xe3\x81\xad: data: x"}\n\n'
    b'event: output\ndata: {"li'
)
EXPECTED = [
    Event(id=3, event="state", data={"state": "running"}),
    Event(id=4, event="output", data={"line": "ね: data: x"}),
]
STRANGE = (
    b'\xef\xbb\xbfevent:one\ndata:{"a":\ndata: 1}\nretry: 5\nunknown: x\n\n'
    b"event: without data\n\n"
    b":\n: data: {}\n"
    b"id: \xe3\x81\xad\nid: 7\nid: 7x\nid: -1\nid\ndata\ndata:  {}\ndata:\n\n\n"
)
STRANGE_EXPECTED = [
    Event(id=0, event="one", data={"a": 1}),
    Event(id=7, event="message", data={}),
]


def parsed(stream: bytes, size: int) -> list[Event]:
    parser = EventParser()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    return [event for piece in (b"", *pieces, b"") for event in parser.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("stream", "expected"), [(OURS, EXPECTED), (STRANGE, STRANGE_EXPECTED)], ids=["ours", "strange"]
)
def test_events_in_any_pieces(stream: bytes, expected: list[Event], end: bytes) -> None:
    sent = stream.replace(b"\n", end)
    for size in range(1, len(sent) + 1):
        assert parsed(sent, size) == expected, size


def test_empty_pieces_between_the_two_halves_of_a_line_break() -> None:
    parser = EventParser()
    pieces = (b"data: {}\r", b"", b"\n", b"", b"\r", b"", b"\ndata: {}\r\n\r\n")
    assert len([event for piece in pieces for event in parser.feed(piece)]) == 2


def test_a_long_line_is_put_together_once() -> None:
    """16 MiB in pieces of 1 KiB: what copies the line for each piece takes minutes."""
    text = "x" * (1 << 24)
    stream = b'event: output\ndata: {"result": "%s"}\n\n' % text.encode()
    (event,) = parsed(stream, 1 << 10)
    assert event.data["result"] == text


@pytest.mark.parametrize("data", [b"{", b"[]", b"1", b'"x"', b"\xff"])
def test_what_is_no_object_is_not_of_onegai(data: bytes) -> None:
    events = EventParser().feed(b"data: " + data + b"\n\n")
    with pytest.raises(NoOneGAI):
        list(wire.items("http://box:1", wire.events("1", after=0), events))


def test_events_that_lack_what_is_read() -> None:
    events = EventParser().feed(b"data: " + json.dumps({"text": "x"}).encode() + b"\n\n")
    with pytest.raises(NoOneGAI):
        list(wire.items("http://box:1", wire.log_follow("a", 1), events))
