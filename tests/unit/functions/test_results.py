"""What becomes of results: value and detail, bytes and their kind, JSON of anything."""

import base64
import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from onegai.functions.function import Form
from onegai.functions.results import Outcome, json_bytes, outcome_of

WAV = b"RIFF\x24\0\0\0WAVEfmt "


def outcome(name: str, result: Any) -> Outcome:
    """What the function ``name`` makes of this result."""
    form: Form = name if name in get_args(Form) else "other"
    return outcome_of(form, result)


@pytest.mark.parametrize(
    ("result", "value", "detail"),
    [
        ("text", "text", {}),
        ({"a": 1}, {"a": 1}, {}),
        (None, None, {}),
        ([1, 2], [1, 2], {}),
        (("text", {"n": 1}), "text", {"n": 1}),
        ((None, {"n": 1}), None, {"n": 1}),
        (({"a": 1}, {"n": 1}), {"a": 1}, {"n": 1}),
        (("a", "b"), ("a", "b"), {}),
        ((1, 2, 3), (1, 2, 3), {}),
    ],
)
@pytest.mark.parametrize("name", ["main", "speak"])
def test_results_in_an_envelope(name: str, result: Any, value: Any, detail: Any) -> None:
    out = outcome(name, result)
    assert (out.value, out.detail, out.envelope) == (value, detail, True)


@pytest.mark.parametrize(
    ("result", "content", "media_type"),
    [
        (WAV, WAV, "audio/wav"),
        (bytearray(WAV), WAV, "audio/wav"),
        ((WAV, "audio/x-mine"), WAV, "audio/x-mine"),
        ((WAV, {"n": 1}), WAV, "audio/wav"),
        (((WAV, "audio/x-mine"), {"n": 1}), WAV, "audio/x-mine"),
        ("おはよう", "おはよう".encode(), "text/plain; charset=utf-8"),
        ({"a": 1}, b'{"a":1}', "application/json"),
        (None, b"null", "application/json"),
        (("text", {"n": 1}), b"text", "text/plain; charset=utf-8"),
    ],
)
def test_bare_results(result: Any, content: bytes, media_type: str) -> None:
    out = outcome("raw", result)
    assert not out.envelope
    body = out.body
    assert (body.content, body.media_type) == (content, media_type)


def test_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(WAV)
    assert outcome("raw", path).body.content == WAV
    assert outcome("raw", (path, "audio/x-mine")).body.media_type == "audio/x-mine"
    with pytest.raises(FileNotFoundError):
        outcome("raw", tmp_path / "none")


def test_main_gives_bytes_as_base64() -> None:
    out = outcome("main", (WAV, {"voice": "heart"}))
    assert out.envelope
    assert base64.b64decode(out.value) == WAV
    assert out.detail == {"media_type": "audio/wav", "size": len(WAV), "voice": "heart"}


def test_another_function_is_bare_only_for_bytes() -> None:
    assert not outcome("speak", WAV).envelope
    assert outcome("speak", "text").envelope


class Model(BaseModel):
    when: date


@dataclasses.dataclass
class Point:
    x: float


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "null"),
        ([float("inf"), 1.5], "[null,1.5]"),
        (Model(when=date(2024, 1, 2)), '{"when":"2024-01-02"}'),
        ([Point(float("nan"))], '[{"x":null}]'),
        ({"path": Path("/a/b")}, '{"path":"/a/b"}'),
        ({1: "one"}, '{"1":"one"}'),
        ({"set": {1}}, '{"set":[1]}'),
        (Odd(), '"odd"'),
        ("あ", '"あ"'),
    ],
)
def test_json_of_anything(value: Any, text: str) -> None:
    assert json_bytes(value).decode() == text


def test_nested_bytes_are_the_same_base64_as_main_s() -> None:
    data = bytes(range(256))
    assert json.loads(json_bytes([data])) == [outcome("main", data).value]
