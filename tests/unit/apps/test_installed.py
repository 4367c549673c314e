"""What the disk says about an install."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from onegai.apps.folder import MARKER
from onegai.apps.installed import InstallState, Listing, install_state
from onegai.config.entry import AppSpec
from onegai.config.home import Home

SPEC = AppSpec(
    app="a",
    type="webapi",
    port=5001,
    exec="python3 run --port {port}",
    data=("cache/voices/", "models"),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an install script for the app ``a``."""
    home = Home(tmp_path)
    home.apps.mkdir()
    script = home.install_script("a")
    script.parent.mkdir()
    script.touch()
    return home


def state(home: Home, spec: AppSpec = SPEC) -> InstallState:
    """What it is, which is the same by itself and among others."""
    found = install_state(home, spec)
    listing = Listing.of(home)
    assert listing is not None
    assert install_state(home, spec, listing) is found
    return found


def lock_file(home: Home) -> Path:
    return home.apps / ".a.lock"


@contextmanager
def held(home: Home) -> Iterator[None]:
    """As install/lib.sh holds it while it runs."""
    with lock_file(home).open("w") as lock:
        lock.write("installing\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def complete(home: Home) -> None:
    (home.apps / "a").mkdir(exist_ok=True)
    (home.apps / "a" / MARKER).touch()


def half_done(home: Home) -> None:
    (home.apps / "a").mkdir()
    (home.apps / "a/something").touch()


def kept_data(home: Home) -> None:
    (home.apps / "a/cache/voices").mkdir(parents=True)
    (home.apps / "a/cache/voices/x").touch()


def cut_off_update(home: Home) -> None:
    (home.apps / ".a.old").mkdir()


def venv(home: Home) -> None:
    (home.apps / "a/venv").mkdir()


def program(home: Home) -> None:
    (home.apps / "a").mkdir(exist_ok=True)
    (home.apps / "a/run").touch()


def left_by_kill(home: Home) -> None:
    lock_file(home).write_text("installing\n")


def empty_lock(home: Home) -> None:
    lock_file(home).touch()


@pytest.mark.parametrize(
    ("prepare", "free", "locked"),
    [
        ([], InstallState.ABSENT, InstallState.INSTALLING),
        ([empty_lock], InstallState.ABSENT, InstallState.INSTALLING),
        ([left_by_kill], InstallState.BROKEN, InstallState.INSTALLING),
        ([half_done], InstallState.BROKEN, InstallState.INSTALLING),
        ([kept_data], InstallState.ABSENT, InstallState.INSTALLING),
        ([kept_data, left_by_kill], InstallState.BROKEN, InstallState.INSTALLING),
        ([kept_data, cut_off_update], InstallState.BROKEN, InstallState.INSTALLING),
        ([complete, cut_off_update], InstallState.INSTALLED, InstallState.INSTALLED),
        ([half_done, venv], InstallState.INSTALLED, InstallState.INSTALLING),
        ([half_done, venv, left_by_kill], InstallState.BROKEN, InstallState.INSTALLING),
        ([half_done, program], InstallState.INSTALLED, InstallState.INSTALLING),
        ([program, left_by_kill], InstallState.BROKEN, InstallState.INSTALLING),
        ([half_done, left_by_kill], InstallState.BROKEN, InstallState.INSTALLING),
        ([complete], InstallState.INSTALLED, InstallState.INSTALLED),
        ([complete, empty_lock], InstallState.INSTALLED, InstallState.INSTALLED),
    ],
)
def test_states(
    home: Home,
    prepare: list[Callable[[Home], None]],
    free: InstallState,
    locked: InstallState,
) -> None:
    for step in prepare:
        step(home)
    assert state(home) is free
    with held(home):
        assert state(home) is locked


@pytest.mark.parametrize("changes", [{"url": "http://127.0.0.1:1"}, {"app": "b"}])
def test_what_needs_no_install(home: Home, changes: dict[str, Any]) -> None:
    spec = AppSpec.model_validate({**SPEC.model_dump(), **changes})
    assert state(home, spec) is InstallState.INSTALLED


def test_without_folders_nothing_is_to_be_installed(tmp_path: Path) -> None:
    assert state(Home(tmp_path)) is InstallState.INSTALLED


def test_a_folder_of_the_scripts_name_is_none(home: Home) -> None:
    home.install_script("a").unlink()
    home.install_script("a").mkdir()
    assert state(home) is InstallState.INSTALLED


def test_a_script_may_be_a_link(home: Home, tmp_path: Path) -> None:
    home.install_script("a").unlink()
    home.install_script("a").symlink_to(tmp_path / "recipe")
    assert state(home) is InstallState.INSTALLED
    (tmp_path / "recipe").touch()
    assert state(home) is InstallState.ABSENT


def test_folders_that_cannot_be_listed_give_no_listing(home: Home) -> None:
    home.apps.rmdir()
    home.apps.touch()
    assert Listing.of(home) is None


def test_apps_may_become_a_link_to_a_larger_disk(home: Home, tmp_path: Path) -> None:
    assert state(home) is InstallState.ABSENT
    home.apps.rename(tmp_path / "disk")
    home.apps.symlink_to("disk")
    complete(home)
    assert state(home) is InstallState.INSTALLED


def test_looking_does_not_take_the_lock(home: Home) -> None:
    empty_lock(home)
    install_state(home, SPEC)
    with lock_file(home).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
