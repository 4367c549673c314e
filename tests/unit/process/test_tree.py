"""Which processes belong to a service."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onegai.process import tree
from onegai.process.tree import Tag

Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts programs that are killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, **options: object) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_tag_tells_apps_homes_and_roles_apart(spawn: Spawn, tmp_path: Path) -> None:
    tags = [
        Tag("a", tmp_path),
        Tag("b", tmp_path),
        Tag("a", tmp_path / "other"),
        Tag("a", tmp_path, role="install"),
    ]
    environments = [{**os.environ, **tag.environment()} for tag in tags]
    pids = [spawn("sleep", "60", env=environment).pid for environment in environments]
    for tag, pid in zip(tags, pids, strict=True):
        until(lambda tag=tag, pid=pid: tree.Family(tag, group=-1).pids() == [pid])


def test_a_group_s_member_needs_no_tag(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("sh", "-c", "sleep 60 & wait", start_new_session=True, env={"PATH": "/bin"})
    until(lambda: len(tree.Family(Tag("a", tmp_path), process.pid).pids()) == 2)
    os.killpg(process.pid, 9)


def test_a_zombie_is_no_member(spawn: Spawn, tmp_path: Path) -> None:
    tag = Tag("a", tmp_path)
    process = spawn("true", start_new_session=True, env={**os.environ, **tag.environment()})
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")
    assert tree.Family(tag, process.pid).pids() == []


def test_a_name_with_brackets_and_spaces(spawn: Spawn, tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    process = spawn(str(program), "60", start_new_session=True, env={})
    until(lambda: tree.Family(Tag("a", tmp_path), process.pid).pids() == [process.pid])


def test_memory_of_what_is_there_and_of_what_is_gone(spawn: Spawn) -> None:
    process = spawn("true")
    process.wait()
    assert tree.rss_mib([process.pid]) == 0
    assert tree.rss_mib([os.getpid()]) > 0


def test_one_that_left_everything_stays_a_member_once_seen(spawn: Spawn, tmp_path: Path) -> None:
    tag = Tag("a", tmp_path)
    program = "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
    program += "    os.execve('/bin/sleep', ['sleep', '60'], {})\ntime.sleep(60)\n"
    process = spawn(
        sys.executable,
        "-c",
        program,
        start_new_session=True,
        env={**os.environ, **tag.environment()},
    )
    family = tree.Family(tag, process.pid)
    until(lambda: len(family.pids()) == 2)
    (runaway,) = set(family.pids()) - {process.pid}
    until(lambda: Path(f"/proc/{runaway}/comm").read_text() == "sleep\n")
    process.kill()
    process.wait()
    until(lambda: family.pids() == [runaway])
    assert tree.Family(tag, process.pid).pids() == []
    os.kill(runaway, signal.SIGKILL)
    until(lambda: family.pids() == [])


def test_a_subreaper_adopts_and_reaps(tmp_path: Path) -> None:
    """In a process of its own: it stays a subreaper for life."""
    code = """
import os, subprocess, sys, time
from pathlib import Path
from onegai.process import tree

tree.become_subreaper()
tag = tree.Tag("a", Path(sys.argv[1]))
script = "setsid env -i sleep 2 & sleep 1"
environment = {"PATH": "/usr/bin:/bin", **tag.environment()}
leader = subprocess.Popen(["sh", "-c", script], start_new_session=True, env=environment)
family = tree.Family(tag, leader.pid)
bare = lambda pid: Path(f"/proc/{pid}/environ").read_bytes() == bytes()
own = lambda pid: os.getsid(pid) == pid != leader.pid
while not (orphans := [pid for pid in family.pids() if own(pid) and bare(pid)]):
    time.sleep(0.01)
leader.wait()
stat = Path(f"/proc/{orphans[0]}/stat")
while stat.read_text().split()[2] != "Z":
    time.sleep(0.01)
assert int(stat.read_text().split()[3]) == os.getpid()
family.reap()
assert not stat.exists()
assert family.pids() == []
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=30)


def test_a_subreaper_reaps_what_died_before_anybody_looked(tmp_path: Path) -> None:
    """But nothing that it has made itself."""
    code = """
import os, signal, subprocess, sys, time
from pathlib import Path
from onegai.process import tree

tree.become_subreaper()
tag = tree.Tag("a", Path(sys.argv[1]))
environment = {"PATH": "/usr/bin:/bin", **tag.environment()}
command = ["sh", "-c", "sleep 60 & echo $!; wait"]
leader = subprocess.Popen(
    command, start_new_session=True, env=environment, stdout=subprocess.PIPE, text=True
)
family = tree.Family(tag, leader.pid)
stat = Path(f"/proc/{int(leader.stdout.readline())}/stat")
os.killpg(leader.pid, signal.SIGKILL)
os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
own = [subprocess.Popen(["false"], start_new_session=new) for new in (False, True)]
for process in own:
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
while stat.exists():
    family.reap()
    time.sleep(0.01)
assert leader.wait() == -signal.SIGKILL
assert [process.wait() for process in own] == [1, 1]
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=30)


@pytest.mark.parametrize("free", [0, 1])
def test_no_more_files_can_be_opened(spawn: Spawn, tmp_path: Path, free: int) -> None:
    process = spawn("sleep", "60", start_new_session=True)
    family = tree.Family(Tag("a", tmp_path), process.pid)
    assert family.pids() == [process.pid]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, limits[1]))
    try:
        found = family.pids()
        family.reap()
        process.kill()
        process.wait()
        left = family.pids()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (found, left) == ([process.pid], [])
