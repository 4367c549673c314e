"""``onegai call``: what it makes of words and of answers; no server is needed for it."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from typing_extensions import TypedDict

from onegai.cli import calls
from onegai.cli import main as cli
from onegai.cli.backend import Failure
from onegai.cli.explain import explained
from onegai.errors import UnknownFunction
from onegai.files.file import File
from onegai.protocol import Answer
from onegai.schema import FileForm, FunctionInfo

WAV = b"RIFF\0\0\0\0WAVE\xff"


def test_arguments() -> None:
    words = ["text=a=b:=c@d", "n:=3", "list:=[1, 2]", "empty=", "none:=null"]
    assert calls.parse(words, ExitStack()) == {
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
        given = calls.parse([form.format(path)], until_answered)
    assert calls.sent(given, ()) == {"x": value}
    assert calls.sent(given, {"x"}) == {"x": path}
    is_text = value == content.decode(errors="replace")
    assert calls.sent(given, None) == {"x": value if is_text else path}


def test_a_file_is_not_sought_in_a_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").write_text("x")
    given = calls.parse(["x=@~"], ExitStack())
    assert calls.sent(given, {"x"}) == {"x": tmp_path / "~"}


@pytest.mark.parametrize(
    ("content", "name"), [(WAV, "file.wav"), (b"from a pipe", "file"), (b"", "file")]
)
def test_stdin_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, name: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with ExitStack() as until_answered:
        given = calls.parse(["x@-"], until_answered)
        [path] = calls.sent(given, {"x"}).values()
        assert (path.name, path.read_bytes()) == (name, content)
        if content != WAV:
            assert calls.sent(given, ()) == {"x": content.decode()}
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_with_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe, ExitStack() as until_answered:
        pipe.write(WAV)
        pipe.close()
        given = calls.parse([f"x=@/dev/fd/{reading}"], until_answered)
        assert calls.sent(given, {"x"})["x"].read_bytes() == WAV
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
        calls.parse([word], ExitStack())
    assert (caught.value.status, bool(caught.value.hint)) == (2, True)


def test_argument_given_twice() -> None:
    with pytest.raises(Failure, match="twice"):
        calls.parse(["x=1", "x:=2"], ExitStack())


class Recorder:
    """A backend that notes the call."""

    url = "http://here"

    def __init__(self, answer: Answer | None = None) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.given = answer or Answer(b"{}", "application/json")
        self.takes: dict[str, Any] | None = None
        self.about = ""

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def function(self, app: str, name: str) -> FunctionInfo:
        if self.takes is None:
            raise UnknownFunction(app=app, function=name, do="")
        return FunctionInfo(name=name, about=self.about, schema=self.takes)

    def answer(
        self, app: str, function: str, arguments: dict[str, Any], *, files: FileForm
    ) -> Answer:
        assert files == "url"
        self.calls.append((app, function, arguments))
        return self.given


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(calls, "worker", lambda _home, _server: made)
    return made


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["a"], ("a", "main", {})),
        (["a", "x=1"], ("a", "main", {"x": "1"})),
        (["a", "paint", "x=1"], ("a", "paint", {"x": "1"})),
        (["a", "-o", "-"], ("a", "raw", {})),
        (["a", "paint", "x=1", "-o", "-"], ("a", "paint", {"x": "1"})),
        (["a", "--", "x=-1"], ("a", "main", {"x": "-1"})),
        (["a", "app=1", "function=2", "self=3"], None),
    ],
)
def test_function_and_its_default(recorder: Recorder, words: list[str], called: Any) -> None:
    ended = CliRunner().invoke(cli.commands, ["call", *words])
    assert ended.exit_code == 0, ended.output
    wanted = called or ("a", "main", {"app": "1", "function": "2", "self": "3"})
    assert recorder.calls == [wanted]


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
    assert calls.argument_names(TypeAdapter(kind).json_schema()) == names


def test_unknown_key_is_refused_before_the_call(recorder: Recorder) -> None:
    recorder.takes = TypeAdapter(Plain).json_schema()
    ended = CliRunner().invoke(cli.commands, ["call", "a", "text=x", "tone=1", "pitch=2"])
    assert isinstance(ended.exception, Failure)
    assert ended.exception.message == "a/main has no argument 'tone', 'pitch'"
    assert (ended.exception.hint, ended.exception.status) == ("it takes rate, text", 2)
    assert recorder.calls == []


def test_output_is_looked_at_before_the_call(recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "readonly").touch(0o400)
    for path in (tmp_path, tmp_path / "nosuch" / "x.wav"):
        ended = CliRunner().invoke(cli.commands, ["call", "a", "-o", str(path)])
        assert isinstance(ended.exception, Failure)
        assert ended.exception.status == 2
    assert recorder.calls == []


def envelope(result: Any, **detail: Any) -> Answer:
    whole = {"status": 0, "servertime": 1.0, "result": result, "detail": detail}
    return Answer(json.dumps(whole).encode(), "application/json", whole)


IN_BASE64 = envelope(base64.b64encode(WAV).decode(), media_type="audio/wav", size=len(WAV))


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        (Answer(WAV, "audio/wav"), WAV),
        (IN_BASE64, WAV),
        (envelope("ねこ"), "ねこ".encode()),
        (envelope([1]), b"[\n  1\n]"),
    ],
)
def test_output_file(recorder: Recorder, tmp_path: Path, answer: Answer, written: bytes) -> None:
    recorder.given = answer
    path = tmp_path / "out"
    ended = CliRunner().invoke(cli.commands, ["call", "a", "-o", str(path)])
    assert ended.exit_code == 0
    assert path.read_bytes() == written


def test_whole_envelope_and_its_absence(recorder: Recorder) -> None:
    recorder.given = envelope("x", size=1)
    shown = CliRunner().invoke(cli.commands, ["call", "a", "--json"])
    assert json.loads(shown.stdout) == recorder.given.envelope
    recorder.given = Answer(WAV, "audio/wav")
    refused = CliRunner().invoke(cli.commands, ["call", "a", "raw", "--json"])
    assert isinstance(refused.exception, Failure)
    assert refused.exception.status == 2
    both = CliRunner().invoke(cli.commands, ["call", "a", "--json", "-o", "x"])
    assert both.exit_code == 2


def test_bytes_in_an_envelope_go_into_a_pipe_as_they_are(recorder: Recorder) -> None:
    recorder.given = IN_BASE64
    assert CliRunner().invoke(cli.commands, ["call", "a"]).stdout_bytes == WAV


class Speech(BaseModel):
    text: str = Field(description="what to say")
    speed: float = Field(default=1, gt=0, le=2)
    voice: Literal["alpha", "beta"] | None = None
    tags: list[str] = Field(default=["x"])
    sound: File | None = None


def test_help_shows_what_a_function_takes(recorder: Recorder) -> None:
    recorder.takes = TypeAdapter(Speech).json_schema()
    shown = CliRunner().invoke(cli.commands, ["call", "a", "say", "--help"])
    assert shown.exit_code == 0
    assert [line.split() for line in shown.stdout.splitlines()] == [
        "bash run.sh call a say takes:".split(),
        [],
        "ARGUMENT TYPE DEFAULT".split(),
        "text string required what to say".split(),
        "speed number > 0 <= 2 1".split(),
        "voice alpha|beta".split(),
        'tags list of string ["x"]'.split(),
        "sound=@FILE file".split(),
    ]
    recorder.about = "Say it.\n\nAloud."
    told = CliRunner().invoke(cli.commands, ["call", "a", "say", "--help"])
    assert told.stdout == f"Say it.\n\nAloud.\n\n{shown.stdout}"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "additionalProperties": True}, "takes any argument"),
        ({"type": "object", "properties": {}}, "takes no argument"),
        (
            {
                "$defs": {"Any": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Any"}}]}},
                "properties": {"deep": {"$ref": "#/$defs/Any"}},
            },
            "list of list of anything",
        ),
    ],
)
def test_help_of_odd_schemas(schema: dict[str, Any], said: str) -> None:
    assert said in explained("f", schema)


def test_help_without_a_function_is_that_of_the_command() -> None:
    shown = CliRunner().invoke(cli.commands, ["call", "--help"])
    assert (shown.exit_code, "key:=JSON" in shown.stdout) == (0, True)
    assert CliRunner().invoke(cli.commands, ["call"]).exit_code == 2
