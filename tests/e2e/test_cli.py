"""The command as people run it: a process of its own beside a real server and real children."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forked
import pytest
from commands import command, environment, on_terminal
from harness import (
    PASSWORD,
    ROOT,
    Server,
    copy_recipes,
    fake,
    free_port,
    new_server,
    until,
    with_handles,
)

Make = Callable[..., Server]
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \xff\xfe"

VOICE = f"""
from pydantic import BaseModel, Field


class Speech(BaseModel):
    text: str
    speed: float = Field(default=1, gt=0)


def raw(args: Speech) -> bytes:
    \"\"\"Speak.\"\"\"
    return {WAV!r}


def echo(args: dict) -> dict:
    return args


def plain(args: dict) -> str:
    return "ねこ"
"""
INSTALL = """
echo "==> fetching things"
mkdir -p tool
{end}
"""


LIB_INSTALL = """
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
install_begin tool
touch tool/new
install_end
"""


def run(
    server: Server, *words: str, stdin: bytes = b"", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; nothing of it may be a traceback, a secret or an ANSI code."""
    ended = forked.run(
        command(words),
        cwd=ROOT,
        env=environment(server, **more),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    out, err = ended.stdout.decode("utf-8", "surrogateescape"), ended.stderr.decode()
    for text in (out, err):
        assert "Traceback" not in text
        assert PASSWORD not in text
        assert "\x1b" not in text
    return subprocess.CompletedProcess(words, ended.returncode, out, err)


@contextmanager
def running(server: Server, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = forked.Popen(
        command(words),
        cwd=ROOT,
        env=environment(server, PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def prepare(server: Server) -> Server:
    server.write("func/voice.py", VOICE)
    with_handles(server, "a")
    return server.start()


def services() -> dict[str, Any]:
    return {"a": fake("ready"), "crash": fake("crash"), "voice": {"type": "inline"}}


@pytest.fixture
def server(lend: Make) -> Server:
    return prepare(lend(services()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same for all tests that change nothing in it."""
    with new_server(tmp_path_factory.mktemp("shared"), services()) as server:
        yield prepare(server)


# --- services ----------------------------------------------------------------------------------


def test_start_ps_restart_stop(server: Server) -> None:
    started = run(server, "start", "a")
    assert started.returncode == 0
    assert re.fullmatch(r"a is ready at http://127\.0\.0\.1:\d+ \([\d.]+ s\)\n", started.stdout)
    assert started.stderr == "starting a …\n"
    pid = server.service("a")["pid"]
    assert run(server, "start", "a").returncode == 0
    assert server.service("a")["pid"] == pid
    listed = run(server, "ps")
    assert listed.returncode == 0
    assert re.search(rf"^a +ready +[\d.]+ s +{pid} ", listed.stdout, re.MULTILINE)
    assert re.search(r"^crash +stopped +\d+$", listed.stdout, re.MULTILINE)
    for words in (("restart", "a"), ("start", "a", "--restart")):
        assert run(server, *words).returncode == 0
        assert server.service("a")["pid"] != pid
        pid = server.service("a")["pid"]
    assert run(server, "stop", "a").stdout == "a is stopped\n"
    assert server.service("a")["state"] == "stopped"
    run(server, "start", "a")
    assert run(server, "stop", "--all", "--force").stdout == "a is stopped\n"
    assert run(server, "stop", "--all").stdout == "nothing runs\n"


def test_failed_start_shows_the_last_lines_and_a_command(shared: Server) -> None:
    ended = run(shared, "start", "crash")
    assert ended.returncode == 1
    assert "    | RuntimeError: the model is broken\n" in ended.stderr
    assert "onegai: crash ended before it was ready (exit status 1)\n" in ended.stderr
    assert "bash run.sh logs crash" in ended.stderr
    assert "crash: " in run(shared, "ps").stdout


def test_logs(shared: Server) -> None:
    run(shared, "start", "crash")
    assert run(shared, "logs", "crash").stdout.splitlines()[-1].startswith("RuntimeError")
    assert run(shared, "logs", "crash", "-n", "1").stdout.count("\n") == 1
    assert run(shared, "logs", "crash", "-n", "many").returncode == 2
    assert run(shared, "logs", "nosuch").returncode == 2


def test_logs_without_a_server(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    none = run(server, "logs", "a")
    assert (none.returncode, "has no log yet" in none.stderr) == (1, True)
    server.start()
    run(server, "start", "a")
    server.stop()
    assert "listening on" in run(server, "logs", "a").stdout
    assert run(server, "logs", "a", "-n", "1").stdout.count("\n") == 1
    assert run(server, "logs", "nosuch").returncode == 2
    assert run(server, "logs", "../server").returncode == 2
    with running(server, "logs", "a", "-f") as process:
        assert process.stdout is not None
        assert "listening on" in process.stdout.readline()
        with (server.home / "data" / "logs" / "a.log").open("a") as file:
            file.write("a new line\n")
        until(lambda: process.stdout and process.stdout.readline() == "a new line\n")


def test_ctrl_c_on_followed_logs(server: Server) -> None:
    run(server, "start", "a")
    with running(server, "logs", "a", "-f") as process:
        assert process.stdout is not None
        assert "listening on" in process.stdout.readline()
        log = server.home / "data" / "logs" / "a.log"
        with log.open("a") as file:
            file.write("a new line\n")
        assert process.stdout.readline() == "a new line\n"
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert (process.returncode, rest, err) == (130, "", "stopped\n")


def test_followed_logs_end_with_the_server(make_server: Make) -> None:
    server = prepare(make_server(services()))
    run(server, "start", "a")
    with running(server, "logs", "a", "-f") as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.stop(but=process)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err.startswith("onegai: ")
    assert "Traceback" not in err


def test_ctrl_c_on_a_watched_list(shared: Server) -> None:
    with running(shared, "ps", "--watch") as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(8)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "stopped\n")
    assert sum(line.startswith("APP") for line in seen) >= 1
    assert "\x1b" not in "".join(seen)


def test_reader_that_has_enough(shared: Server) -> None:
    shell = subprocess.run(
        f"set -o pipefail; '{sys.executable}' -m onegai ps --watch | head -n 3",
        shell=True,
        executable="/bin/bash",
        cwd=ROOT,
        env=environment(shared),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (shell.returncode, shell.stderr) == (0, "")
    assert shell.stdout.count("\n") == 3


def test_terminal_live_line_and_cursor(server: Server) -> None:
    status, seen = on_terminal(server, "start", "a")
    assert status == 0
    assert seen.index("\x1b[?25l") < seen.index("\x1b[?25h") < seen.index("a is ready at")
    status, seen = on_terminal(server, "ps", "--watch", until_seen="RAM: ")
    assert status == 130
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    status, seen = on_terminal(server, "start", "a", NO_COLOR="1")
    assert status == 0
    assert "\x1b" not in seen


RUDE = "\x1b]0;owned\x07\x1b[2J\x9b2Jhello\r"
"""Sets the terminal's title and clears the screen, in both ways to write that."""
RUDE_FUNC = f"""
def main(args: dict) -> str:
    if "fail" in args:
        raise ValueError({RUDE!r})
    return {RUDE!r}


def tree(args: dict) -> dict:
    return {{"key": {RUDE!r}}}
"""


def test_what_an_app_says_does_nothing_to_a_terminal(lend: Make) -> None:
    server = lend({"rude": fake("crash"), "fine": fake("flood", "--say", RUDE)})
    server.write("func/rude.py", RUDE_FUNC)
    server.write("func/fine.py", RUDE_FUNC)
    server.write("install/rude.sh", f"printf '%s\\n' '{RUDE}'; sleep 0.3; exit 1\n")
    server.start()
    commands = {
        ("call", "fine"): "hello",
        ("call", "fine", "tree"): "hello",
        ("call", "fine", "fail=1"): "hello",
        ("logs", "fine"): "hello",
        ("install", "rude"): "hello",
    }
    for words, there in commands.items():
        _status, seen = on_terminal(server, *words)
        assert there in seen, words
        # What is ours: the live line, the cursor, colours.
        seen = re.sub(r"\x1b\[(\?25[lh]|2K|H|J|\d*m)", "", seen)
        assert not re.search(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]", seen), words


def test_terminal_ctrl_c_while_an_app_starts(lend: Make) -> None:
    server = lend({"never": fake("never")}).start()
    status, seen = on_terminal(server, "start", "never", until_seen="starting never")
    assert status == 130
    assert seen.rindex("\x1b[?25h") > seen.rindex("starting never")
    assert "Traceback" not in seen


# --- calls -------------------------------------------------------------------------------------


def test_call(shared: Server, tmp_path: Path) -> None:
    got = run(shared, "call", "voice", "echo", "text=ねこ", "n:=[1, 2]", "app=x")
    assert json.loads(got.stdout) == {"text": "ねこ", "n": [1, 2], "app": "x"}
    (tmp_path / "in.wav").write_bytes(WAV)
    (tmp_path / "in.txt").write_text("text\n")
    words = ["echo", f"wav@{tmp_path / 'in.wav'}", f"txt=@{tmp_path / 'in.txt'}", "std@-"]
    got = run(shared, "call", "voice", *words, stdin=b"piped")
    assert json.loads(got.stdout) == {
        "wav": base64.b64encode(WAV).decode(),
        "txt": "text\n",
        "std": "piped",
    }
    assert run(shared, "call", "voice", "plain").stdout == "ねこ\n"
    assert run(shared, "call", "a", "text=x").returncode == 0  # which starts it
    whole = json.loads(run(shared, "call", "voice", "echo", "--json", "x=1").stdout)
    assert (whole["status"], whole["result"]) == (0, {"x": "1"})
    assert set(whole) == {"status", "servertime", "result", "detail"}


def test_bytes_of_a_call(shared: Server, tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    for words in (("text=x",), ("raw", "text=x"), ("main", "text=x")):
        got = run(shared, "call", "voice", *words, "-o", str(path))
        assert (got.returncode, got.stdout) == (0, "")
        assert f"{len(WAV)} bytes in {path}" in got.stderr
        assert path.read_bytes() == WAV
        path.unlink()
    for words in (("raw", "text=x"), ("text=x", "-o", "-")):
        assert run(shared, "call", "voice", *words).stdout.encode("utf-8", "surrogateescape") == WAV


@pytest.mark.parametrize("function", ["raw", "main"])
def test_terminal_refuses_bytes(shared: Server, function: str) -> None:
    status, seen = on_terminal(shared, "call", "voice", function, "text=x")
    assert status == 2
    assert f"{len(WAV)} bytes of audio/wav: not for a terminal" in seen
    assert "-o FILE" in seen
    assert "RIFF" not in seen


def test_wrong_arguments_are_named(shared: Server) -> None:
    one = run(shared, "call", "voice", "speed:=2")
    assert one.returncode == 2
    assert "onegai: text: Field required\n" in one.stderr
    assert "voice/main takes text, speed" in one.stderr
    unknown = run(shared, "call", "voice", "text=x", "sped:=2")
    assert unknown.returncode == 2
    assert "onegai: voice/main has no argument 'sped'\n" in unknown.stderr
    assert "it takes speed, text\n" in unknown.stderr
    kind = run(shared, "call", "voice", "text=x", "speed=fast")
    assert kind.returncode == 2
    assert "onegai: speed: Input should be a valid number" in kind.stderr
    two = run(shared, "call", "voice", "speed:=-1")
    assert two.returncode == 2
    assert "    text: Field required\n    speed: Input should be greater than 0\n" in two.stderr


def test_server_without_docs_can_be_called(make_server: Make) -> None:
    server = make_server(services())
    server.write("config.json", {"password": PASSWORD, "disable_docs": True})
    prepare(server)
    assert server.get("/openapi.json").status == 404
    assert json.loads(run(server, "call", "voice", "echo", "x=1").stdout) == {"x": "1"}
    assert "has no argument 'sped'" in run(server, "call", "voice", "sped=1").stderr


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["call", "nosuch"], "there is no app 'nosuch'", "the apps are: a, crash, voice"),
        (["call", "voice", "sing"], "no function 'sing'", "it has: raw, echo, plain, main"),
        (["call", "No such!"], "there is no app 'No such!'", "the apps are"),
        (["call", "../etc"], "there is no", ""),
        (["call", "voice", "main", "hello"], "'hello' is no argument", "key=text"),
        (["call", "voice", "echo", "x:=NaN"], "not valid JSON", ""),
        (["call", "voice", "-o", "/nosuch/x.wav"], "cannot write to /nosuch/x.wav", "another"),
        (["start", "voice"], "no process to start", ""),
        (["start", "nosuch"], "there is no app 'nosuch'", "the apps are"),
        (["stop"], "name one app, or --all", ""),
        (["stop", "a", "--all"], "name one app, or --all", ""),
        (["jobs", "--cancel", "nosuch"], "there is no job 'nosuch'", "bash run.sh jobs"),
        (["install", "voice"], "no install script", ""),
    ],
)
def test_wrong_input_is_2(shared: Server, words: list[str], said: str, hint: str) -> None:
    ended = run(shared, *words)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert hint in ended.stderr


def test_an_answer_for_which_there_is_no_room(shared: Server) -> None:
    ended = run(shared, "call", "voice", "raw", "text=hi", "-o", "/dev/full")
    said = "onegai: cannot write to /dev/full: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, said)


# --- apps --------------------------------------------------------------------------------------


def test_install_jobs_du(lend: Make) -> None:
    server = lend({"tool": {"type": "inline"}, "bad": {"type": "inline"}})
    done = "head -c 5242880 /dev/urandom >tool/model"
    server.write("install/tool.sh", INSTALL.format(end=done))
    server.write("install/bad.sh", INSTALL.format(end="echo no such package >&2; exit 3"))
    server.start()
    got = run(server, "install", "tool")
    said = "installing tool …\n    ==> fetching things\n    ==> tool is installed\n"
    assert (got.returncode, got.stderr) == (0, said)
    assert got.stdout.startswith("tool is installed (")
    failed = run(server, "install", "bad")
    assert failed.returncode == 1
    assert failed.stderr.count("no such package") == 1
    assert "onegai: the install of bad failed: exit status 3\n" in failed.stderr
    listed = run(server, "jobs").stdout
    assert re.search(r"install +bad +failed", listed)
    assert re.search(r"install +tool +done", listed)
    assert re.search(r"^tool +5 MB +0 MB$", run(server, "du").stdout, re.MULTILINE)


def test_ctrl_c_leaves_an_install_that_can_be_cancelled(lend: Make) -> None:
    server = lend({"tool": {"type": "inline"}})
    server.write("install/tool.sh", INSTALL.format(end="exec sleep 600"))
    server.start()
    with running(server, "install", "tool") as process:
        assert process.stderr is not None
        while "fetching" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    [job] = re.findall(r"bash run\.sh jobs --cancel (\S+)", err)
    assert re.search(r"install +tool +running", run(server, "jobs").stdout)
    with running(server, "jobs", "--follow", job) as process:
        assert process.stdout is not None
        while "fetching" not in process.stdout.readline():
            pass
        assert run(server, "jobs", "--cancel", job).stdout == "install tool: cancelled\n"
        assert process.wait(20) == 1


def test_update_and_uninstall(lend: Make) -> None:
    server = lend({"tool": {"type": "inline", "data": ["models"]}})
    copy_recipes(server.home)
    server.write("services.json", {"tool": {"type": "inline", "data": ["models"]}})
    server.write("install/tool.sh", LIB_INSTALL)
    server.start()
    assert run(server, "update", "tool").returncode == 1
    assert run(server, "install", "tool").returncode == 0
    folder = server.home / "apps" / "tool"
    (folder / "old").touch()
    model = folder / "models" / "voice"
    model.parent.mkdir()
    model.touch()
    updated = run(server, "update", "tool")
    assert updated.returncode == 0, updated.stderr
    assert updated.stdout.startswith("tool is up to date (")
    assert (model.exists(), (folder / "old").exists()) == (True, False)
    gone = run(server, "uninstall", "tool")
    assert gone.stdout.startswith("tool is uninstalled (")
    assert (model.exists(), (folder / "new").exists()) == (True, False)
    assert run(server, "uninstall", "tool", "--purge").returncode == 0
    assert not folder.exists()


# --- servers, passwords, config ----------------------------------------------------------------


def test_no_server(make_server: Make) -> None:
    server = make_server()
    for words in (["ps"], ["start", "a"], ["jobs"], ["stop", "--all"]):
        ended = run(server, *words)
        assert (ended.returncode, ended.stdout) == (3, "")
        hint = "onegai: no server runs for this folder: start it with bash run.sh\n"
        assert ended.stderr == hint


def test_another_server(shared: Server, make_server: Make) -> None:
    here = make_server()
    where = ["ps", "--server", shared.url]
    assert run(here, *where, ONEGAI_PASSWORD=PASSWORD).returncode == 0
    refused = run(here, *where, ONEGAI_PASSWORD="wrong")
    assert refused.returncode == 4
    assert "username and password" in refused.stderr
    assert run(here, *where, ONEGAI_PASSWORD=PASSWORD, ONEGAI_USERNAME="x").returncode == 4
    unknown = run(here, *where)
    assert unknown.returncode == 2
    assert "ONEGAI_PASSWORD" in unknown.stderr
    nobody = ["ps", "--server", f"http://127.0.0.1:{free_port()}"]
    unreachable = run(here, *nobody, ONEGAI_PASSWORD=PASSWORD)
    assert unreachable.returncode == 3
    assert "Connection refused" in unreachable.stderr


def test_wrong_password_for_the_server_of_the_folder(server: Server) -> None:
    assert run(server, "ps", ONEGAI_PASSWORD="another one").returncode == 4
    server.write("config.json", {"username": "onegai", "password": "another one"})
    assert run(server, "ps").returncode == 0  # the server has noticed


def test_server_that_is_no_onegai(make_server: Make, server: Server) -> None:
    run(server, "start", "a")  # which answers "ok" to everything
    url = f"http://127.0.0.1:{server.service('a')['port']}"
    ended = run(make_server(), "ps", "--server", url, ONEGAI_PASSWORD="x")
    assert ended.returncode == 3
    assert "no OneGAI" in ended.stderr
    ended = run(make_server(), "start", "a", "--server", url, ONEGAI_PASSWORD="x")
    assert ended.returncode == 3


def test_config_is_used_by_the_next_start(make_server: Make) -> None:
    server = make_server()
    port = free_port()
    assert run(server, "config", "username", "someone").returncode == 0
    shown = run(server, "config")
    assert "password = ********\n" in shown.stdout
    assert run(server, "config", "password", "-", stdin=b"a new password\n").returncode == 0
    server.start()
    answer = server.get("/app/list", X_Api_Key="a new password", Authorization="")
    assert answer.status == 200
    assert run(server, "config", "port", str(port)).stdout.startswith(f"port = {port} ")
    assert run(server, "config", "port", "many").returncode == 2
    assert run(server, "ps").returncode == 0


def test_doctor_beside_a_server(make_server: Make) -> None:
    server = prepare(make_server(services()))
    run(server, "start", "a")
    port = server.service("a")["port"]
    shown = run(server, "doctor").stdout
    assert f"OneGAI runs at {server.url}" in shown
    assert f"port {port}" not in shown
    server.stop()
    server.write("func/voice.py", "import nosuch\n")
    server.write("api/a.py", "import nosuch\n")
    server.environment = {"ONEGAI_FAKE_GPU": "12"}
    server.start()
    assert run(server, "config", "disable_docs", "1").returncode == 0
    broken = run(server, "doctor")
    assert "warn  the GPU is pretended, says the server" in broken.stdout
    assert "warn  config.json: disable_docs: changed since the start" in broken.stdout
    assert broken.stdout.count("func/voice.py") == 1
    assert broken.returncode == 1
    assert "fail  func/voice.py:1: voice: ModuleNotFoundError" in broken.stdout
    assert "fail  api/a.py:1: " in broken.stdout
    refused = run(server, "doctor", ONEGAI_PASSWORD="another one")
    assert f"fail  OneGAI runs at {server.url}: " in refused.stdout


def test_version_and_unknown_command(shared: Server) -> None:
    assert run(shared, "version").stdout.startswith("onegai 0.")
    assert run(shared, "srve").returncode == 2
    assert run(shared, "ps", "--nosuch").returncode == 2
    assert run(shared, "--help").stdout.startswith("Usage: onegai ")


def test_plan(lend: Make) -> None:
    server = prepare(lend(services()))
    assert run(server, "plan", "a").stdout == "a would start at once\n"
    refused = run(server, "plan", "voice")
    assert (refused.returncode, "no process to start" in refused.stderr) == (2, True)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_started_without_streams(tmp_path: Path, closed: str) -> None:
    command = f"exec '{sys.executable}' -m onegai version {closed}"
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("onegai ") is (">&-" not in closed.replace("2>&-", ""))
