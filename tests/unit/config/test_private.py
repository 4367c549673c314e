"""What is in data/ is for its owner only, whatever it was before."""

import os
import stat
from pathlib import Path

from onegai.config import private
from onegai.config.home import Home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_new_ones_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private.make_folder(tmp_path / "a" / "b")
        path = private.make_file(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b"), mode(path)) == (0o700, 0o700, 0o600)
    path.write_text("kept")
    assert private.make_file(path).read_text() == "kept"
    private.make_folder(tmp_path / "a" / "b")


def test_what_was_open_is_closed_once(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("the user's own")
    outside.chmod(0o644)
    data = tmp_path / "data"
    for name in ("logs/a.log", "files/x/content", "server.lock", "uv/cached", "tools/uv"):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o755 if name == "tools/uv" else 0o644)
    (data / "uploads").mkdir()
    (data / "uploads" / "linked").hardlink_to(outside)
    (data / "uploads" / "symlink").symlink_to(outside)
    for folder in (data, data / "logs", data / "uploads"):
        folder.chmod(0o755)
    home = Home(tmp_path)
    with home.editing():
        pass
    assert mode(data) == mode(data / "logs") == mode(data / "files" / "x") == 0o700
    for name in ("logs/a.log", "files/x/content", "server.lock", "edit.lock"):
        assert mode(data / name) == 0o600, name
    # Apps' folders have links to these, and this is the user's.
    assert mode(data / "uv" / "cached") == 0o644
    assert mode(data / "tools" / "uv") == 0o755
    assert mode(outside) == 0o644
    # Once it is closed, nothing in it can be reached: it need not be looked through again.
    (data / "logs" / "a.log").chmod(0o644)
    with home.lock():
        pass
    assert mode(data / "logs" / "a.log") == 0o644
