"""Files that calls gave: for how long, how many, and links to them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from onegai.errors import DiskFull, UnknownFile
from onegai.files import links
from onegai.files import store as filestore
from onegai.files.file import File
from onegai.files.links import Links
from onegai.files.store import FileStore
from onegai.schema import FileForm


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files", Links(), total=100)


def on_disk(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "files").iterdir()}


def test_kept_and_found(store: FileStore) -> None:
    kept = store.keep(File(b"a,b", "a.csv"))
    assert store.find(kept.id, "a.csv") == kept
    assert store.path(kept).read_bytes() == b"a,b"
    for file_id, name in ((kept.id, "b.csv"), ("", "a.csv"), ("none", "a.csv")):
        with pytest.raises(UnknownFile):
            store.find(file_id, name)


def test_old_files_go(store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.keep(File(b"old"))
    monkeypatch.setattr(filestore, "SECONDS", -1)
    with pytest.raises(UnknownFile):
        store.find(kept.id, kept.name)
    store.sweep()
    assert on_disk(tmp_path) == set()


def test_the_oldest_go_when_there_is_too_much(store: FileStore, tmp_path: Path) -> None:
    first, second, third = (store.keep(File(bytes(40))) for _ in range(3))
    assert on_disk(tmp_path) == {second.id, third.id}
    with pytest.raises(UnknownFile):
        store.find(first.id, first.name)
    # The newest stays, even where it alone is too much.
    large = store.keep(File(bytes(400)))
    assert on_disk(tmp_path) == {large.id}


async def test_a_later_server_serves_what_is_left_and_no_part_of_it(
    store: FileStore, tmp_path: Path
) -> None:
    kept, torn = store.keep(File(b"whole")), store.keep(File(b"torn"))
    store.path(torn).write_bytes(b"")
    async with FileStore(tmp_path / "files", Links()) as later:
        assert later.find(kept.id, kept.name) == kept
        assert on_disk(tmp_path) == {kept.id}


async def test_it_sweeps_while_it_runs(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep(File(b"x"))
    monkeypatch.setattr(filestore, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(filestore, "SECONDS", -1)
    async with store:
        deadline = time.monotonic() + 5
        while on_disk(tmp_path):
            assert time.monotonic() < deadline
            await filestore.asyncio.sleep(0.01)


def test_a_full_disk_leaves_nothing(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: File, _path: Path) -> None:
        Path("/dev/full").write_bytes(b"x")

    monkeypatch.setattr(File, "copy_to", full)
    with pytest.raises(DiskFull):
        store.keep(File(b"x"))
    assert on_disk(tmp_path) == set()


@pytest.mark.parametrize("path", ["/file/ab/ねこ 1.wav", "/job/1/result"])
def test_links(path: str) -> None:
    made = Links()
    link = made.signed(path, now=1000)
    query = link.partition("?")[2]
    assert link.isascii()
    assert made.check(path, query, now=1000 + links.SECONDS) is True
    assert made.check(path, query, now=1001 + links.SECONDS) is False
    assert made.check(path + "x", query, now=1000) is False
    assert Links().check(path, query, now=1000) is False
    assert made.check(path, "", now=1000) is None
    assert made.check(path, "expires=99999999999", now=1000) is None
    signature = query.partition("signature=")[2]
    for forged in (
        f"expires=99999999999&signature={signature}",
        f"signature={signature}",
        f"{query}&expires=99999999999",
        f"{query}&signature={signature}",
        "expires=1600&signature=",
        "expires=x&signature=%ff",
    ):
        assert made.check(path, forged, now=1000) is False


def test_entries(store: FileStore) -> None:
    def entries(form: FileForm) -> dict[str, object]:
        return store.entry(File(b"a,b", "ね.csv"), form)

    assert set(entries("url")) == {"name", "media_type", "size", "url"}
    assert entries("base64")["base64"] == "YSxi"
    assert "signature=" in str(entries("signed")["url"])
