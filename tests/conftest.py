"""What every test may use: the repository's folder, the fakes, one anyio backend."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("harness")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def fakes() -> Path:
    return ROOT / "tests" / "fakes"
