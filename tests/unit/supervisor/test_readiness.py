"""How long a start may take, what a log announces, and what a taken port says."""

import asyncio
import logging
import os
import socket
from pathlib import Path

import pytest
from ports import connection_to

from onegai.config.entry import AppSpec
from onegai.errors import NeverReady, PortTaken
from onegai.process import sockets
from onegai.process.logfile import LogFile
from onegai.supervisor.readiness import Announcement, Patience, wait_for_port


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
    patience = Patience(lambda: 10, log, clock)
    assert patience.used_up() is None
    clock.now += 10
    assert patience.used_up() is None
    clock.now += 0.1
    assert patience.used_up() == "10 s without a line in its log"


def test_a_line_of_log_renews_it(log: LogFile) -> None:
    clock = Clock()
    patience = Patience(lambda: 10, log, clock)
    clock.now += 9
    grow(log)
    assert patience.used_up() is None
    clock.now += 9
    assert patience.used_up() is None
    clock.now += 2
    assert patience.used_up() is not None


def test_more_time_may_be_given_while_it_goes_on(log: LogFile) -> None:
    clock, seconds = Clock(), [10.0]
    patience = Patience(lambda: seconds[0], log, clock)
    clock.now += 9
    seconds[0] = 20
    clock.now += 9
    assert patience.used_up() is None
    seconds[0] = 5
    assert patience.used_up() == "5 s without a line in its log"


def test_four_times_is_the_cap_however_much_it_logs(log: LogFile) -> None:
    clock = Clock()
    patience = Patience(lambda: 10, log, clock)
    for _ in range(8):
        clock.now += 5
        grow(log)
        assert patience.used_up() is None
    clock.now += 0.1
    grow(log)
    assert patience.used_up() == "40 s in all"


def test_a_rotated_log_counts_as_news(log: LogFile) -> None:
    clock = Clock()
    patience = Patience(lambda: 10, log, clock)
    clock.now += 9
    log.path.write_text("")
    assert patience.used_up() is None
    clock.now += 9
    assert patience.used_up() is None


def announcing(pattern: str) -> AppSpec:
    return AppSpec.model_validate(
        {"app": "a", "type": "webapi", "port": 1, "exec": "run", "ready": {"log": pattern}}
    )


def test_a_line_is_announced_since_the_start_only_and_in_any_colour(log: LogFile) -> None:
    announcement = Announcement(log, log.end)
    loaded = announcing("^Model loaded$")
    assert announcement.missing(announcing("earlier")) is not None
    for part, there in (("\x1b[32mMod", False), ("el loa", False), ("ded\x1b[0m", True)):
        with log.path.open("a") as file:
            file.write(part)
        assert (announcement.missing(loaded) is None) is there
    # Another pattern is looked for from the start on, too.
    grow(log)
    assert announcement.missing(announcing("^loading")) is not None
    assert announcement.missing(announcing("loading$")) is None


def test_a_pattern_that_takes_for_ever_fails_the_start(log: LogFile) -> None:
    announcement = Announcement(log, log.end)
    log.path.write_text("x" * 5000)
    with pytest.raises(NeverReady, match=r"ready\.log"):
        announcement.missing(announcing("(x+x+)+y"))


def on(port: int) -> AppSpec:
    return AppSpec(app="a", type="webapi", port=port, exec="run")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
async def test_taken_port_names_its_holder(address: str) -> None:
    with socket.create_server((address, 0)) as listener:
        spec = on(listener.getsockname()[1])
        with pytest.raises(PortTaken, match=f"pid {os.getpid()} ") as caught:
            await wait_for_port(spec)
        assert str(spec.port) in caught.value.message
    await wait_for_port(spec)


async def test_port_that_a_clients_connection_has_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = connection_to(server)
        accepted, _address = server.accept()
        waiting = asyncio.ensure_future(wait_for_port(on(client.getsockname()[1])))
        async with asyncio.timeout(60):
            while "waits until no connection has port" not in caplog.text:
                await asyncio.sleep(0.005)
        assert not waiting.done()
        accepted.close()  # the first to close is the one that stays in TIME_WAIT
        client.recv(1)
        client.close()
        await asyncio.wait_for(waiting, sockets.CONNECTION_WAIT)


async def test_connection_that_stays_has_taken_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "CONNECTION_WAIT", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        connection_to(server) as client,
        pytest.raises(PortTaken, match=f"a connection of pid {os.getpid()} "),
    ):
        await wait_for_port(on(client.getsockname()[1]))
