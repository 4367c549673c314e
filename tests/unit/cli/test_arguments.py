"""The arguments of a call, made of words."""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from typing_extensions import TypedDict

from onegai.cli import arguments
from onegai.cli import main as cli
from onegai.cli.backend import Failure

WAV = b"RIFF\0\0\0\0WAVE\xff"


def test_arguments() -> None:
    words = ["text=a=b:=c@d", "n:=3", "list:=[1, 2]", "empty=", "none:=null"]
    assert arguments.parse(words, ExitStack()) == {
        "text": "a=b:=c@d",
        "n": 3,
        "list": [1, 2],
        "empty": "",
        "none": None,
    }


@pytest.mark.parametrize("form", ["x@{}", "x=@{}"])
@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("こんにちは\n".encode(), "こんにちは\n"),
        (b"RIFF\xff\xfe", base64.b64encode(b"RIFF\xff\xfe").decode()),
        (b"a\0b", base64.b64encode(b"a\0b").decode()),
        (b"", ""),
    ],
)
def test_file_arguments(tmp_path: Path, form: str, content: bytes, value: str) -> None:
    path = tmp_path / "a file=@b"
    path.write_bytes(content)
    with ExitStack() as until_answered:
        given = arguments.parse([form.format(path)], until_answered)
    assert arguments.sent(given, ()) == {"x": value}
    assert arguments.sent(given, {"x"}) == {"x": path}
    is_text = value == content.decode(errors="replace")
    assert arguments.sent(given, None) == {"x": value if is_text else path}


def test_a_file_is_not_sought_in_a_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").write_text("x")
    given = arguments.parse(["x=@~"], ExitStack())
    assert arguments.sent(given, {"x"}) == {"x": tmp_path / "~"}


@pytest.mark.parametrize(
    ("content", "name"), [(WAV, "file.wav"), (b"from a pipe", "file"), (b"", "file")]
)
def test_stdin_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, name: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with ExitStack() as until_answered:
        given = arguments.parse(["x@-"], until_answered)
        [path] = arguments.sent(given, {"x"}).values()
        assert (path.name, path.read_bytes()) == (name, content)
        if content != WAV:
            assert arguments.sent(given, ()) == {"x": content.decode()}
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_with_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe, ExitStack() as until_answered:
        pipe.write(WAV)
        pipe.close()
        given = arguments.parse([f"x=@/dev/fd/{reading}"], until_answered)
        assert arguments.sent(given, {"x"})["x"].read_bytes() == WAV
    assert list(tmp_path.iterdir()) == []


def test_no_temporary_file_is_left_by_bad_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = CliRunner().invoke(cli.commands, ["call", "a", "x@-", "y:=[1,"], input=b"from a pipe")
    assert isinstance(ended.exception, Failure)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hello", "no argument"),
        ("=hello", "no argument"),
        ("", "no argument"),
        ("x:=[1,", "not JSON"),
        ("x:=hello", "not JSON"),
        ("x@/nosuch/file", "cannot read"),
        ("x=@", "no name of a file"),
        ("x@a\0b", "cannot read"),
        ("x=@/", "is a folder"),
    ],
)
def test_bad_argument(word: str, said: str) -> None:
    with pytest.raises(Failure, match=said) as caught:
        arguments.parse([word], ExitStack())
    assert (caught.value.status, bool(caught.value.hint)) == (2, True)


def test_argument_given_twice() -> None:
    with pytest.raises(Failure, match="twice"):
        arguments.parse(["x=1", "x:=2"], ExitStack())


class Plain(BaseModel):
    text: str
    speed: float = Field(default=1, alias="rate")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str


class Typed(TypedDict, total=False):
    seed: int


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Plain, {"text", "rate"}),
        (Typed, {"seed"}),
        (Plain | Typed, {"text", "rate", "seed"}),
        (Plain | Open, None),
        (Open, None),
        (dict[str, Any], None),
        (create_model("Nothing"), set()),
    ],
)
def test_names_of_arguments(kind: Any, names: set[str] | None) -> None:
    assert arguments.argument_names(TypeAdapter(kind).json_schema()) == names
