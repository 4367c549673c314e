"""run.bat as Windows reads it: what can be told without a Windows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def content(root: Path) -> bytes:
    return (root / "run.bat").read_bytes()


@pytest.fixture
def lines(content: bytes) -> list[str]:
    return content.decode("ascii").splitlines()


def test_every_line_ends_as_cmd_wants_it(content: bytes) -> None:
    assert content.endswith(b"\r\n")
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")


def test_git_gives_out_every_bat_file_so(root: Path) -> None:
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("not a git checkout")
    said = subprocess.run(
        ["git", "check-attr", "eol", "run.bat"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "run.bat: eol: crlf"


def test_every_jump_has_a_place_and_every_place_a_way_to_it(lines: list[str]) -> None:
    jumps = set(re.findall(r"\bgoto (\w+)", "\n".join(lines)))
    assert jumps == {line[1:] for line in lines if line.startswith(":")}


def test_both_ways_start_run_sh_with_all_arguments_and_keep_its_status(lines: list[str]) -> None:
    starts = [index for index, line in enumerate(lines) if "/run.sh" in line]
    assert len(starts) == 2
    for index in starts:
        assert re.fullmatch(r'wsl\.exe .*--exec bash "%FOLDER%/run\.sh" %\*', lines[index])
        assert lines[index + 1] == 'set "STATUS=%ERRORLEVEL%"'
    assert lines[-1] == "endlocal & exit /b %STATUS%"


def test_every_other_end_says_what_to_do(lines: list[str]) -> None:
    """Each label of an error has a sentence, a fix and a status, all of it on stderr."""
    text = "\n".join(lines)
    for label in re.findall(r"^:(no_\w+)$", text, re.MULTILINE):
        section = text.split(f"\n:{label}\n", 1)[1].split("\ngoto ", 1)[0].splitlines()
        assert section[0].startswith("echo error: ")
        assert section[1].startswith("echo   fix: ")
        assert section[-1] == 'set "STATUS=1"'
        assert all(line.endswith(" 1>&2") for line in section[:-1])
