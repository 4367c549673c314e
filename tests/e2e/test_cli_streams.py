"""``onegai call``: what a function yields is there as it comes, with a server and without."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from commands import command, environment, on_terminal
from harness import ROOT, Server, strays, until

Make = Callable[..., Server]
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \xff\xfe"
FUNC = f"""
import time
from pathlib import Path

from onegai.sdk import progress

here = Path(__file__).parent


def go():
    while not (here / "go").exists():
        time.sleep(0.01)


def words(args: dict):
    yield "one\\n"
    go()
    yield "tw"
    yield "o"


def values(args: dict):
    yield {{"n": 1}}
    go()
    yield ["ねこ"]
    return "both"


def sound(args: dict):
    yield {WAV!r}
    go()
    yield b"more"


def endless(args: dict):
    try:
        while True:
            yield "x\\n"
            time.sleep(0.01)
    finally:
        (here / "closed").touch()


def steps(args: dict):
    progress(0.5, "half way")
    go()
    return "there"


def fails(args: dict):
    yield "one\\n"
    raise ValueError("on purpose")
"""


@pytest.fixture(params=["served", "alone"])
def server(request: pytest.FixtureRequest, make_server: Make) -> Server:
    made = make_server({"voice": {"type": "inline"}})
    made.write("func/voice.py", FUNC)
    return made.start() if request.param == "served" else made


def spawn(server: Server, *words: str) -> subprocess.Popen[bytes]:
    return forked.Popen(
        command(["call", "voice", *words]),
        cwd=ROOT,
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def closed(server: Server) -> bool:
    return (server.home / "func/closed").exists()


def test_pieces_are_there_before_the_next_are_made(server: Server) -> None:
    for function, first, rest in (
        ("words", b"one\n", b"two\n"),
        ("values", b'{"n":1}\n', '["ねこ"]\nboth\n'.encode()),
        ("sound", WAV, b"more"),
    ):
        with spawn(server, function) as process:
            assert process.stdout is not None
            assert process.stdout.read(len(first)) == first
            server.write("func/go", "")
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, rest, b""), function
        (server.home / "func/go").unlink()


def test_a_file_gets_its_name_when_it_is_complete(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def content() -> bytes:
        return b"".join(path.read_bytes() for path in folder.iterdir())

    with spawn(server, "sound", "-o", str(folder / "a.wav")) as process:
        until(lambda: content() == WAV)
        assert not (folder / "a.wav").exists()
        server.write("func/go", "")
        _out, err = process.communicate(timeout=60)
    assert (process.returncode, content()) == (0, WAV + b"more"), err
    assert f"{len(WAV) + 4} bytes in {folder / 'a.wav'}" in err.decode()


def test_ctrl_c_ends_the_call_and_leaves_no_file(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with spawn(server, "endless", "-o", str(folder / "a.txt")) as process:
        until(lambda: any(path.stat().st_size for path in folder.iterdir()))
        assert not closed(server)
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"stopped\n")
    assert list(folder.iterdir()) == []
    until(lambda: closed(server))


def test_who_reads_no_more_ends_the_call(server: Server) -> None:
    with spawn(server, "endless") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"x\n"
        process.stdout.close()
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(60)) == (b"", 0)
    until(lambda: closed(server))


def test_a_failure_after_pieces(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for words in ([], ["-o", str(path)]):
        with spawn(server, "fails", *words) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, b"" if words else b"one\n")
        assert "onegai: voice/fails failed: ValueError: on purpose" in err.decode()
    assert list(tmp_path.glob("a.txt*")) == []


def test_how_far_it_is_on_a_terminal(server: Server) -> None:
    status, seen = on_terminal(server, "call", "voice", "steps", until_seen="50% half way")
    assert (status, "calling voice/steps" in seen) == (130, True)
    status, seen = on_terminal(server, "call", "voice", "sound")
    assert status == 2
    assert f"{len(WAV)} bytes of audio/wav: not for a terminal" in seen
    server.write("func/go", "")
    status, seen = on_terminal(server, "call", "voice", "words")
    assert (status, seen.endswith("\x1b[?25hone\r\ntwo\r\n")) == (0, True)
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    if server.process is None:
        assert strays(server.home) == []


def test_a_job_tells_the_same(make_server: Make) -> None:
    server = make_server({"voice": {"type": "inline"}})
    server.write("func/voice.py", FUNC)
    server.start()
    for function, first, rest in (
        ("words", ["one"], ["two"]),
        ("values", ['{"n":1}'], ['["ねこ"]']),
        ("steps", ["50% half way"], []),
    ):
        begun = server.post(f"/api/voice/{function}", {}, Prefer="respond-async")
        words = command(["jobs", "--follow", begun.result["id"]])
        process = forked.Popen(
            words, cwd=ROOT, env=environment(server), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in first]
        server.write("func/go", "")
        out, _err = process.communicate(timeout=60)
        assert ("".join(told).splitlines(), out.splitlines()) == (first, rest)
        assert process.returncode == 0
        (server.home / "func/go").unlink()
