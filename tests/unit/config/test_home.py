"""One writer per home, and who it is."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import IO

import pytest

import onegai
from onegai.config import jsonfile
from onegai.config.home import Home
from onegai.errors import EditLocked, HomeLocked, NotWritten

HOLDER = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from onegai.config import jsonfile
    from onegai.config.home import Home
    home = Home(Path(sys.argv[1]))
    with home.lock():
        jsonfile.write(home.server_file, {"pid": os.getpid(), "url": "http://127.0.0.1:1"})
        print("locked", flush=True)
        sys.stdin.read()
    """
)


def holder(root: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of this home until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)],
        cwd=Path(onegai.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_found_by_environment_or_by_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEGAI_HOME", str(tmp_path / "a" / ".." / "b"))
    assert Home.find().root == tmp_path / "b"
    monkeypatch.delenv("ONEGAI_HOME")
    assert Home.find().root == Path(onegai.__file__).resolve().parents[1]


def test_shown_path_is_below_the_home_where_possible(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.relative(home.func_file("voice")) == "func/voice.py"
    assert home.relative(Path("/etc/hosts")) == "/etc/hosts"


def test_nobody_runs_in_a_new_home(tmp_path: Path) -> None:
    assert Home(tmp_path).running_server() is None
    assert Home(tmp_path / "missing").running_server() is None


def test_second_lock_names_the_holder(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.lock():
        jsonfile.write(home.server_file, {"pid": 123, "url": "http://127.0.0.1:9"})
        with pytest.raises(HomeLocked) as caught, Home(tmp_path).lock():
            pass
        assert "123" in caught.value.message
        assert "http://127.0.0.1:9" in caught.value.message
        assert home.running_server() == {"pid": 123, "url": "http://127.0.0.1:9"}
    assert home.running_server() is None
    assert not home.server_file.exists()
    with home.lock():
        pass


def test_what_a_killed_server_said_is_not_what_the_next_one_says(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.server_file.parent.mkdir()
    home.server_file.write_text('{"pid": 1, "url": "http://127.0.0.1:1"}')
    with home.lock():
        assert home.running_server() == {}


def test_lock_before_the_holder_has_said_where_it_is(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.lock():
        assert home.running_server() == {}
        with pytest.raises(HomeLocked) as caught, home.lock():
            pass
        assert "another program" in caught.value.message


def test_stale_server_file_is_no_server(tmp_path: Path) -> None:
    home = Home(tmp_path)
    jsonfile.write(home.server_file, {"pid": os.getpid(), "url": "http://127.0.0.1:9"})
    assert home.running_server() is None


def test_lock_is_held_across_processes_and_freed_by_kill(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with holder(tmp_path) as process:
        assert (home.running_server() or {})["pid"] == process.pid
        with pytest.raises(HomeLocked, match=str(process.pid)), home.lock():
            pass
        process.kill()
        process.wait()
        assert home.server_file.exists()
        assert home.running_server() is None
        with home.lock():
            pass


def test_looking_for_the_server_does_not_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`onegai status` in the very moment of a start: its look may hold a shared lock."""
    home = Home(tmp_path)
    with home.lock():
        pass
    looking, enough, flock = threading.Event(), threading.Event(), fcntl.flock

    def slow(file: IO[str], operation: int) -> None:
        flock(file, operation)
        if operation & fcntl.LOCK_SH:
            looking.set()
            enough.wait(0.2)

    monkeypatch.setattr("fcntl.flock", slow)
    looker = threading.Thread(target=home.running_server)
    looker.start()
    try:
        looking.wait(1)
        with home.lock():
            pass
    finally:
        enough.set()
        looker.join()


def test_editing_waits_and_then_names_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegai.config.home.EDIT_SECONDS", 0.1)
    home = Home(tmp_path / "new")
    with home.editing(), pytest.raises(EditLocked, match=f"process {os.getpid()} "), home.editing():
        pass
    with home.editing():
        pass


def test_editing_says_why_it_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(NotWritten, match=r"data/edit\.lock could not be written: File exists"):
        Home(tmp_path).editing().__enter__()


KILLED = """
import os, signal, sys
from pathlib import Path
from onegai.config import jsonfile

os.fsync = lambda _file: os.kill(os.getpid(), signal.SIGKILL)
jsonfile.write(Path(sys.argv[1]), {"password": "half written"})
"""


def killed_while_writing(path: Path) -> Path:
    """What a program has left that was killed in the middle of a write of this file."""
    folder = path.resolve().parent
    before = set(folder.iterdir())
    command = [sys.executable, "-c", KILLED, str(path)]
    ended = subprocess.run(command, cwd=Path(onegai.__file__).parents[1], check=False)
    assert ended.returncode == -signal.SIGKILL
    [left] = set(folder.iterdir()) - before
    assert "half written" in left.read_text()
    return left


@pytest.mark.parametrize("name", ["config.json", "services.local.json"])
def test_the_next_edit_removes_what_one_that_was_killed_has_left(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / "home")
    (tmp_path / "dotfiles").mkdir()
    home.root.mkdir()
    linked = tmp_path / "dotfiles" / "mine.json"
    linked.write_text("{}")
    (home.root / name).symlink_to(linked)
    swap = tmp_path / "dotfiles" / ".mine.json.swp"
    swap.touch()
    left = killed_while_writing(home.root / name)
    assert left.parent == linked.parent
    with home.editing():
        assert not left.exists()
    assert swap.exists()
    assert linked.read_text() == "{}"


def test_the_next_start_removes_what_one_that_was_killed_has_left(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.process_notes.mkdir(parents=True)
    paths = (home.config, home.curlrc, home.process_note("a"))
    left = [killed_while_writing(path) for path in paths]
    with home.lock():
        assert not any(path.exists() for path in left)


def test_a_start_waits_for_no_edit(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.editing(), home.lock():
        pass
