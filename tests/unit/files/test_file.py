"""The type of files: what it says of itself, where its bytes are, what JSON it is."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel

from onegai.errors import DiskFull, SdkMisuse
from onegai.files import file as files
from onegai.files.file import File, Workspace, file_fields, find, full_disk, safe_name, sweep

WAV = b"RIFF\x24\0\0\0WAVEfmt "


class Sound(BaseModel):
    audio: File
    more: list[File] = []
    maybe: File | None = None
    text: str = ""


@pytest.mark.parametrize(
    ("file", "name", "media_type"),
    [
        (File(WAV), "file.wav", "audio/wav"),
        (File(WAV, "a.bin", "x/y"), "a.bin", "audio/wav"),
        (File(b"hi", "a.csv"), "a.csv", "text/csv"),
        (File(b"hi", "a.csv", "text/x-mine"), "a.csv", "text/x-mine"),
        (File(b"hi", "a.csv", "application/octet-stream"), "a.csv", "text/csv"),
        (File(b"hi"), "file", "application/octet-stream"),
        (File(b"hi", "../../etc/passwd"), "passwd", "application/octet-stream"),
    ],
)
def test_what_a_file_says(file: File, name: str, media_type: str) -> None:
    assert (file.name, file.media_type, file.size) == (name, media_type, len(file.read()))


def test_a_path_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WAV)
    file = File(path)
    assert (file.name, file.media_type, file.size, file.path) == ("a.wav", "audio/wav", 16, path)
    with file.open() as stream:
        assert stream.read() == WAV


def test_bytes_get_a_path_that_goes_with_the_file() -> None:
    file = File(WAV, "a.wav")
    path = file.path
    assert (path.name, path.read_bytes(), file.path) == ("a.wav", WAV, path)
    del file
    gc.collect()
    assert not path.parent.exists()


def test_bytes_get_a_path_in_the_workspace_of_their_call(tmp_path: Path) -> None:
    with Workspace(tmp_path / "uploads") as workspace:
        assert not (tmp_path / "uploads").exists()
        one, two = File(WAV, "a.wav"), File(b"", "a.wav")
        for file in (one, two):
            file.use(workspace)
            assert file.path.is_relative_to(tmp_path / "uploads")
        assert one.path != two.path
    assert list((tmp_path / "uploads").iterdir()) == []
    workspace.close()
    # Whoever made the file may use it in the next call, too, or without any.
    assert one.read() == one.path.read_bytes() == WAV
    assert not one.path.is_relative_to(tmp_path)
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_a_workspace_is_not_removed_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed_by = []
    remove = shutil.rmtree

    def removing(path: Path, ignore_errors: bool = False) -> None:
        removed_by.append(threading.get_ident())
        remove(path, ignore_errors)

    monkeypatch.setattr(files.shutil, "rmtree", removing)
    with Workspace(tmp_path) as workspace:
        workspace.new("a.wav").write_bytes(WAV)
    assert workspace.closed
    async with asyncio.timeout(10):
        while workspace.folder.exists():
            await asyncio.sleep(0.01)
    assert threading.get_ident() not in removed_by


def test_only_workspaces_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    for name in ("1-alive", "1999999999-gone"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1-alive"]


def test_a_pending_file_is_nothing_to_use_yet() -> None:
    file = Sound(audio="https://example.org/a.wav").audio
    assert file.source == "https://example.org/a.wav"
    for use in (lambda: file.read(), lambda: file.path, lambda: file.size, lambda: file.name):
        with pytest.raises(SdkMisuse, match="before it was fetched"):
            use()
    file.arrive(WAV, "b.wav")
    assert (file.source, file.name, file.read()) == (None, "b.wav", WAV)


def test_as_json_it_is_an_argument_again() -> None:
    given = Sound(audio=File(WAV, "a.wav"), more=[b"hi"])
    again = Sound.model_validate(given.model_dump(mode="json"))
    assert (again.audio.read(), again.audio.name) == (WAV, "a.wav")
    assert again.more[0].read() == b"hi"
    assert given.model_dump()["audio"] is given.audio


def test_files_of_a_schema() -> None:
    assert file_fields(Sound.model_json_schema()) == {"audio", "more", "maybe"}

    class Take(BaseModel):
        sound: Sound
        again: list[Take] = []

    class Show(BaseModel):
        take: Take
        title: str

    assert file_fields(Show.model_json_schema()) == {"take"}
    assert file_fields({}) == frozenset()


def test_files_are_found_with_their_places() -> None:
    file = File(b"")
    sound = Sound(audio=file, more=[file, file], maybe=file)
    value = {"a": [1, sound], "b": (file,), "c": "x"}
    assert [place for place, _ in find(value, File)] == [
        "a.1.audio",
        "a.1.more.0",
        "a.1.more.1",
        "a.1.maybe",
        "b.0",
    ]


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
    assert len(name.encode()) <= files._NAME_LENGTH
    assert name.endswith("ね.wav")
    (tmp_path / name).touch()


def test_a_full_disk_is_said_and_other_errors_are_left(tmp_path: Path) -> None:
    with pytest.raises(DiskFull), full_disk(tmp_path / "x"):
        Path("/dev/full").write_bytes(b"x")
    with pytest.raises(FileNotFoundError), full_disk(tmp_path / "x"):
        (tmp_path / "none" / "x").write_bytes(b"x")
