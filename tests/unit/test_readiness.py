"""How long a start may take, and what a taken port says."""

import os
import socket
from pathlib import Path

import pytest

from onegai.catalog import AppSpec
from onegai.errors import PortTaken
from onegai.process.logfile import LogFile
from onegai.supervisor.readiness import Patience, check_port_free


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    log = LogFile(tmp_path / "a.log")
    log.path.write_text("from an earlier start\n")
    return log


def grow(log: LogFile) -> None:
    with log.path.open("a") as file:
        file.write("loading\n")


def test_silence_uses_it_up(log: LogFile) -> None:
    clock = Clock()
    patience = Patience(10, log, clock)
    assert patience.used_up() is None
    clock.now += 10
    assert patience.used_up() is None
    clock.now += 0.1
    assert patience.used_up() == "10 s without a line in its log"


def test_a_line_of_log_renews_it(log: LogFile) -> None:
    clock = Clock()
    patience = Patience(10, log, clock)
    clock.now += 9
    grow(log)
    assert patience.used_up() is None
    clock.now += 9
    assert patience.used_up() is None
    clock.now += 2
    assert patience.used_up() is not None


def test_four_times_is_the_cap_however_much_it_logs(log: LogFile) -> None:
    clock = Clock()
    patience = Patience(10, log, clock)
    for _ in range(8):
        clock.now += 5
        grow(log)
        assert patience.used_up() is None
    clock.now += 0.1
    grow(log)
    assert patience.used_up() == "40 s in all"


def test_a_rotated_log_counts_as_news(log: LogFile) -> None:
    clock = Clock()
    patience = Patience(10, log, clock)
    clock.now += 9
    log.path.write_text("")
    assert patience.used_up() is None
    clock.now += 9
    assert patience.used_up() is None


def test_taken_port_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        spec = AppSpec(app="a", type="webapi", port=listener.getsockname()[1], exec="run")
        with pytest.raises(PortTaken, match=f"pid {os.getpid()} ") as caught:
            check_port_free(spec)
        assert str(spec.port) in caught.value.message
    check_port_free(spec)


def test_port_taken_on_all_addresses_is_taken() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        spec = AppSpec(app="a", type="webapi", port=listener.getsockname()[1], exec="run")
        with pytest.raises(PortTaken):
            check_port_free(spec)
