"""The home in which the shipped apps are installed: once, until one of their recipes changes."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import ROOT, end_strays

HOMES = ROOT / "data" / "shipped"
RECIPES = (
    *("install", "setup", "requirements/uv.lock", "services.json", "onegai/apps/folder.py"),
    "examples",
)


@contextmanager
def home(temporary: pytest.TempPathFactory) -> Iterator[Path]:
    """A home that has nothing but what earlier runs of the tests have installed in apps/.

    While another run in this checkout has that one, it is a new one.
    """
    HOMES.mkdir(parents=True, exist_ok=True)
    with (HOMES / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield temporary.mktemp("shipped")
            return
        made = HOMES / _digest()
        made.mkdir(exist_ok=True)
        end_strays(made)  # of a run that was killed
        _clear(HOMES, but={made.name, ".lock"})
        _clear(made, but={"apps"})
        yield made


def _digest() -> str:
    """Of all that an install depends on."""
    digest = hashlib.sha256(f"{sys.version} {Path(sys.executable).resolve()}".encode())
    for recipe in RECIPES:
        path = ROOT / recipe
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _clear(folder: Path, but: set[str]) -> None:
    for path in folder.iterdir():
        if path.name in but:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
