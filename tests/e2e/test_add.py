"""``onegai add``: packages for func files, in a copy of the setup with a venv of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from harness import ROOT

from onegai.cli import add, doctor
from onegai.cli import main as cli
from onegai.cli.backend import WRONG, Failure


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its only locked package is click."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "setup", root / "setup")
    (root / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "uv.lock", root / "requirements")
    lock = (ROOT / "requirements" / "onegai.lock").read_text()
    [click] = re.findall(r"^click==.*?(?=^\w)", lock, re.MULTILINE | re.DOTALL)
    (root / "requirements" / "onegai.lock").write_text(click)
    own = ROOT / "data" / "tools" / "bin" / "uv"
    if own.is_file():
        monkeypatch.setenv("ONEGAI_UV", str(own))
    monkeypatch.setattr(add, "CHECKOUT", root)
    assert setup(root) != ""
    return root


def setup(root: Path) -> str:
    done = subprocess.run(
        ["bash", root / "setup" / "onegai.sh"], capture_output=True, text=True, check=True
    )
    return done.stdout


def run(*words: str) -> None:
    ended = CliRunner().invoke(cli.commands, ["add", *words])
    if ended.exception is not None:
        raise ended.exception


def installed(root: Path) -> dict[str, str]:
    """The distributions of the venv, with their versions."""
    script = "from importlib.metadata import *; [print(d.name, d.version) for d in distributions()]"
    python = root / "venv" / "bin" / "python"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


def state(root: Path) -> tuple[object, ...]:
    local = root / "requirements" / "local.txt"
    stamp = (root / "venv" / ".onegai-stamp").read_text()
    return installed(root), local.read_text() if local.exists() else None, stamp


def test_packages_come_stay_and_go(checkout: Path) -> None:
    before = installed(checkout)
    local = checkout / "requirements" / "local.txt"
    local.write_text("# for banners\n--find-links .\n")
    run("pyfiglet == 1.0.4")
    assert installed(checkout) == {**before, "pyfiglet": "1.0.4"}
    assert local.read_text() == "# for banners\n--find-links .\npyfiglet == 1.0.4\n"
    assert setup(checkout) == ""

    # What cannot be had, or would change a package of OneGAI's own, changes nothing.
    there = state(checkout)
    for package in ("pyfiglet==99", "click==8.0.0"):
        with pytest.raises(Failure, match="nothing was changed"):
            run(package)
        assert state(checkout) == there
    run("Click")
    assert installed(checkout) == {**before, "pyfiglet": "1.0.4"}
    with pytest.raises(Failure) as unknown:
        run("--remove", "other")
    assert (unknown.value.status, unknown.value.hint) == (WRONG, "it lists: click, pyfiglet")

    shutil.rmtree(checkout / "venv")
    assert setup(checkout) != ""
    assert installed(checkout)["pyfiglet"] == "1.0.4"
    run("--remove", "PyFiglet", "click")
    assert installed(checkout) == before
    assert local.read_text() == "# for banners\n--find-links .\n"
    assert setup(checkout) == ""
    local.unlink()
    run("pyfiglet")
    run("--remove", "pyfiglet")
    assert not local.exists()


def test_a_list_that_cannot_be_had_keeps_no_server_from_starting(checkout: Path) -> None:
    (checkout / "requirements" / "local.txt").write_text("pyfiglet==99\n")
    for _ in range(2):
        assert "OneGAI goes on without these packages" in setup(checkout)
    [warned] = doctor.packages(checkout)
    assert (warned.mark, "pyfiglet==99" in warned.what) == ("warn", True)


@pytest.mark.parametrize(
    "package", ["-r/etc/passwd", "--index-url=x", "a b", "a\nb", "", "git+x://y"]
)
def test_what_is_no_package(package: str) -> None:
    with pytest.raises(Failure, match="no name of a package"):
        run("--", package)
