"""``bash run.sh demo`` in a folder that is new: as written in the README, from nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import sound
from harness import ROOT, strays

LEFT_OUT = ("venv", "apps", "data", "config.json", "services.local.json", ".git")
"""At the top of the checkout, as in .gitignore."""


def left_out(folder: str, names: list[str]) -> set[str]:
    top = LEFT_OUT if Path(folder) == ROOT else ()
    return {name for name in names if name in top or name.endswith(("__pycache__", "_cache"))}


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "run.sh", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.timeout(600)
def test_demo_twice_and_a_failure_in_between(tmp_path: Path) -> None:
    folder = tmp_path / "a new folder"
    shutil.copytree(ROOT, folder, ignore=left_out)

    first = run(folder, "demo", "--ja")
    assert first.returncode == 0, first.stdout
    assert "installing openjtalk" in first.stdout
    password = json.loads((folder / "config.json").read_text())["password"]
    assert first.stdout.count(password) == 1
    for log in (folder / "data" / "logs").iterdir():
        assert password not in log.read_text()
    answer = first.stdout.split("smollm: ")[1].split("\n")[0]
    for name, rate in (("answer", 24000), ("japanese", 48000)):
        path = folder / "data" / "demo" / f"{name}.wav"
        assert str(path) in first.stdout
        heard = sound.read(path.read_bytes())
        assert heard.rate == rate
        assert heard.level > 0.01
        if name == "answer":
            assert len(answer) / 30 < heard.seconds < len(answer) / 5
    assert first.stdout.count("curl -K data/curlrc") == 4
    assert (folder / "data" / "curlrc").stat().st_mode & 0o777 == 0o600
    assert strays(folder) == []

    second = run(folder, "demo")
    assert second.returncode == 0, second.stdout
    assert "hibari is installed" in second.stdout
    assert "installing" not in second.stdout

    shutil.rmtree(folder / "apps" / "hibari" / "venv")
    broken = run(folder, "demo")
    assert broken.returncode == 1
    assert "hibari cannot be started" in broken.stdout
    assert "Traceback" not in broken.stdout
    assert strays(folder) == []
