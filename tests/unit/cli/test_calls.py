"""``onegai call``: what it makes of words and of answers; no server is needed for it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, Field, TypeAdapter

from onegai.cli import calls
from onegai.cli import main as cli
from onegai.cli.backend import Failure
from onegai.cli.explain import explained
from onegai.errors import OneGAIError, UnknownFunction
from onegai.files.file import File
from onegai.protocol import Answer
from onegai.schema import Event, FileForm, FunctionInfo

WAV = b"RIFF\0\0\0\0WAVE\xff"
LINK = b'{"at":{"name":"a.wav","media_type":"audio/wav","size":1,"url":"/file/x/a.wav"}}\n'


class Recorder:
    """A backend that notes the calls, and what has become of them."""

    def __init__(self) -> None:
        self.url: str | None = "http://here"
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.forms: list[FileForm] = []
        self.events: list[tuple[str, dict[str, Any]]] = [done({})]
        self.given = Answer(b"{}", "application/json")
        self.takes: dict[str, Any] | None = {}
        self.told: dict[str, Any] | None = None
        self.started: list[str] = []
        self.streams = False
        self.closed = 0
        self.about = ""

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def function(self, app: str, name: str) -> FunctionInfo:
        if self.takes is None:
            raise UnknownFunction(app=app, function=name, do="")
        return FunctionInfo(name=name, about=self.about, schema=self.takes, streams=self.streams)

    def functions_of(self, app: str) -> list[FunctionInfo]:
        return [] if self.takes is None else [self.function(app, "main")]

    def start(self, app: str) -> None:
        self.started.append(app)
        self.takes = self.told

    def answer(
        self, app: str, function: str, arguments: dict[str, Any], *, files: FileForm
    ) -> Answer:
        self.calls.append((app, function, arguments))
        self.forms.append(files)
        return self.given

    def stream(
        self, app: str, function: str, arguments: dict[str, Any], *, files: FileForm
    ) -> Generator[Event, None, None]:
        self.calls.append((app, function, arguments))
        self.forms.append(files)
        try:
            for number, (event, data) in enumerate(self.events, 1):
                if event == "ctrl-c":
                    raise KeyboardInterrupt
                yield Event(id=number, event=event, data=data)
        finally:
            self.closed += 1


def done(result: Any, **detail: Any) -> tuple[str, dict[str, Any]]:
    return "done", {"result": result, "detail": detail}


def pieces(*results: Any) -> list[tuple[str, dict[str, Any]]]:
    return [("output", {"result": result}) for result in results]


def file(content: bytes, media_type: str = "audio/wav") -> dict[str, Any]:
    return {
        "name": "a.wav",
        "media_type": media_type,
        "size": len(content),
        "url": "/file/x/a.wav",
        "base64": base64.b64encode(content).decode(),
    }


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


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


BASE64 = done(base64.b64encode(WAV).decode(), media_type="audio/wav", size=len(WAV))
RESULTS: list[tuple[str, list[tuple[str, dict[str, Any]]], bytes, bytes]] = [
    # function, events, what -o writes, what a program gets on stdout
    ("raw", [BASE64], WAV, WAV),
    ("main", [BASE64], WAV, WAV),
    ("main", [done("ねこ")], "ねこ".encode(), "ねこ\n".encode()),
    ("raw", [done("ねこ")], "ねこ".encode(), "ねこ".encode()),
    ("main", [done([1])], b"[\n  1\n]", b"[\n  1\n]\n"),
    ("raw", [done([1])], b"[1]", b"[1]"),
    ("stream", [*pieces(file(b"RIFF"), file(b"more")), done(None)], b"RIFFmore", b"RIFFmore"),
    ("stream", [*pieces("a", "b\n", "c"), done("abc")], b"ab\nc", b"ab\nc\n"),
    ("raw", [*pieces("a", "b"), done(None)], b"ab", b"ab"),
    ("main", [*pieces({"n": 1}, [2]), done(None)], b'{"n":1}\n[2]\n', b'{"n":1}\n[2]\n'),
    ("main", [*pieces(1, "a", 2), done([3])], b"1\na2\n[\n  3\n]", b"1\na\n2\n[\n  3\n]\n"),
    ("main", [*pieces({"at": file(b"x")}), done(None)], LINK, LINK),
    ("stream", [done(None)], b"null", b"null\n"),
]


@pytest.mark.parametrize(("function", "events", "written", "shown"), RESULTS)
def test_results(
    recorder: Recorder,
    tmp_path: Path,
    function: str,
    events: list[tuple[str, dict[str, Any]]],
    written: bytes,
    shown: bytes,
) -> None:
    recorder.events = [("running", {}), *events]
    path = tmp_path / "out"
    ended = CliRunner().invoke(cli.commands, ["call", "a", function, "-o", str(path)])
    assert (ended.exit_code, path.read_bytes()) == (0, written), ended.output
    assert f"{len(written)} bytes in {path}" in ended.stderr
    piped = CliRunner().invoke(cli.commands, ["call", "a", function, "-o", "-"])
    assert piped.stdout_bytes == written
    assert CliRunner().invoke(cli.commands, ["call", "a", function]).stdout_bytes == shown
    assert names(tmp_path) == ["out"]


def test_half_a_character(recorder: Recorder) -> None:
    recorder.events = [done("\ud800")]
    assert CliRunner().invoke(cli.commands, ["call", "a", "-o", "-"]).stdout_bytes == b"?"


FAILED = ("error", {"message": "m", "status": 500, "code": "function_failed", "src": "a"})


@pytest.mark.parametrize("end", [FAILED, ("ctrl-c", {})])
def test_a_file_is_there_when_it_is_complete(
    recorder: Recorder, tmp_path: Path, end: tuple[str, dict[str, Any]]
) -> None:
    path = tmp_path / "out"
    words = ["call", "a", "-o", str(path)]
    recorder.events = [*pieces("new"), end]
    failed = CliRunner().invoke(cli.commands, words)
    assert (failed.exit_code != 0, names(tmp_path), recorder.closed) == (True, [], 1)
    path.write_text("old")
    path.chmod(0o640)
    assert CliRunner().invoke(cli.commands, words).exit_code != 0
    assert (path.read_text(), names(tmp_path)) == ("old", ["out"])
    link = tmp_path / "link"
    link.symlink_to(path)
    recorder.events[-1] = done(None)
    assert CliRunner().invoke(cli.commands, ["call", "a", "-o", str(link)]).exit_code == 0
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)
    assert link.is_symlink()


def test_pieces_are_written_as_they_come(recorder: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "out"
    seen: list[tuple[str, bytes]] = []

    class Looking(list[Any]):
        def __iter__(self) -> Any:
            for event in super().__iter__():
                seen.extend((part.name, part.read_bytes()) for part in tmp_path.iterdir())
                yield event

    recorder.events = Looking([*pieces("a", "b"), done(None)])
    CliRunner().invoke(cli.commands, ["call", "a", "-o", str(path)])
    (part,) = {name for name, _content in seen}
    assert ([content for _name, content in seen], part == "out") == ([b"a", b"ab"], False)


def test_a_pipe_is_written_to_directly(recorder: Recorder, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    recorder.events = [*pieces("a", "b"), done(None)]
    assert CliRunner().invoke(cli.commands, ["call", "a", "-o", str(pipe)]).exit_code == 0
    assert (os.read(reading, 9), pipe.is_fifo()) == (b"ab", True)
    os.close(reading)


@pytest.mark.parametrize(
    ("streams", "url", "known", "form"),
    [
        (False, "http://here", True, "url"),
        (True, "http://here", True, "base64"),
        (False, None, True, "base64"),
        (False, "http://here", False, "base64"),
    ],
)
def test_form_of_files(
    recorder: Recorder, streams: bool, url: str | None, known: bool, form: str
) -> None:
    recorder.streams, recorder.url = streams, url
    recorder.takes = {} if known else None
    assert CliRunner().invoke(cli.commands, ["call", "a", "paint"]).exit_code == 0
    assert recorder.forms == [form]


def test_an_app_of_which_nothing_is_known_is_started_to_tell(recorder: Recorder) -> None:
    recorder.takes, recorder.told = None, {"properties": {"size": {"type": "integer"}}}
    assert CliRunner().invoke(cli.commands, ["call", "a", "paint", "size=3"]).exit_code == 0
    assert (recorder.started, recorder.calls) == (["a"], [("a", "paint", {"size": 3})])
    refused = CliRunner().invoke(cli.commands, ["call", "a", "paint", "colour=red"])
    assert refused.exit_code != 0
    assert recorder.started == ["a"]


def test_of_pieces_that_replace_each_other_the_result_is_shown(recorder: Recorder) -> None:
    pieces = [("output", {"result": text, "replaces": True}) for text in ("H", "He", "Hey")]
    recorder.events = [*pieces, ("done", {"result": "Hey", "detail": {}})]
    assert CliRunner().invoke(cli.commands, ["call", "a", "draw"]).stdout == "Hey\n"


def test_an_error_is_that_of_the_call(recorder: Recorder) -> None:
    recorder.events = [("running", {}), FAILED]
    ended = CliRunner().invoke(cli.commands, ["call", "a"])
    assert isinstance(ended.exception, OneGAIError)
    assert (ended.exception.code, ended.exception.status) == ("function_failed", 500)


def test_why_a_function_is_not_what_its_file_says(recorder: Recorder) -> None:
    problem = {"app": "a", "file": "func/a.py", "line": 3, "reason": "broken"}
    recorder.events = [done("x", problem=problem)]
    assert "func/a.py:3: a: broken" in CliRunner().invoke(cli.commands, ["call", "a"]).stderr
    recorder.events = [done("x", problem="its own")]
    assert CliRunner().invoke(cli.commands, ["call", "a"]).stderr == ""


def test_whole_envelope_and_its_absence(recorder: Recorder) -> None:
    whole = {"status": 0, "servertime": 1.0, "result": "x", "detail": {"size": 1}}
    recorder.given = Answer(json.dumps(whole).encode(), "application/json", whole)
    shown = CliRunner().invoke(cli.commands, ["call", "a", "--json"])
    assert json.loads(shown.stdout) == whole
    recorder.given = Answer(WAV, "audio/wav")
    refused = CliRunner().invoke(cli.commands, ["call", "a", "raw", "--json"])
    assert isinstance(refused.exception, Failure)
    assert refused.exception.status == 2
    both = CliRunner().invoke(cli.commands, ["call", "a", "--json", "-o", "x"])
    assert both.exit_code == 2


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
        ({"properties": {"a": {"type": ["string", "null"]}}}, "a         string"),
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
