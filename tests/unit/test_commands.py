"""What commands make of words, answers and errors; no server is needed for it."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from onegai import cli
from onegai.client import Answer, Client, ServerError
from onegai.commands import backend, calls, output, services
from onegai.commands.backend import Failure
from onegai.errors import ConfigError
from onegai.home import Home


def test_arguments() -> None:
    words = ["text=a=b:=c@d", "n:=3", "list:=[1, 2]", "empty=", "none:=null"]
    assert calls.parse(words) == {
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
    assert calls.parse([form.format(path)]) == {"x": value}


def test_stdin_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert calls.parse(["x@-"]) == {"x": "from a pipe"}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hello", "no argument"),
        ("=hello", "no argument"),
        ("", "no argument"),
        ("x:=[1,", "not JSON"),
        ("x:=hello", "not JSON"),
        ("x@/nosuch/file", "cannot read"),
        ("x=@", "cannot read"),
        ("x@a\0b", "cannot read"),
    ],
)
def test_bad_argument(word: str, said: str) -> None:
    with pytest.raises(Failure, match=said) as caught:
        calls.parse([word])
    assert (caught.value.status, bool(caught.value.hint)) == (2, True)


def test_argument_given_twice() -> None:
    with pytest.raises(Failure, match="twice"):
        calls.parse(["x=1", "x:=2"])


class Recorder:
    """A backend that notes the call."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.given = answer or Answer(b"{}", "application/json")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def answer(self, app: str, function: str, arguments: dict[str, Any]) -> Answer:
        self.calls.append((app, function, arguments))
        return self.given


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(calls, "backend", lambda _home, _server: made)
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


WAV = b"RIFF\0\0\0\0WAVE\xff"
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


@pytest.mark.parametrize("server", ["box:58080", "http://me:secret@box", "ftp://box", "http://b/x"])
def test_address_of_another_server(server: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        backend.backend(Home(tmp_path), server)
    assert caught.value.status == 2
    assert "secret" not in caught.value.message


def test_password_of_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEGAI_PASSWORD", raising=False)
    with pytest.raises(Failure, match="password") as caught:
        backend.backend(Home(tmp_path), "http://box:1")
    assert caught.value.status == 2
    monkeypatch.setenv("ONEGAI_PASSWORD", "x")
    with backend.backend(Home(tmp_path), "http://box:1/") as onegai:
        assert isinstance(onegai, Client)


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"start it with bash run\.sh") as caught:
        backend.backend(Home(tmp_path))
    assert caught.value.status == 3


@pytest.mark.parametrize(
    ("http", "code", "status"),
    [
        (401, "unauthorized", 4),
        (422, "bad_arguments", 2),
        (404, "unknown_app", 2),
        (409, "inactive", 2),
        (409, "not_installed", 1),
        (503, "not_enough_memory", 1),
        (503, "shutting_down", 3),
        (502, "exited_early", 1),
        (404, "", 3),
    ],
)
def test_exit_statuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, http: int, code: str, status: int
) -> None:
    monkeypatch.setenv("ONEGAI_PASSWORD", "x")
    detail = {"code": code} if code else {}
    with pytest.raises(Failure) as caught, backend.backend(Home(tmp_path), "http://box:1"):
        raise ServerError(http, "a sentence", detail)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("hint", "command"),
    [
        ('POST /app/install {"app": "a"} again: it starts clean', "bash run.sh install a again"),
        ("its last lines are in detail.log, the whole log at /service/a/logs", "run.sh logs a"),
        ("see GET /job for the jobs", "see bash run.sh jobs for the jobs"),
    ],
)
def test_hints_name_commands(hint: str, command: str) -> None:
    assert command in backend.as_command(hint)
    assert "detail.log" not in backend.as_command(hint)


