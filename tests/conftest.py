"""What every test may use: the repository's folder, the fakes, one anyio backend."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# How long one example takes says how busy the machine is; pytest's own timeout ends what hangs.
hypothesis.settings.register_profile("onegai", deadline=None)
hypothesis.settings.load_profile("onegai")
pytest.register_assert_rewrite("harness")
ROOT = Path(__file__).resolve().parent.parent

TOGETHER = {
    # they use the shipped apps, which are installed once for all of them
    "test_readme.py": "shipped",
    "test_round_trip.py": "shipped",
    "test_shipped_apps.py": "shipped",
    # each home of theirs gives out the same ports
    "test_new.py": "new",
    # they start each app once
    "test_gradio.py": "gradio",
    # they share a browser
    "test_browser.py": "browser",
}
"""Files whose tests run one after another, in one worker."""

# What the caller has ignored (``nohup bash test.sh &``) stays without effect here, and is as ever
# in what tests start: a program inherits that a signal is ignored, but no handler (signal(7)).
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def fakes() -> Path:
    return ROOT / "tests" / "fakes"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has printed may be no Unicode; a worker sends its report as UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


class Scheduling(LoadScopeScheduling):
    """Which worker runs what: each test by itself, but for those of TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0].rpartition("/")[2], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """(Marks of xdist_group are not heeded by pytest-xdist 3.8 under pytest 9.2.)"""
    return Scheduling(config, log)
