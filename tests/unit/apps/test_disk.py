"""What an app takes of the disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from onegai.apps.disk import disk_usage
from onegai.config.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.apps.mkdir()
    return home


def test_disk_usage_counts_hard_links_once_and_follows_no_link(home: Home) -> None:
    app = home.apps / "a"
    (app / "deep").mkdir(parents=True)
    outside = home.root / "outside"
    outside.mkdir()
    for path in (app / "model", outside / "big"):
        path.write_bytes(os.urandom(3 << 20))
    (app / "deep" / "same").hardlink_to(app / "model")
    (app / "deep" / "link").symlink_to(outside)
    (app / "loop").symlink_to(app)
    assert disk_usage(home, "a") == (3, 0)
    assert disk_usage(home, "none") == (0, 0)
    (outside / "cached").hardlink_to(app / "model")
    assert disk_usage(home, "a") == (3, 3)


def test_disk_usage_of_a_folder_that_changes_meanwhile(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An install removes temporary files all the time."""
    app = home.apps / "a"
    app.mkdir()
    (app / "temporary").touch()
    scandir = os.scandir

    def then_gone(path: str | Path) -> Iterator[os.DirEntry[str]]:
        with scandir(path) as entries:
            found = list(entries)
        for entry in found:
            Path(entry.path).unlink()
        return iter(found)

    monkeypatch.setattr("os.scandir", then_gone)
    assert disk_usage(home, "a") == (0, 0)
