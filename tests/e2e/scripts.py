"""A home for install/lib.sh and setup/onegai.sh alone, with made-up recipes and a fake uv."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

COPIED = (
    "setup/uv.sh",
    "setup/onegai.sh",
    "install/lib.sh",
    "install/download.py",
    "install/app_folder.py",
    "onegai/apps/folder.py",
)

# Instead of the real one: notes its arguments, makes a venv of one link, or fails as told.
FAKE_UV = """#!/bin/bash
if [[ $1 == --version ]]; then echo "uv 9.9.9 (fake)"; exit; fi
printf '%s\\n' "$*" >>"$FAKE_UV_CALLS"
if [[ -n ${FAKE_UV_ERROR:-} ]]; then printf '%s\\n' "$FAKE_UV_ERROR"; exit 2; fi
if [[ $1 == venv ]]; then mkdir -p "${!#}/bin" && ln -sf "$FAKE_PYTHON" "${!#}/bin/python"; fi
"""


class Home:
    """A copy of the scripts, with apps/ and made-up recipes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.apps = root / "apps"
        self.app = self.apps / "probe"
        self.marker = self.app / ".onegai-installed"
        self.lock = self.apps / ".probe.lock"
        self.uv_calls = root / "uv-calls"
        for name in COPIED:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
        self.apps.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "home"),
            "LC_ALL": "C.UTF-8",
            "ONEGAI_UV": str(root / "uv"),
            "FAKE_UV_CALLS": str(self.uv_calls),
            "FAKE_PYTHON": sys.executable,
        }
        (root / "home").mkdir()
        (root / "uv").write_text(FAKE_UV)
        (root / "uv").chmod(0o755)
        self.services({})

    def services(self, entry: dict[str, object], name: str = "services.json") -> None:
        (self.root / name).write_text(json.dumps({"_comment": "x", "probe": entry}))

    def recipe(self, body: str, begin: str = "install_begin probe") -> None:
        (self.root / "install/probe.sh").write_text(
            "#!/usr/bin/env bash\nset -euo pipefail\n"
            f'source "$(dirname -- "${{BASH_SOURCE[0]}}")/lib.sh"\n{begin}\n{body}\n'
        )

    def start(self, *command: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", *(command or ("../install/probe.sh",))],
            cwd=cwd or self.apps,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, cwd: Path | None = None) -> tuple[int, str]:
        with self.start(*command, cwd=cwd) as process:
            output, _ = process.communicate(timeout=60)
            return process.returncode, output

    def setup(self, *arguments: str) -> tuple[int, str]:
        return self.run("setup/onegai.sh", *arguments, cwd=self.root)

    def state(self) -> str:
        return self.lock.read_text().strip()

    def lock_is_held(self) -> bool:
        with self.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
