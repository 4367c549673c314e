"""Where files of a call lie, and how they are named."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from onegai.errors import DiskFull
from onegai.files import workspace
from onegai.files.workspace import Workspace, full_disk, safe_name, sweep

WAV = b"RIFF\x24\0\0\0WAVEfmt "


async def test_a_workspace_is_not_removed_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed_by = []
    remove = shutil.rmtree

    def removing(path: Path, ignore_errors: bool = False) -> None:
        removed_by.append(threading.get_ident())
        remove(path, ignore_errors)

    monkeypatch.setattr(workspace.shutil, "rmtree", removing)
    with Workspace(tmp_path) as made:
        made.new("a.wav").write_bytes(WAV)
    assert made.closed
    async with asyncio.timeout(60):
        while made.folder.exists():
            await asyncio.sleep(0.01)
    assert threading.get_ident() not in removed_by


def test_only_workspaces_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    for name in ("1-alive", "1999999999-gone"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1-alive"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.wav", "a.wav"),
        ("ね こ.wav", "ね こ.wav"),
        ("/etc/passwd", "passwd"),
        ("C:\\x\\y.txt", "y.txt"),
        ("a/", "file"),
        ("..", "file"),
        (".hidden", "hidden"),
        ("", "file"),
        ("a\r\nb\0.txt", "ab.txt"),
        ("\ud800x", "x"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_names_keep_their_suffix(tmp_path: Path) -> None:
    name = safe_name("ね" * 300 + ".wav")
    assert len(name.encode()) <= workspace._NAME_LENGTH
    assert name.endswith("ね.wav")
    (tmp_path / name).touch()


def test_a_full_disk_is_said_and_other_errors_are_left(tmp_path: Path) -> None:
    with pytest.raises(DiskFull), full_disk(tmp_path / "x"):
        Path("/dev/full").write_bytes(b"x")
    with pytest.raises(FileNotFoundError), full_disk(tmp_path / "x"):
        (tmp_path / "none" / "x").write_bytes(b"x")
