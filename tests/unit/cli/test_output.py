"""What people see: errors, tables, progress; and how little is loaded for it."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from onegai.cli import main as cli
from onegai.cli import output, services
from onegai.cli.backend import Failure
from onegai.errors import ConfigError
from onegai.schema import (
    GpuStatus,
    LastStop,
    MemoryStatus,
    Problem,
    ServiceStatus,
    State,
    StatusReport,
    StopReason,
)


def run_main(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def fail(_context: object) -> None:
        raise error

    monkeypatch.setattr(cli.commands, "invoke", fail)
    monkeypatch.setattr(sys, "argv", ["onegai", "ps"])
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGINT, handler)
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
    ready = ServiceStatus(
        app="a",
        state=State.READY,
        since=100.0,
        pid=7,
        port=50000,
        leases=2,
        queued=3,
        rss=300,
        vram=2048,
    )
    crashed = LastStop(reason=StopReason.CRASHED, text="crashed", at=100.0)
    failed = ServiceStatus(
        app="b", state=State.FAILED, since=100.0, reason="it ended", last_stop=crashed
    )
    made_room = LastStop(reason=StopReason.MADE_ROOM, app="a", text="made room for a", at=103.5)
    stopped = ServiceStatus(app="c", state=State.STOPPED, since=104.0, last_stop=made_room)
    gpu = GpuStatus(index=0, name="RTX 3060", total=12288, free=2048, others=1024)
    memory = MemoryStatus(gpus=[gpu], ram_total=32768, ram_free=1024)
    problem = Problem(file="services.json", reason="it is wrong")
    status = StatusReport(services=[ready, failed, stopped], memory=memory, problems=[problem])
    text = services.report(status, now=105.5)
    assert "a    ready    5.5 s  7    50000  2      3     300 MB  2.0 GB" in text
    assert "GPU 0: 2.0 GB of 12.0 GB free, 1.0 GB used by other programs (RTX 3060)" in text
    assert "FAKE" not in text
    assert "b: it ended\nc: made room for a, 2.0 s ago\n" in text
    assert "problems: 1 (bash run.sh doctor)" in text
    ready.unresponsive = 100.0
    assert "a    unresponsive  5.5 s" in services.report(status, now=105.5)
    memory.fake = True
    assert "THE GPU IS A FAKE" in services.report(status, now=105.5)
    memory.gpus = None
    assert "the driver does not answer" in services.report(status, now=105.5)


def test_help_loads_nothing_heavy() -> None:
    heavy = "pydantic fastapi starlette uvicorn uvloop urllib3 aiohttp psutil".split()
    code = f"""
import sys
sys.argv = ["onegai", "--help"]
from onegai.cli import main as cli
from onegai.config import jsonfile
assert cli._run() == 0
loaded = sorted(set({heavy!r}) & set(sys.modules))
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_client_loads_no_web_framework() -> None:
    heavy = "fastapi starlette uvicorn uvloop aiohttp psutil".split()
    code = f"""
import sys
import onegai.client.client, onegai.config.settings
loaded = sorted(set({heavy!r}) & set(sys.modules))
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_package_loads_its_clients_when_they_are_used() -> None:
    code = """
import sys
import onegai
assert [name for name in sys.modules if name.startswith("onegai.")] == []
from onegai import Client
assert "urllib3" in sys.modules and "aiohttp" not in sys.modules
from onegai import AsyncClient, OneGAIError
assert all(hasattr(onegai, name) for name in onegai.__all__)
try:
    onegai.Nothing
except AttributeError as error:
    assert "Nothing" in str(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
