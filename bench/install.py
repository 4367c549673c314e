"""A second app that needs the same big wheels: from uv's cache by hard links, against pip."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "hibari.lock"
RECIPE = """#!/usr/bin/env bash
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
install_begin APP
app_venv
app_pip LOCK
app_check 'import onnxruntime'
install_end
"""


class Home:
    """Recipes for two apps with the same packages, and caches of its own, empty at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("install", "setup"):
            shutil.copytree(ROOT / name, root / name)
        (root / "onegai" / "apps").mkdir(parents=True)
        shutil.copy(ROOT / "onegai" / "apps" / "folder.py", root / "onegai" / "apps")
        (root / "apps").mkdir()
        for app in ("one", "two"):
            recipe = RECIPE.replace("APP", app).replace("LOCK", LOCK)
            (root / "install" / f"{app}.sh").write_text(recipe)
        self.environment = {
            **os.environ,
            "UV_CACHE_DIR": str(root / "uv-cache"),
            "PIP_CACHE_DIR": str(root / "pip-cache"),
        }
        uv = ROOT / "data" / "tools" / "bin" / "uv"
        if uv.exists():
            self.environment.setdefault("ONEGAI_UV", str(uv))

    def run(self, *command: str | Path) -> float:
        """Seconds."""
        begun = time.perf_counter()
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.root / "apps",
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return time.perf_counter() - begun

    def install(self, app: str) -> float:
        return self.run("bash", f"../install/{app}.sh")

    def uninstall(self, app: str) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / "install" / "app_folder.py", self.root, app, "uninstall"],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[0]

    def pip(self, *more: str) -> float:
        venv = self.root / "pip-venv"
        shutil.rmtree(venv, ignore_errors=True)
        seconds = self.run(sys.executable, "-m", "venv", venv)
        options = ("install", "--quiet", "--require-hashes", "--only-binary", ":all:", *more)
        lock = self.root / "install" / LOCK
        return seconds + self.run(venv / "bin/python", "-m", "pip", *options, "-r", lock)


def megabytes(folder: Path) -> tuple[float, float]:
    """All of it, and what nothing else holds: files with one link, and folders."""
    links: dict[tuple[int, int], int] = {}
    blocks: dict[tuple[int, int], int] = {}
    everything = own = 0
    for parent, _, names in os.walk(folder):
        facts = os.lstat(parent)
        everything += facts.st_blocks
        own += facts.st_blocks
        for name in names:
            facts = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - quicker, for a hundred thousand files
            key = facts.st_dev, facts.st_ino
            links[key] = links.get(key, facts.st_nlink) - 1
            blocks[key] = facts.st_blocks
    everything += sum(blocks.values())
    own += sum(blocks[key] for key, others in links.items() if others == 0)
    return everything * 512 / 1e6, own * 512 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        home = Home(Path(name))
        (home.root / "services.json").write_text(json.dumps({}))
        print(f"first app, caches empty: {home.install('one'):.1f} s")
        print(f"pip, caches empty: {home.pip():.1f} s")
        times: dict[str, list[float]] = {"second app": [], "pip": [], "pip --no-compile": []}
        for _ in range(rounds):
            times["second app"].append(home.install("two"))
            size = megabytes(home.root / "apps" / "two")
            said = home.uninstall("two")
            times["pip"].append(home.pip())
            times["pip --no-compile"].append(home.pip("--no-compile"))  # uv does not compile either
        pip_size = megabytes(home.root / "pip-venv")
        for what, values in times.items():
            low, middle, high = (f(values) for f in (min, statistics.median, max))
            print(f"{what:20} {middle:6.2f} s (min {low:.2f}, max {high:.2f}, n {rounds})")
        for what in ("pip", "pip --no-compile"):
            pairs = zip(times[what], times["second app"], strict=True)
            ratio = statistics.median(slow / quick for slow, quick in pairs)
            print(f"{what}: {ratio:.1f} x, pair by pair")
        print(f"disk: second app {size[0]:.0f} MB, of it {size[1]:.1f} MB its own; then: {said}")
        print(f"disk: pip --no-compile {pip_size[0]:.0f} MB, of it {pip_size[1]:.0f} MB its own")


if __name__ == "__main__":
    main()