def run_main(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def fail(_context: object) -> None:
        raise error

    monkeypatch.setattr(cli.commands, "invoke", fail)
    monkeypatch.setattr(sys, "argv", ["onegai", "ps"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Failure("m", "h", status=4, lines=["| l"]), 4, "    | l\nonegai: m\n        h\n"),
        (ConfigError(where="w", reason="r", do="d"), 2, "onegai: w: r\n        d\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "onegai: /x: Permission denied\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (ZeroDivisionError("oh"), 1, "onegai: OneGAI itself failed: ZeroDivisionError: oh\n"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_errors_are_lines(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    monkeypatch.delenv("ONEGAI_TRACEBACK", raising=False)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(1, "w", closefd=False)))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.FileIO(2, "w", closefd=False)))
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    assert run_main(monkeypatch, error) == status
    sys.stderr.flush()
    assert capfd.readouterr().err.startswith(said)


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEGAI_TRACEBACK", "1")
    monkeypatch.setattr(cli.commands, "invoke", lambda _: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["onegai", "ps"])
    with pytest.raises(ZeroDivisionError):
        cli._run()


def test_table_and_texts() -> None:
    assert output.table(("A", "B"), [("ねこ", "x"), ("", "y")]) == "A     B\nねこ  x\n      y"
    assert output.cut("ねこ\x1b[1m\tabc", 6) == "ねこ[1"
    assert [output.size(mib) for mib in (None, 0, 1023, 1536)] == ["–", "0 MB", "1023 MB", "1.5 GB"]
    assert [output.duration(s) for s in (1.25, 61, 3700)] == ["1.2 s", "1:01 min", "1:01:40 h"]


def test_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Progress("doing") as progress:
        progress.say("a line")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "doing …\n    a line\n")


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], io.StringIO]:
    """Makes stderr a terminal; called in the test, since pytest has its own until then."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def make() -> io.StringIO:
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return make


def test_cursor_comes_back(on_terminal: Callable[[], io.StringIO]) -> None:
    terminal = on_terminal()
    with pytest.raises(KeyboardInterrupt), output.Progress("doing"):
        raise KeyboardInterrupt
    assert terminal.getvalue().startswith(output.HIDE_CURSOR)
    assert terminal.getvalue().endswith(output.SHOW_CURSOR)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_plain_terminal(
    on_terminal: Callable[[], io.StringIO], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    terminal = on_terminal()
    assert output.is_live(terminal)
    monkeypatch.setenv(name, value)
    assert not output.is_live(terminal)
    with output.Progress("doing"):
        pass
    assert terminal.getvalue() == "doing …\n"


def test_report() -> None:
    service = {
        "app": "a",
        "state": "ready",
        "since": 100.0,
        "pid": 7,
        "port": 50000,
        "leases": 2,
        "rss": 300,
        "vram": 2048,
        "reason": "",
    }
    failed = {**service, "app": "b", "state": "failed", "pid": None, "reason": "it ended"}
    gpu = {"index": 0, "name": "RTX 3060", "total": 12288, "free": 2048}
    memory = {"gpus": [gpu], "ram_total": 32768, "ram_free": 1024}
    status = {"services": [service, failed], "memory": memory, "problems": [{}]}
    text = services.report(status, now=105.5)
    assert "a    ready   5.5 s  7    50000  2      300 MB  2.0 GB" in text
    assert "GPU 0: 2.0 GB of 12.0 GB free (RTX 3060)" in text
    assert "b: it ended" in text
    assert "problems: 1 (bash run.sh doctor)" in text
    memory["gpus"] = None  # type: ignore[assignment]
    assert "the driver does not answer" in services.report(status, now=105.5)


def test_help_loads_nothing_heavy() -> None:
    heavy = "pydantic fastapi starlette uvicorn uvloop urllib3 aiohttp psutil".split()
    code = f"""
import sys
sys.argv = ["onegai", "--help"]
from onegai import cli
assert cli._run() == 0
loaded = sorted(set({heavy!r}) & set(sys.modules))
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_client_loads_no_web_framework() -> None:
    heavy = "fastapi starlette uvicorn uvloop aiohttp psutil".split()
    code = f"""
import sys
import onegai.client, onegai.settings
loaded = sorted(set({heavy!r}) & set(sys.modules))
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
