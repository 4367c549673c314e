"""Install scripts killed with all they started, as by kill -9 or a power cut, at any moment."""

from __future__ import annotations

import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from scripts import Home

PLAIN = """
step 1
mkdir probe
step 2
mkdir probe/venv
cp ../version probe/venv/version
step 3
mkdir -p probe/models
cat ../version >>probe/models/list
cp ../version probe/version
step 4
"""
LIB = """
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
step 0
install_begin probe
step 1
mkdir probe/venv
cp ../version probe/venv/version
step 2
mkdir -p probe/models
cat ../version >>probe/models/list
step 3
cp ../version probe/version
install_end
step 4
"""
STEP = "step() { if [[ -e ../kill-$1 ]]; then rm ../kill-$1; kill -9 $PPID -$$; fi; }\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.services({"data": ["models"]})
    return made


def script(home: Home, kind: str) -> None:
    (home.root / "install/probe.sh").write_text(STEP + (PLAIN if kind == "plain" else LIB))


def run(home: Home, version: str, *, update: bool = False) -> tuple[int, str]:
    (home.root / "version").write_text(version)
    home.env["ONEGAI_UPDATE"] = str(int(update))
    return home.run("../install/lib.sh", "probe")


def is_whole(home: Home, version: str) -> bool:
    """All of one version, nothing else but data, and nothing beside it."""
    files = {path.name: path for path in home.app.iterdir()}
    assert files.keys() == {"venv", "version", "models", ".onegai-installed"}
    assert {path.name for path in home.apps.iterdir()} == {"probe", ".probe.lock"}
    assert home.state() == ""
    return files["version"].read_text() == (files["venv"] / "version").read_text() == version


def forget(home: Home) -> None:
    shutil.rmtree(home.apps)
    home.apps.mkdir()


@pytest.mark.parametrize("kind", ["plain", "lib"])
def test_killed_at_a_line_an_install_is_broken_and_an_update_undone(home: Home, kind: str) -> None:
    script(home, kind)
    for step in range(1, 5):
        (home.root / f"kill-{step}").touch()
        assert run(home, "one")[0] == -9
        assert not home.marker.exists()
        assert home.state() == "installing"
        assert run(home, "two")[0] == 0
        assert is_whole(home, "two")
        (home.root / f"kill-{step}").touch()
        assert run(home, "three", update=True)[0] == -9
        code, output = run(home, "three")
        assert code == 0
        assert "what was there before is back" in output
        assert is_whole(home, "two")
        assert (home.app / "models/list").read_text()
        forget(home)


@pytest.mark.parametrize("kind", ["plain", "lib"])
def test_killed_at_any_moment_an_update_leaves_one_whole_app(home: Home, kind: str) -> None:
    script(home, kind)
    begun = time.monotonic()
    assert run(home, "0")[0] == 0
    took = time.monotonic() - begun
    now = "0"
    for number in map(str, range(1, 4)):
        (home.root / "version").write_text(number)
        home.env["ONEGAI_UPDATE"] = "1"
        with home.start("../install/lib.sh", "probe") as process:
            time.sleep(random.uniform(0, took))
            kill_all(process.pid)
            process.communicate(timeout=60)
        assert run(home, number)[0] == 0
        now = (home.app / "version").read_text()
        assert now in (number, str(int(number) - 1)), number
        assert is_whole(home, now)
        assert (home.app / "models/list").read_text().startswith("0")
        if now != number:
            assert run(home, number, update=True)[0] == 0


def kill_all(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        everybody = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in everybody:
            with suppress(psutil.NoSuchProcess):
                process.kill()
