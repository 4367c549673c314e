"""Who listens where, asked both ways: of the kernel, and read from /proc/net."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import connection_to, free_port

from onegai.process import sockets
from onegai.process.sockets import Listener


@pytest.fixture(params=["sock_diag", "proc"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "proc":

        def missing(_family: int, _states: int) -> Iterator[tuple[int, Listener]]:
            raise OSError("a kernel without sock_diag")

        monkeypatch.setattr(sockets, "_by_sock_diag", missing)
    return str(request.param)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "127.3.2.1", "::1", "::"])
def test_listeners_of_a_process(way: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    before = sockets.listeners([os.getpid()])
    # Not any port: another program may have the same one at another address.
    with socket.create_server((address, free_port()), family=family) as server:
        port = server.getsockname()[1]
        found = sockets.listeners([os.getpid()]) - before
        assert found == {Listener(address, port)}
        assert f"pid {os.getpid()} " in sockets.port_holder(port)
        assert Path("/proc/self/cmdline").read_text().split("\0")[0] in sockets.port_holder(port)
    assert sockets.listeners([os.getpid()]) == before


def test_connected_and_bound_sockets_do_not_listen(way: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        connection_to(server) as client,
        socket.socket() as bound,
    ):
        bound.bind(("127.0.0.1", 0))
        ports = {listener.port for listener in sockets.listeners([os.getpid()])}
        assert server.getsockname()[1] in ports
        assert client.getsockname()[1] not in ports
        assert bound.getsockname()[1] not in ports


def test_a_connection_that_holds_a_port_is_named(way: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        connection_to(server) as client,
    ):
        port = client.getsockname()[1]
        assert f"a connection of pid {os.getpid()} " in sockets.port_holder(port)
    assert "not quite closed" in sockets.port_holder(port)


def test_what_goes_by_itself_is_worth_waiting_for(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert sockets.wait_worth(server.getsockname()[1]) == 0
        with connection_to(server) as client:
            port = client.getsockname()[1]
            assert sockets.wait_worth(port) == sockets.CONNECTION_WAIT
            accepted, _address = server.accept()
        accepted.close()
    with pytest.raises(OSError, match="in use"):  # TIME_WAIT
        socket.create_server(("127.0.0.1", port))
    assert sockets.wait_worth(port) == sockets.CLOSED_WAIT > 60


def test_many_listeners(way: str) -> None:
    """More than one message of the kernel holds."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(300)]
    try:
        ports = {listener.port for listener in sockets.listeners([os.getpid()])}
        assert {server.getsockname()[1] for server in servers} <= ports
    finally:
        for server in servers:
            server.close()


def test_what_is_gone_listens_nowhere(way: str) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert sockets.listeners([process.pid]) == set()


def test_both_ways_agree() -> None:
    states = 1 << sockets._TCP_LISTEN
    families = (socket.AF_INET, socket.AF_INET6)

    def asked() -> set[tuple[int, Listener]]:
        return {item for family in families for item in sockets._by_sock_diag(family, states)}

    with socket.create_server(("127.0.0.1", 0)):
        for attempt in range(10):  # /proc leaves one out now and then while others come and go
            before = asked()
            read = {item for name in ("tcp", "tcp6") for item in sockets._by_proc(name, states)}
            after = asked()  # other programs begin and end to listen meanwhile
            if before & after <= read <= before | after:
                break
            assert attempt < 9, (before & after) ^ read
    assert before & after
