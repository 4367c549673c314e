"""Which processes belong to a service."""

import os
import subprocess
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
        until(lambda tag=tag, pid=pid: tree.members(tag, group=-1) == [pid])


def test_a_group_s_member_needs_no_tag(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("sh", "-c", "sleep 60 & wait", start_new_session=True, env={"PATH": "/bin"})
    until(lambda: len(tree.members(Tag("a", tmp_path), process.pid)) == 2)
    os.killpg(process.pid, 9)


def test_a_zombie_is_no_member(spawn: Spawn, tmp_path: Path) -> None:
    tag = Tag("a", tmp_path)
    process = spawn("true", start_new_session=True, env={**os.environ, **tag.environment()})
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")
    assert tree.members(tag, process.pid) == []


def test_a_name_with_brackets_and_spaces(spawn: Spawn, tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    process = spawn(str(program), "60", start_new_session=True, env={})
    until(lambda: tree.members(Tag("a", tmp_path), process.pid) == [process.pid])


def test_memory_of_what_is_there_and_of_what_is_gone(spawn: Spawn) -> None:
    process = spawn("true")
    process.wait()
    assert tree.rss_mib([process.pid]) == 0
    assert tree.rss_mib([os.getpid()]) > 0
