"""The note of what is ready, for the next OneGAI to go on with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onegai.config import jsonfile
from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.process.child import Child
from onegai.process.environment import inherited_environment
from onegai.process.logfile import LogFile
from onegai.process.tree import Tag
from onegai.supervisor import left

SPEC = AppSpec(app="a", type="webapi", port=5001, exec="run")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
async def child(home: Home) -> AsyncIterator[Child]:
    tag = Tag("a", home.root)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    environment = {**inherited_environment(), **tag.environment()}
    child = await Child.spawn(command, home.root, environment, LogFile(home.root / "a.log"), tag)
    yield child
    await child.stop(0)


async def test_what_lives_has_a_note(home: Home, child: Child) -> None:
    left.write(home, SPEC, child, None, {})
    assert jsonfile.read(home.process_note("a"))["pid"] == child.pid


async def test_what_has_just_ended_needs_no_note(home: Home, child: Child) -> None:
    child.kill()
    async with asyncio.timeout(60):
        await child.ended.wait()
    left.write(home, SPEC, child, None, {})
    assert not home.process_note("a").exists()


async def test_a_note_that_cannot_be_written_is_an_error(home: Home, child: Child) -> None:
    home.process_notes.parent.mkdir()
    home.process_notes.touch()
    with pytest.raises(OSError, match="processes"):
        left.write(home, SPEC, child, None, {})
