"""A child's log: its end, its rotation while a writer goes on, its text for display."""

import asyncio
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from onegai.process import logfile
from onegai.process.escapes import clean
from onegai.process.logfile import LINE, LogFile, Reader


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
    assert (log.end, log.tail(10), log.read(0, 10)) == (0, [], (0, b""))


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
    offset = log.end
    assert log.tail(10, offset) == []
    write(b"new\n")
    assert log.tail(10, offset) == ["new"]
    # The file was truncated since.
    assert log.tail(10, 1 << 30) == ["old", "new"]


def test_tail_of_a_large_file_reads_its_end(log: LogFile, write: Callable[[bytes], object]) -> None:
    write(b"x" * (5 << 20) + "\nあ\n".encode())
    assert log.tail(1) == ["あ"]
    assert sum(map(len, log.tail(1000))) <= 256 << 10


def rotate(log: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(logfile, "ROTATE_AT", 0)
        log.rotate()


def test_rotation_does_not_disturb_the_writer(
    log: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real child goes on writing through its own descriptor while its log is rotated."""
    monkeypatch.setattr(logfile, "ROTATE_AT", 50_000)
    monkeypatch.setattr(logfile, "KEPT", 40_000)
    script = "import sys\nfor n in range(20000): print('line', n, flush=n % 50 == 0)"
    output = log.open_for_child()
    child = subprocess.Popen([sys.executable, "-c", script], stdout=output)
    largest = 0
    while child.poll() is None:
        log.rotate()
        largest = max(largest, log.path.stat().st_size)
    assert child.returncode == 0
    assert 40_000 <= log.old.stat().st_size <= 80_000
    assert stat.S_IMODE(log.old.stat().st_mode) == 0o600
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
    assert not log.old.exists()


def test_what_was_moved_is_still_the_log(
    log: LogFile, write: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(b"of an earlier run\n")
    since = log.end
    write(b"one\ntwo\n")
    rotate(log, monkeypatch)
    assert log.path.read_bytes() == b""
    assert log.end == since + len("one\ntwo\n")
    write(b"three\n")
    assert log.tail(10, since) == ["one", "two", "three"]
    assert log.tail(10) == LogFile(log.path).tail(10) == [
        "of an earlier run", "one", "two", "three",
    ]  # fmt: skip
    rotate(log, monkeypatch)
    # The first of the two is gone.
    assert log.tail(10, since) == ["three"]


@pytest.mark.parametrize("moved", [False, True])
def test_a_file_that_cannot_be_copied_is_truncated_all_the_same(
    log: LogFile, write: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    in_the_way = log.old if moved else log.path.with_name("a.log.part")
    in_the_way.mkdir()
    write(b"line\n")
    with pytest.raises(OSError, match="directory"):
        rotate(log, monkeypatch)
    assert log.path.stat().st_size == 0
    write(b"more\n")
    assert log.tail(10) == ["more"]


async def test_a_flood_takes_up_little_disk_and_no_time_of_the_loop(log: LogFile) -> None:
    """500 MB/s for 0.8 s."""
    megabytes = 400
    script = f"import os, time\nline = b'x' * 99 + b'\\n'\nfor _ in range({megabytes}):"
    script += " os.write(1, line * 10486); time.sleep(0.002)"
    output = log.open_for_child()
    largest, slowest = 0, 0.0
    seen: list[str] = []

    async def follow() -> None:
        async for line in log.follow(0):
            seen.append(line)

    with log.kept_small():
        child = await asyncio.to_thread(
            subprocess.Popen, [sys.executable, "-c", script], stdout=output
        )
        os.close(output)
        following = asyncio.create_task(follow())
        while child.poll() is None:
            begun = time.thread_time()
            await asyncio.sleep(0.001)
            slowest = max(slowest, time.thread_time() - begun)
            used = sum(path.stat().st_blocks for path in (log.path, log.old) if path.exists())
            largest = max(largest, used * 512)
        following.cancel()
    assert log.end > 0.9 * megabytes * (1 << 20)
    assert largest < 200 << 20
    assert slowest < 0.5
    assert any("bytes of this log are left out here" in line for line in seen)


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
    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
        assert await following == "first"
        write(b"second\nno line break at the end")
        until.set()
        assert [line async for line in lines] == ["second", "no line break at the end"]


async def test_follow_goes_on_after_a_rotation(
    log: LogFile, write: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(b"before\n")
    lines = log.follow(1)
    await take(lines, 1)
    write(b"moved before it was read\n")
    rotate(log, monkeypatch)
    write(b"after\n")
    assert await take(lines, 2) == ["moved before it was read", "after"]
    for name in (b"a", b"b"):
        write(name * 50 + b"\n")
        rotate(log, monkeypatch)
    assert await take(lines, 2) == ["[51 bytes of this log are left out here]", "b" * 50]
    os.truncate(log.path, 0)  # by somebody else
    write(b"anew\n")
    assert await take(lines, 1) == ["anew"]


async def test_follow_waits_for_a_file_that_is_not_there_yet(log: LogFile) -> None:
    lines = log.follow(5)
    following = asyncio.create_task(take(lines, 1))
    await asyncio.sleep(0)
    descriptor = log.open_for_child()
    os.write(descriptor, b"hello\n")
    os.close(descriptor)
    assert await following == ["hello"]


def read(log: LogFile) -> tuple[list[str], str]:
    reader = Reader(log, 0)
    return list(reader.lines(log.end)), reader.rest


def test_a_line_longer_than_the_limit_comes_in_parts(
    log: LogFile, write: Callable[[bytes], object]
) -> None:
    text = "あいう" * 50_000
    write(f"{text}\n{text}".encode())
    lines, rest = read(log)
    assert max(map(len, lines)) == LINE
    assert "".join([*lines, rest]) == text * 2


def test_carriage_returns_alone_end_lines_in_one_pass(
    log: LogFile, write: Callable[[bytes], object]
) -> None:
    write(b"".join(b"\r%d %%" % number for number in range(400_000)))
    begun = time.process_time()
    lines, rest = read(log)
    # Of each piece the last one, and what has no end yet.
    assert len(lines) < 100
    assert lines[-1].endswith(" %")
    assert rest == "399999 %"
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "sign", ["\r", "\n", "\x1b", "\x1b]", "\x1b[", "\x1b[0 ", "\x1b(", "\x07", "x"]
)
def test_no_text_takes_longer_than_its_length(sign: str) -> None:
    def seconds(text: str) -> float:
        begun = time.process_time()
        clean(text)
        return time.process_time() - begun

    times = 1 << 17
    assert seconds(sign + " " * times) < 0.5
    assert seconds(sign * times) < 0.5


async def test_a_bar_is_followed_while_it_is_rewritten(
    log: LogFile, write: Callable[[bytes], object]
) -> None:
    lines = log.follow(0)
    following = asyncio.create_task(anext(lines))
    await asyncio.sleep(0)
    write(b" 10%\r 20%\r 30%\r")
    async with asyncio.timeout(60):
        assert await following == " 20%"
    write(b"\ndone\r\n")
    assert await take(lines, 2) == [" 30%", "done"]
