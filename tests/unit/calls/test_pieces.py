"""What a function yields, and what it is together."""

import math
from pathlib import Path
from typing import Any

import pytest

from onegai.calls.pieces import TEXT, Joined, content_of, output
from onegai.files.file import BINARY, File
from onegai.functions.function import Form
from onegai.functions.results import TooLong

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "


def keep(file: File) -> dict[str, Any]:
    return {"media_type": file.media_type, "size": file.size}


@pytest.mark.parametrize(
    ("given", "media_type", "whole"),
    [
        (["a", "ね", ""], TEXT, "aね"),
        ([WAV, bytearray(b"x")], "audio/wav", (WAV + b"x", "audio/wav")),
        ([(b"pcm", "audio/l16"), b"more"], "audio/l16", (b"pcmmore", "audio/l16")),
        ([b"\0", (b"y", "text/plain")], BINARY, (b"\0y", BINARY)),
        ([(b"bytes of ", TEXT), b"text"], TEXT, (b"bytes of text", TEXT)),
    ],
)
@pytest.mark.parametrize("form", ["raw", "other"])
def test_text_and_bytes_are_joined(
    form: Form, given: list[Any], media_type: str, whole: Any
) -> None:
    joined = Joined(form)
    assert all(joined.takes(piece) for piece in given)
    assert joined.media_type == media_type
    assert joined.result(given) == whole
    assert isinstance(content_of(given[0]), bytes)


@pytest.mark.parametrize(
    ("form", "given"),
    [("main", ["a", b"b", 3]), ("other", [1, "a", b"b"]), ("raw", [("a", {"detail": 1}), "b"])],
)
def test_others_are_values_of_their_own(form: Form, given: list[Any]) -> None:
    joined = Joined(form)
    assert not any(joined.takes(piece) for piece in given)
    assert joined.media_type == ""


@pytest.mark.parametrize(
    "given", [["a", b"b"], [b"a", "b"], ["a", 1], [b"a", None], ["a", Path("x")]]
)
def test_parts_are_of_one_kind(given: list[Any]) -> None:
    joined = Joined("other")
    assert joined.takes(given[0])
    with pytest.raises(TypeError):
        joined.takes(given[1])


def test_a_media_type_that_is_none() -> None:
    with pytest.raises(ValueError, match="no media type"):
        Joined("raw").takes((b"x", "a\nb"))


@pytest.mark.parametrize(
    ("piece", "data"),
    [
        ("text", "text"),
        (None, None),
        (math.nan, None),
        ({"a": [1, (2,)]}, {"a": [1, [2]]}),
        (WAV, {"media_type": "audio/wav", "size": len(WAV)}),
        ((b"pcm", "audio/l16"), {"media_type": "audio/l16", "size": 3}),
        (File(b"x", "a.txt"), {"media_type": "text/plain", "size": 1}),
        ([b"x"], [{"media_type": "application/octet-stream", "size": 1}]),
    ],
)
def test_the_data_of_an_event(piece: Any, data: Any) -> None:
    assert output(piece, keep, math.inf).data == {"result": data}


@pytest.mark.parametrize("piece", ["x" * 101, ["x" * 101]])
def test_a_piece_has_a_limit(piece: Any) -> None:
    with pytest.raises(TooLong):
        output(piece, keep, 100)
