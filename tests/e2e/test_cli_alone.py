"""Commands that need no server: they are this home's engine for as long as they take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import forked
import pytest
from harness import ROOT, Server, copy_install, fake, strays, until, with_handles

Make = Callable[..., Server]

RECIPE = """#!/usr/bin/env bash
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
install_begin a
echo working
if [[ -e ../slow ]]; then sleep 600; fi
[[ ! -e ../broken ]]
touch "$APP_DIR/made"
install_end
"""

TYPED = """
from pydantic import BaseModel


class Number(BaseModel):
    n: int


def main(args: Number) -> int:
    return args.n + 1
"""
OF_A_FILE = """
from pydantic import BaseModel

from onegai.sdk import File


class Sound(BaseModel):
    audio: File


def main(args: Sound) -> str:
    return f"{args.audio.path} {args.audio.size}"
"""


@pytest.fixture
def server(make_server: Make) -> Server:
    """A home without a server."""
    made = make_server({"a": fake("ready")})
    copy_install(made.home)
    made.write("install/a.sh", RECIPE)
    with_handles(made, "a")
    return made


def spawn(server: Server, *words: str) -> subprocess.Popen[str]:
    return forked.Popen(
        [sys.executable, "-m", "onegai", *words],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(server.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(server: Server, *words: str) -> tuple[int, str, str]:
    with spawn(server, *words) as process:
        out, err = process.communicate(timeout=60)
    assert strays(server.home) == []
    return process.returncode, out, err


def test_install_call_uninstall(server: Server) -> None:
    status, _out, err = run(server, "call", "a", "text=hi")
    assert (status, err.splitlines()[0]) == (1, "onegai: a is not installed")
    assert "bash run.sh install a" in err
    status, out, err = run(server, "install", "a")
    assert status == 0, err
    assert "working" in out + err
    assert "a is installed" in out
    status, out, err = run(server, "call", "a", "text=hi")
    assert status == 0, err
    assert '"text": "hi"' in out.replace("\\", "")
    assert run(server, "du")[0] == 0
    status, out, err = run(server, "uninstall", "a")
    assert status == 0, err
    assert not (server.home / "apps/a").exists()


def test_failed_install(server: Server) -> None:
    server.write("broken", "")
    status, _out, err = run(server, "install", "a")
    assert status == 1
    assert "the install of a failed: exit status 1" in err
    assert "Traceback" not in err


def test_unknown_function_and_wrong_argument_say_what_is_right(server: Server) -> None:
    run(server, "install", "a")
    server.write("func/a.py", TYPED)
    status, _out, err = run(server, "call", "a", "txt=hi", "n:=1")
    assert (status, err.splitlines()[0]) == (2, "onegai: a/main has no argument 'txt'")
    assert "it takes n" in err
    status, _out, err = run(server, "call", "a", "n=many")
    assert (status, err.partition(":")[0]) == (2, "onegai")
    assert "n: Input should be a valid integer" in err
    assert "a/main takes n" in err
    assert run(server, "call", "a", "n:=1")[:2] == (0, "2\n")
    status, _out, err = run(server, "call", "a", "nothing")
    assert status == 2
    assert "it has: main, raw" in err
    status, _out, err = run(server, "call", "nobody")
    assert status == 2
    assert "the apps are: a" in err


def test_call_with_a_file(server: Server, tmp_path: Path) -> None:
    run(server, "install", "a")
    server.write("func/a.py", OF_A_FILE)
    path = tmp_path / "ね こ.wav"
    path.write_bytes(b"sound")
    status, out, err = run(server, "call", "a", f"audio=@{path}")
    assert status == 0, err
    assert out == f"{path} 5\n"
    assert path.read_bytes() == b"sound"


def test_ctrl_c_ends_the_install(server: Server) -> None:
    server.write("slow", "")
    log = server.home / "data/logs/install-a.log"
    with spawn(server, "install", "a") as process:
        until(lambda: log.exists() and "working" in log.read_text())
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on" not in err
    assert strays(server.home) == []
    Path(server.home, "slow").unlink()
    assert run(server, "install", "a")[0] == 0


def test_what_frees_a_full_disk_needs_no_room_on_it(server: Server) -> None:
    """A limit on files' sizes stands for the disk: no byte can be written."""
    assert run(server, "install", "a")[0] == 0
    stale = server.write("data/server.json", {"pid": 1, "url": "http://127.0.0.1:1"})
    for words, said in ((["du"], "APP"), (["uninstall", "a"], "a is uninstalled")):
        ended = subprocess.run(
            ["bash", "-c", 'ulimit -f 0 && exec "$0" -m onegai "$@"', sys.executable, *words],
            cwd=ROOT,
            env={**os.environ, "ONEGAI_HOME": str(server.home)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (ended.returncode, said in ended.stdout) == (0, True), ended.stderr
        assert not stale.exists()
    assert not (server.home / "apps" / "a").exists()


def never_returning(server: Server) -> Path:
    """Have a function that uses its service and then sleeps. Gives the file that it makes then."""
    begun = server.home / "begun"
    server.write(
        "func/a.py",
        "import time\nfrom pathlib import Path\n\nfrom onegai.sdk import service\n\n"
        "me = service('a')\n\n\ndef main(args: dict) -> None:\n    me.get('/')\n"
        f"    Path({str(begun)!r}).touch()\n    time.sleep(600)\n",
    )
    return begun


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_function_that_never_returns_is_left(server: Server, number: signal.Signals) -> None:
    assert run(server, "install", "a")[0] == 0
    begun = never_returning(server)
    with spawn(server, "call", "a") as process:
        until(begun.exists)
        process.send_signal(number)
        _out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (128 + number, False)
    assert strays(server.home) == []


def test_a_further_ctrl_c_waits_for_no_service(server: Server) -> None:
    server.write("services.json", {"a": fake("ready", "--ignore-term", stop_timeout=600)})
    assert run(server, "install", "a")[0] == 0
    begun = never_returning(server)
    with spawn(server, "call", "a") as process:
        until(begun.exists)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        _out, err = process.communicate()
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert strays(server.home) == []


def test_a_failure_after_the_answer_leaves_no_service(server: Server) -> None:
    assert run(server, "install", "a")[0] == 0
    status, _out, err = run(server, "call", "a", "raw", "--json")
    assert (status, "without an envelope" in err) == (2, True)
    assert "leaving it" not in err
    assert strays(server.home) == []


def test_nor_does_a_call_that_takes_too_long_keep_the_command(server: Server) -> None:
    server.write("services.json", {"a": {"type": "inline", "call_timeout": 0.5}})
    (server.home / "install/a.sh").unlink()
    server.write("func/a.py", "import time\n\n\ndef main(args: dict):\n    time.sleep(600)\n")
    status, _out, err = run(server, "call", "a")
    assert (status, "took longer" in err) == (1, True)
