"""Servers for tests, each on a home of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import forked
import installed
import pytest
from harness import SHIPPED, Server, copy_recipes, free_port, new_server
from lent import Lent


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers that are not started yet; all are stopped at the end."""
    with ExitStack() as stack:
        made = 0

        def make(services: dict[str, Any] | None = None) -> Server:
            nonlocal made
            made += 1
            return stack.enter_context(new_server(tmp_path / f"home{made}", services))

        yield make


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lent]:
    with new_server(tmp_path_factory.mktemp("lent"), kind=Lent) as server:
        yield server


@pytest.fixture
def lend(running: Lent) -> Iterator[Callable[..., Server]]:
    """As ``make_server``, for one server that is neither started nor stopped, nor has settings.

    It runs already, for all such tests of this worker; ``start`` gives it the entries.
    """
    lent = False

    def lend(services: dict[str, Any] | None = None) -> Server:
        nonlocal lent
        assert not lent, "there is one only"
        lent = True
        running.lend(services or {})
        return running

    yield lend
    if lent:
        running.clear()


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the shipped apps installed by their own recipes, on ports of their own.

    Its GPU is a fake one of 12 GB, of which the apps need nothing as they are shipped.
    """
    with ExitStack() as stack:
        home = stack.enter_context(installed.home(tmp_path_factory))
        server = stack.enter_context(new_server(home))
        server.environment = {"ONEGAI_FAKE_GPU": "12"}
        copy_recipes(server.home)
        ports = {app: {"port": free_port()} for app in SHIPPED}
        server.write("services.local.json", ports)
        server.start()
        with server.client() as client:
            for app in ports:
                list(client.follow(client.install(app)))
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test is the first to need the shipped apps waits until 500 MB are downloaded."""
    for item in items:
        if "shipped" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(900))


def pytest_unconfigure() -> None:
    forked.end()


@pytest.fixture
def rehearsal_report(record_property: Callable[[str, object], None]) -> Iterator[list[str]]:
    """Lines that are shown at the end of the run, whether it is green or red."""
    lines: list[str] = []
    yield lines
    record_property("rehearsal", lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for some in terminalreporter.stats.values() for report in some]
    told = [
        line
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, lines in report.user_properties
        if name == "rehearsal"
        for line in lines
    ]
    if told:
        terminalreporter.section("rehearsal")
        for line in told:
            terminalreporter.line(line)
