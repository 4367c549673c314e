"""Ports for tests, of which each is given out once only."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = 6  # 32_768 is where the kernel begins
PER_WORKER = 2000


def _free_ports() -> Iterator[int]:
    first = 20_000 + PER_WORKER * (WORKER % WORKERS)
    ports = list(range(first, first + PER_WORKER))
    random.shuffle(ports)
    while True:
        for port in ports:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            yield port


_free = _free_ports()


def free_port() -> int:
    """One that no other test worker gives out, and this one not twice.

    Below the range from which the kernel takes clients' ports (ip_local_port_range, ip(7)), so
    that no connection gets in between.
    """
    return next(_free)


def connection_to(server: socket.socket) -> socket.socket:
    """A connection that alone has its port.

    One of the kernel's choice may be the port of other connections, too, each to another server;
    if one of them is in TIME_WAIT, it stays so for up to a minute.
    """
    return socket.create_connection(server.getsockname(), source_address=("127.0.0.1", free_port()))
