"""Real children: what they see, and that nothing of them is left after a stop."""

import asyncio
import errno
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from onegai.errors import ExecNotFound
from onegai.process import sockets
from onegai.process.child import Child
from onegai.process.environment import inherited_environment
from onegai.process.logfile import LogFile
from onegai.process.tree import Family, Tag

Start = Callable[..., Awaitable[Child]]


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "data" / "logs" / "a.log")


@pytest.fixture
def tag(tmp_path: Path) -> Tag:
    return Tag("a", tmp_path)


@pytest.fixture
async def start(tmp_path: Path, fakes: Path, log: LogFile, tag: Tag) -> AsyncIterator[Start]:
    """Starts a fake by its name; whatever lives at the end of the test is killed."""
    children: list[Child] = []

    async def spawn(fake: str, *options: str) -> Child:
        command = [sys.executable, str(fakes / fake), "--port", "0", *options]
        environment = {
            **inherited_environment(),
            **tag.environment(),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        children.append(await Child.spawn(command, tmp_path, environment, log, tag))
        return children[-1]

    yield spawn
    for child in children:
        await child.stop(0)


async def until(true: Callable[[], Any]) -> Any:
    """Its value once it is true."""
    async with asyncio.timeout(60):
        while not (value := true()):
            await asyncio.sleep(0.01)
    return value


async def address(log: LogFile) -> str:
    """Where the fake listens, as its log says."""
    lines = await until(lambda: [line for line in log.tail(20) if "listening on" in line])
    return str(lines[-1]).rpartition(" ")[2]


async def ask(url: str, method: str = "GET") -> Any:
    def send() -> Any:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return json.load(answer)

    return await asyncio.to_thread(send)


def alive(pid: int) -> bool:
    """False for a zombie too: its parent may be slow to take it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


async def test_child_sees_its_tag_and_no_secrets(
    start: Start, log: LogFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEGAI_PASSWORD", "secret-password")
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    await start("ready.py")
    seen = await ask(await address(log) + "/env")
    assert (seen["ONEGAI_APP"], seen["ONEGAI_HOME"]) == ("a", str(tmp_path))
    assert seen["PATH"] == os.environ["PATH"]
    assert "secret" not in json.dumps(seen)


async def test_what_the_system_refuses_to_run(tmp_path: Path, log: LogFile, tag: Tag) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(ExecNotFound, match="No such file"):
        await Child.spawn([str(program)], tmp_path, {}, log, tag)


async def test_a_session_of_its_own_writing_its_own_log(start: Start, log: LogFile) -> None:
    child = await start("ready.py")
    assert child.exit_status is None
    assert child.how_it_ended == "still running"
    ids = await ask(await address(log) + "/pid")
    assert ids == {"pid": child.pid, "pgid": child.pid, "sid": child.pid}
    assert child.pids() == [child.pid]


async def test_stop_by_sigterm_is_quick(start: Start, log: LogFile) -> None:
    child = await start("ready.py")
    await address(log)
    begun = time.monotonic()
    await child.stop(timeout=60)
    assert time.monotonic() - begun < 30
    assert child.ended.is_set()
    assert child.exit_status == -signal.SIGTERM
    assert child.how_it_ended == "killed by SIGTERM"


async def test_stop_kills_what_ignores_sigterm(start: Start, log: LogFile) -> None:
    child = await start("ready.py", "--ignore-term")
    await address(log)
    begun = time.monotonic()
    await child.stop(timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < 30
    assert child.how_it_ended == "killed by SIGKILL"


async def test_stop_twice_and_at_once(start: Start) -> None:
    child = await start("ready.py")
    await asyncio.gather(child.stop(5), child.stop(5))
    await child.stop(5)
    assert child.ended.is_set()


@pytest.mark.parametrize("ignore", ["", "&ignore_term=1"])
@pytest.mark.parametrize("mode", ["child", "session"])
async def test_stop_ends_descendants(start: Start, log: LogFile, mode: str, ignore: str) -> None:
    child = await start("ready.py")
    url = await address(log)
    pid = (await ask(f"{url}/spawn?mode={mode}{ignore}", "POST"))["pid"]
    await until(lambda: set(child.pids()) == {child.pid, pid})
    if ignore:  # the shell has set its trap once it has become sleep
        comm = Path(f"/proc/{pid}/comm")
        await until(lambda: comm.read_text() == "sleep\n")
    await child.stop(timeout=0.3)
    assert not alive(pid)
    assert not alive(child.pid)


async def test_early_end_is_noticed_with_its_lines(start: Start, log: LogFile) -> None:
    child = await start("crash.py", "--code", "3")
    async with asyncio.timeout(60):
        await child.ended.wait()
    assert child.exit_status == 3
    assert child.how_it_ended == "exit status 3"
    assert log.tail(1) == ["RuntimeError: the model is broken"]


async def test_killed_from_outside(start: Start) -> None:
    child = await start("never.py")
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await child.ended.wait()
    assert child.how_it_ended == "killed by SIGKILL"


@pytest.mark.parametrize("mode", ["same", "session"])
async def test_a_launcher_s_service_is_still_the_child(
    start: Start, log: LogFile, mode: str
) -> None:
    child = await start("fork.py", "--mode", mode)
    url = await address(log)
    await until(lambda: child.exit_status == 0)
    assert not child.ended.is_set()
    pid = (await ask(url + "/pid"))["pid"]
    assert child.pids() == [pid]
    # From now on the child is what is left of it.
    # From the process in between, too, if that has not quite ended.
    await until(lambda: child.handed_over and child.pid == pid)
    assert child.how_it_ended == "still running"
    assert sockets.listeners(child.pids())
    await child.stop(5)
    assert child.ended.is_set()
    assert not alive(pid)


async def test_end_of_what_a_launcher_left_is_noticed(start: Start, log: LogFile) -> None:
    child = await start("fork.py", "--mode", "session")
    pid = (await ask(await address(log) + "/pid"))["pid"]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await child.ended.wait()


async def test_the_end_of_the_last_that_a_launcher_left_counts(
    tmp_path: Path, log: LogFile, tag: Tag
) -> None:
    command = ["sh", "-c", "sleep 60 & sleep 61 & sleep 62 & exit 0"]
    environment = {**inherited_environment(), **tag.environment()}
    child = await Child.spawn(command, tmp_path, environment, log, tag)
    moves: list[int | None] = []
    child.moved = lambda: moves.append(child.pid)
    for number in range(1, 4):
        await until(lambda number=number: len(moves) == number)
        assert not child.ended.is_set()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await child.ended.wait()
    assert len(set(moves)) == 3
    await child.stop(5)


@pytest.mark.parametrize("fake", ["crash.py", "fork.py"])
async def test_an_end_is_noticed_where_no_file_can_be_opened_for_it(
    start: Start, log: LogFile, fake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    child = await start(fake)
    if fake == "fork.py":
        os.kill((await ask(await address(log) + "/pid"))["pid"], signal.SIGKILL)
    async with asyncio.timeout(60):
        await child.ended.wait()


async def test_stop_leaves_other_children_alone(start: Start, log: LogFile, tmp_path: Path) -> None:
    child = await start("ready.py")
    other_tag = Tag("b", tmp_path)
    other = await Child.spawn(
        ["/bin/sleep", "60"], tmp_path, other_tag.environment(), log, other_tag
    )
    await child.stop(5)
    assert alive(other.pid)
    await other.stop(5)
    assert not alive(other.pid)


async def test_a_spawn_that_is_cancelled_leaves_no_process(
    tmp_path: Path, log: LogFile, tag: Tag
) -> None:
    environment = {**inherited_environment(), **tag.environment()}
    for _ in range(20):
        spawning = asyncio.create_task(
            Child.spawn(["sleep", "60"], tmp_path, environment, log, tag)
        )
        await asyncio.sleep(0)
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
    assert Family(tag, group=-1).pids() == []
