"""A child's log: its end, its rotation while a writer goes on, its text for display."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from onegai.process import logfile
from onegai.process.logfile import LogFile, clean


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "logs" / "a.log")


@pytest.fixture
def write(log: LogFile) -> Iterator[Callable[[bytes], object]]:
    """Appends as a child does, through a descriptor that stays open."""
    descriptor = log.open_for_child()
    yield lambda data: os.write(descriptor, data)
    os.close(descriptor)


def test_no_file_is_an_empty_log(log: LogFile) -> None:
    assert (log.size, log.tail(10), log.read_from(0)) == (0, [], "")


def test_file_is_private_and_appended_to(log: LogFile) -> None:
    for text in (b"one\n", b"two\n"):
        descriptor = log.open_for_child()
        os.write(descriptor, text)
        os.close(descriptor)
    assert log.path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_tail(log: LogFile, write: Callable[[bytes], object]) -> None:
    write(b"".join(b"line %d\n" % number for number in range(100)))
    assert log.tail(2) == ["line 98", "line 99"]
    assert len(log.tail(1000)) == 100
    assert log.tail(0) == []
    write(b"no end")
    assert log.tail(1) == ["no end"]


def test_tail_after_an_offset(log: LogFile, write: Callable[[bytes], object]) -> None:
    write(b"old\n")
    offset = log.size
    assert log.tail(10, offset) == []
    write(b"new\n")
    assert log.tail(10, offset) == ["new"]
    # The file was truncated since.
    assert log.tail(10, 1 << 30) == ["old", "new"]


def test_tail_of_a_large_file_reads_its_end(log: LogFile, write: Callable[[bytes], object]) -> None:
    write(b"x" * (5 << 20) + "\nあ\n".encode())
    assert log.tail(1) == ["あ"]
    assert len(log.read_from(0)) < 1 << 20


def test_rotation_does_not_disturb_the_writer(
    log: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real child goes on writing through its own descriptor while its log is rotated."""
    monkeypatch.setattr(logfile, "ROTATE_AT", 50_000)
    script = "import sys\nfor n in range(20000): print('line', n, flush=n % 50 == 0)"
    output = log.open_for_child()
    child = subprocess.Popen([sys.executable, "-c", script], stdout=output)
    largest = 0
    while child.poll() is None:
        log.rotate()
        largest = max(largest, log.size)
    assert child.returncode == 0
    old = log.path.with_name("a.log.1")
    assert old.stat().st_size > 50_000
    # A rotation may have come after the child's last line.
    os.write(output, b"last\n")
    os.close(output)
    assert log.tail(1) == ["last"]
    # Appending: no hole of zeros where the file was cut.
    assert b"\0" not in log.path.read_bytes()
    assert largest < 20000 * 10


def test_small_file_is_not_rotated(log: LogFile, write: Callable[[bytes], object]) -> None:
    write(b"line\n")
    log.rotate()
    assert log.tail(1) == ["line"]
    assert not log.path.with_name("a.log.1").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n", "plain\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;38;5;200mx\x1b[K\x1b[?25l", "x"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bMup", "up"),
        ("\x1b(B\x1b[mreset by tput", "reset by tput"),
        ("\x1b7saved\x1b8", "saved"),
        ("\x1b=\x1b>keypad", "keypad"),
        (" 10%\r 50%\r100%\ndone\n", "100%\ndone\n"),
        (" 10%\r100%\r\nnext", "100%\nnext"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("waiting\r", "waiting"),
        ("bell\x07 null\0 tab\tkept", "bell null tab\tkept"),
        ("日本語 🎤", "日本語 🎤"),
        ("lone \x1b", "lone "),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


async def take(lines: AsyncIterator[str], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await anext(lines) for _ in range(count)]


async def test_follow_gives_the_tail_then_new_lines(
    log: LogFile, write: Callable[[bytes], object]
) -> None:
    write(b"one\ntwo\nthree\n")
    lines = log.follow(2)
    assert await take(lines, 2) == ["two", "three"]
    write("f\x1b[31mour\nfünf\nhal".encode())
    assert await take(lines, 2) == ["four", "fünf"]
    write(b"f\n")
    assert await take(lines, 1) == ["half"]


async def test_follow_puts_cut_characters_together(
    log: LogFile, write: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "_POLL_SECONDS", 0)
    following = asyncio.create_task(take(log.follow(0), 1))
    for byte in ("", *"あ\n".encode()):
        write(bytes([byte]) if byte else b"")
        for _ in range(3):
            await asyncio.sleep(0)
    assert await following == ["あ"]


async def test_follow_ends_with_all_that_was_written(
    log: LogFile, write: Callable[[bytes], object]
) -> None:
    until = asyncio.Event()
    lines = log.follow(0, until)
    following = asyncio.create_task(anext(lines))
    await asyncio.sleep(0)
    write(b"first\n")
    async with asyncio.timeout(10):
        assert await following == "first"
        write(b"second\nno line break at the end")
        until.set()
        assert [line async for line in lines] == ["second", "no line break at the end"]


async def test_follow_goes_on_after_a_rotation(
    log: LogFile, write: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "ROTATE_AT", 100)
    write(b"x" * 200 + b"\n")
    lines = log.follow(1)
    await take(lines, 1)
    log.rotate()
    assert log.size == 0
    write(b"after\n")
    assert await take(lines, 1) == ["after"]


async def test_follow_waits_for_a_file_that_is_not_there_yet(log: LogFile) -> None:
    lines = log.follow(5)
    following = asyncio.create_task(take(lines, 1))
    await asyncio.sleep(0)
    descriptor = log.open_for_child()
    os.write(descriptor, b"hello\n")
    os.close(descriptor)
    assert await following == ["hello"]
