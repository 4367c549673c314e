"""One app's folder: clearing it, and an update that is cut off at any point."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from onegai.apps import folder as appfolder
from onegai.apps.folder import MARKER, AppFolder, Interrupted, Refused, kept_folders

MIB = 1 << 20
BY_PATH = Path(__file__).parents[3] / "install" / "app_folder.py"


@pytest.fixture
def folder(tmp_path: Path) -> AppFolder:
    (tmp_path / "apps").mkdir()
    return AppFolder(tmp_path / "apps", "a")


def write(path: Path, content: str | bytes = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def contents(path: Path) -> dict[str, str]:
    """Every file and link below, by its path."""
    return {
        str(item.relative_to(path)): str(item.readlink()) if item.is_symlink() else item.read_text()
        for item in sorted(path.rglob("*"))
        if item.is_symlink() or item.is_file()
    }


# --- data folders ----------------------------------------------------------------------------


def test_data_folders_in_normal_form() -> None:
    given = ["models/", "./cache//voices", "models/large", "a/../b"]
    assert kept_folders(given) == ["b", "cache/voices", "models"]


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/../..", "/etc", "//etc"])
def test_data_folders_outside_are_refused(bad: str) -> None:
    with pytest.raises(Refused, match="not inside"):
        kept_folders(["models", bad])


# --- clearing --------------------------------------------------------------------------------


def test_freed_is_what_really_comes_back(folder: AppFolder, tmp_path: Path) -> None:
    for name in ("own", "cached", "venv/twice"):
        write(folder.path / name, os.urandom(MIB))
    (folder.path / "venv/again").hardlink_to(folder.path / "venv/twice")
    (tmp_path / "cache").hardlink_to(folder.path / "cached")
    taken = subprocess.run(["du", "-sk", folder.path], capture_output=True, check=True)
    freed, kept = folder.clear()
    assert kept == []
    assert freed == int(taken.stdout.split()[0]) * 1024 - MIB
    assert not folder.path.exists()


def test_links_are_removed_and_not_followed(folder: AppFolder, tmp_path: Path) -> None:
    write(tmp_path / "outside/precious")
    (folder.path / "deep").mkdir(parents=True)
    for place in ("link", "deep/link"):
        (folder.path / place).symlink_to(tmp_path / "outside")
    (folder.path / "dangling").symlink_to("nowhere")
    folder.clear()
    assert not folder.path.exists()
    assert (tmp_path / "outside/precious").exists()


def test_a_linked_app_is_refused(folder: AppFolder, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / MARKER)
    folder.path.symlink_to(tmp_path / "elsewhere")
    for remove in (folder.clear, folder.uninstall):
        with pytest.raises(Refused, match="symbolic link"):
            remove()
    assert contents(tmp_path / "elsewhere") == {MARKER: "x"}


def test_a_link_in_the_way_of_a_data_folder_is_kept(folder: AppFolder, tmp_path: Path) -> None:
    write(tmp_path / "disk/voices/kept")
    write(folder.path / "other")
    (folder.path / "cache").symlink_to(tmp_path / "disk")
    assert folder.clear(["cache/voices"])[1] == ["cache/voices"]
    assert contents(folder.path) == {"cache": str(tmp_path / "disk")}


def test_a_dangling_link_in_the_way_goes(folder: AppFolder) -> None:
    folder.path.mkdir()
    (folder.path / "cache").symlink_to("nowhere")
    assert folder.clear(["cache/voices"])[1] == []
    assert not folder.path.exists()


def test_a_mounted_file_system_is_refused_before_anything_goes(
    folder: AppFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder.path / MARKER)
    write(folder.path / "deep/mount/x")
    monkeypatch.setattr(appfolder, "_mounts_below", lambda _path: iter(["deep/mount"]))
    with pytest.raises(Refused, match="deep/mount is a mounted file system"):
        folder.uninstall(["models"])
    assert set(contents(folder.path)) == {MARKER, "deep/mount/x"}
    assert folder.uninstall(["deep"])[1] == ["deep"]
    assert set(contents(folder.path)) == {"deep/mount/x"}


def test_mounts_are_those_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "proc" in list(appfolder._mounts_below(Path("/")))
    line = r"36 35 98:0 / /apps/a\040b/models rw - ext4 /dev/sda rw"
    monkeypatch.setattr(Path, "read_text", lambda *_args: line)
    assert list(appfolder._mounts_below(Path("/apps/a b"))) == ["models"]
    assert list(appfolder._mounts_below(Path("/apps/a"))) == []


def test_read_only_folders_go_too(folder: AppFolder) -> None:
    write(folder.path / "cache/x")
    (folder.path / "cache").chmod(0o500)
    folder.clear()
    assert not folder.path.exists()


def test_stopped_at_any_file_it_is_broken_and_can_be_done_again(folder: AppFolder) -> None:
    names = [f"venv/{number}" for number in range(5)]
    for after in range(len(names) + 1):
        for name in (*names, MARKER, "models/kept"):
            write(folder.path / name)
        asked = iter([False] * (after + 1))
        with folder.locked(), pytest.raises(Interrupted):
            folder.uninstall(["models"], lambda asked=asked: next(asked, True))
        assert folder.lock.read_text() == "broken    \n"
        assert not folder.complete
    with folder.locked():
        assert folder.uninstall(["models"])[1] == ["models"]
    assert folder.lock.read_text() == ""
    assert contents(folder.path) == {"models/kept": "x"}


def test_a_full_disk_keeps_nobody_from_making_room(
    folder: AppFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder.path / MARKER)
    write(folder.path / "model")

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with folder.locked():
        folder.uninstall()
    assert not folder.path.exists()
    assert folder.lock.read_text() == ""


def test_stopped_before_it_began_it_has_done_nothing(folder: AppFolder) -> None:
    write(folder.path / MARKER)
    with folder.locked(), pytest.raises(Interrupted):
        folder.uninstall(stop=lambda: True)
    assert (folder.complete, folder.lock.read_text()) == (True, "")


# --- updates ---------------------------------------------------------------------------------

KEEP = ["cache/voices", "linked", "models", "none"]


def install(folder: AppFolder, version: str) -> None:
    """What a recipe does: it finds its data folders, and adds to them."""
    write(folder.path / "venv/bin/python", version)
    write(folder.path / f"only-{version}")
    write(folder.path / f"models/{version}")
    write(folder.path / f"cache/voices/{version}")
    write(folder.path / "cache/rubbish", version)


def installed(folder: AppFolder, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "disk").mkdir(exist_ok=True)
    install(folder, "one")
    (folder.path / "linked").symlink_to(tmp_path / "disk")
    write(folder.path / MARKER, "one")
    return contents(folder.path)


def update(folder: AppFolder, plain: bool = False) -> None:
    """As install/lib.sh goes about it; a ``plain`` script does not ask for its data first."""
    folder.recover()
    folder.aside(KEEP)
    folder.say("updating")
    if not plain:
        folder.bring()
    install(folder, "two")
    folder.bring()
    write(folder.path / f"{MARKER}.new", "two")
    (folder.path / f"{MARKER}.new").rename(folder.path / MARKER)
    folder.recover()


class Killed(BaseException):
    """Nothing runs after it, as after SIGKILL."""


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Callable[[], bool]]:
    """Ends the program at the n-th system call that changes the disk from now on."""
    left = [10**9]
    changing = ("rename", "mkdir", "unlink", "rmdir", "truncate", "write", "open")
    real = {name: getattr(os, name) for name in changing}

    def wrap(name: str) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            if name != "open" or (isinstance(args[1], int) and args[1] & os.O_CREAT):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
            return real[name](*args, **options)

        return call

    for name in changing:
        monkeypatch.setattr(os, name, wrap(name))

    def arm(count: int) -> Callable[[], bool]:
        left[0] = count

        def disarm() -> bool:
            fired = left[0] < 0
            left[0] = 10**9
            return fired

        return disarm

    return arm


def test_an_update(folder: AppFolder, tmp_path: Path) -> None:
    installed(folder, tmp_path)
    update(folder)
    now = contents(folder.path)
    assert now == {
        "venv/bin/python": "two",
        "only-two": "x",
        "models/one": "x",
        "models/two": "x",
        "cache/voices/one": "x",
        "cache/voices/two": "x",
        "cache/rubbish": "two",
        "linked": str(tmp_path / "disk"),
        MARKER: "two",
    }
    assert {path.name for path in folder.path.parent.iterdir()} == {"a", ".a.lock"}


@pytest.mark.parametrize("plain", [False, True])
def test_an_update_killed_anywhere_leaves_one_whole_app(
    folder: AppFolder, tmp_path: Path, kill_after: Callable[[int], Callable[[], bool]], plain: bool
) -> None:
    """Also when the recovery is killed, anywhere, and the one after that."""
    points = 0
    seen = set()
    while True:
        before = installed(folder, tmp_path)
        disarm = kill_after(points)
        with suppress(Killed):
            update(folder, plain)
        if not disarm():
            break
        for again in range(points % 7, 40, 3):
            disarm = kill_after(again)
            with suppress(Killed):
                folder.recover()
            if not disarm():
                break
        folder.recover()
        now = contents(folder.path)
        seen.add(now[MARKER])
        data = {name for name in now if name.startswith(("models/", "cache/voices/"))}
        assert data >= {"models/one", "cache/voices/one"}, points
        assert now["linked"] == str(tmp_path / "disk")
        if now[MARKER] == "one":  # whole, and more data at most
            assert {**now, **before} == now, points
            assert set(now) - set(before) <= {"models/two", "cache/voices/two"}, points
        else:
            assert "only-one" not in now, points
            assert now["venv/bin/python"] == "two"
        left = {path.name for path in folder.path.parent.iterdir()} - {".a.lock"}
        assert left == {"a"}, points
        assert folder.complete
        folder.clear()
        points += 1
    assert points > 20
    assert seen == {"one", "two"}


def test_what_was_made_by_hand_is_kept_wherever_its_replacement_is_killed(
    folder: AppFolder, tmp_path: Path, kill_after: Callable[[int], Callable[[], bool]]
) -> None:
    kept = folder.path.with_name("a.by-hand")
    seen = set()
    for points in range(1000):
        before = installed(folder, tmp_path)
        folder.marker.unlink()
        disarm = kill_after(points)
        with suppress(Killed):
            update(folder, plain=bool(points % 2))
        if not disarm():
            break
        disarm = kill_after(points % 5)
        with suppress(Killed):
            folder.recover()
        disarm()
        folder.recover()
        seen.add(folder.complete)
        now = contents(kept if folder.complete else folder.path)
        data = ("models", "cache/voices", "linked")
        own = {name for name in before if not name.startswith(data)} - {MARKER}
        assert {name: now[name] for name in own} == {name: before[name] for name in own}, points
        assert {"models/one", "cache/voices/one", "linked"} <= set(contents(folder.path)), points
        assert kept.exists() is folder.complete
        for left in (folder, AppFolder(kept.parent, kept.name)):
            left.clear()
    assert points > 20
    assert seen == {True, False}


def test_of_a_data_folder_that_both_have_the_old_files_win(
    folder: AppFolder, tmp_path: Path
) -> None:
    for name in ("mine", "both", "deep/mine", "deep/both", "file-now-folder"):
        write(folder.path / "models" / name, "old")
    (folder.path / "models/link").symlink_to(tmp_path)
    folder.aside(["models"])
    for name in ("new", "both", "deep/new", "deep/both", "file-now-folder/x", "link/x"):
        write(folder.path / "models" / name, "new")
    for _ in range(2):  # the second has nothing to do
        folder.bring()
        assert contents(folder.path / "models") == {
            "mine": "old",
            "both": "old",
            "new": "new",
            "deep/mine": "old",
            "deep/both": "old",
            "deep/new": "new",
            "file-now-folder": "old",
            "link": str(tmp_path),
        }
    assert not (tmp_path / "x").exists()


def test_data_goes_through_no_link_of_the_new_app(folder: AppFolder, tmp_path: Path) -> None:
    for place in ("outside/voices", "outside/old", "disk"):
        write(tmp_path / place / "theirs")
    write(folder.path / "cache/voices/mine")
    write(folder.path / "deep/x/y/mine")
    (folder.path / "linked").symlink_to(tmp_path / "disk")
    before = contents(tmp_path / "outside")
    folder.aside(["cache/voices", "deep/x/y", "linked/below", "none/x"])
    folder.path.mkdir()
    (folder.path / "cache").symlink_to(tmp_path / "outside")
    write(folder.path / "deep/x", "a file of the new one")
    write(folder.path / "linked/below/new")
    folder.bring()
    assert contents(folder.path) == {
        "cache/voices/mine": "x",
        "deep/x/y/mine": "x",
        "linked": str(tmp_path / "disk"),
    }
    assert contents(tmp_path / "outside") == before
    assert contents(tmp_path / "disk") == {"theirs": "x"}


def test_a_data_folder_that_is_no_longer_listed_comes_back_all_the_same(
    folder: AppFolder, tmp_path: Path
) -> None:
    before = installed(folder, tmp_path)
    folder.aside(KEEP)
    folder.bring()
    install(folder, "two")
    assert json.loads((folder.old / appfolder.KEPT).read_text()) == KEEP
    assert folder.recover() == "restored"
    assert contents(folder.path).keys() >= before.keys()
    assert folder.recover() is None


def test_rubbish_of_an_earlier_time_is_in_nobodys_way(folder: AppFolder, tmp_path: Path) -> None:
    for end in ("restored", "updated"):
        before = installed(folder, tmp_path)
        folder.aside(KEEP)
        write(folder.gone / "deep/rubbish")
        if end == "updated":
            write(folder.path / MARKER, "two")
        assert folder.recover() == end
        assert (contents(folder.path) == before) is (end == "restored")
        assert not folder.gone.exists()
        folder.clear()


def test_one_holder_of_the_lock(folder: AppFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appfolder, "LOCK_SECONDS", 0.05)
    other = AppFolder(folder.path.parent, "a")
    with folder.locked(), pytest.raises(BlockingIOError), other.locked():
        pass
    with other.locked():
        pass


# --- by path ---------------------------------------------------------------------------------


def by_hand(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", BY_PATH, str(home), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_uninstall_by_hand(folder: AppFolder, tmp_path: Path) -> None:
    (tmp_path / "services.json").write_text('{"a": {"data": ["models"]}}')
    write(folder.path / MARKER)
    write(folder.path / "model", os.urandom(2 * MIB))
    write(folder.path / "models/kept")
    done = by_hand(tmp_path, "a", "uninstall")
    assert done.stdout == "==> a is uninstalled, 2 MB are free again\nkept: apps/a/models\n"
    assert contents(folder.path) == {"models/kept": "x"}
    assert by_hand(tmp_path, "a", "uninstall", "--purge").returncode == 0
    assert not folder.path.exists()


def test_by_hand_only_an_app_can_be_named(tmp_path: Path) -> None:
    write(tmp_path / "precious/x")
    (tmp_path / "apps").mkdir()
    done = by_hand(tmp_path, "../precious", "uninstall", "--purge")
    assert (done.returncode, done.stderr) == (1, "error: '../precious' is not an app name\n")
    assert (tmp_path / "precious/x").exists()
