"""The type of files: what it says of itself, where its bytes are, what JSON it is."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from pydantic import BaseModel

from onegai.errors import SdkMisuse
from onegai.files.file import File, file_fields, find
from onegai.files.workspace import Workspace

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
