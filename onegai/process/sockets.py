"""Who listens on which TCP port, and who else has it."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PORT_EVERY = 0.05
"""Seconds between two tries of a port that something has for a while."""
CONNECTION_WAIT, CLOSED_WAIT = 5.0, 65.0
"""Seconds; TIME_WAIT is one minute (TCP_TIMEWAIT_LEN in the kernel's net/tcp.h)."""

_PROC = Path("/proc")

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TCP_LISTEN = 10
_ANY_STATE = 0xFFF
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI48x")
_MESSAGE = struct.Struct("=BBBB2s2s16s16s4x8x4x4x4x4xI")


@dataclass(frozen=True)
class Listener:
    """The local end of a TCP socket; ``address`` is the IP it is bound to."""

    address: str
    port: int


def listeners(pids: Iterable[int]) -> set[Listener]:
    """The TCP sockets that these processes listen on; other users' processes have none to show."""
    ours = {inode for pid in pids for inode in _inodes(pid)}
    return {listener for inode, listener in _all_listeners() if inode in ours}


def listening_ports() -> set[int]:
    """The ports that anybody listens on, whatever the address."""
    return {listener.port for _inode, listener in _all_listeners()}


def wait_worth(port: int) -> float:
    """How many seconds a port that cannot be bound is worth waiting for.

    None for a listener. A client that the kernel gave just this port, which it takes from
    ip_local_port_range (ip(7), 32768 to 60999 as a rule), is often gone in a moment; and when it
    is closed, the kernel itself frees the port after a minute.
    """
    if port in listening_ports():
        return 0
    held = any(inode and local.port == port for inode, local in _all_sockets(_ANY_STATE))
    return CONNECTION_WAIT if held else CLOSED_WAIT


def port_holder(port: int) -> str:
    """Who keeps others from listening on a port, in words: a listener or else a connection."""
    inodes = {inode for inode, listener in _all_listeners() if listener.port == port}
    if inodes:
        return _owner(inodes) or "a program of another user"
    inodes = {inode for inode, local in _all_sockets(_ANY_STATE) if local.port == port}
    owner = _owner(inodes - {0})
    return f"a connection of {owner}" if owner else "a connection that is not quite closed"


def _owner(inodes: set[int]) -> str | None:
    """The process that holds one of these sockets: pid and command where this user may see them."""
    for process in psutil.process_iter():
        if inodes.intersection(_inodes(process.pid)):
            try:
                command = " ".join(process.cmdline())
            except psutil.Error:
                command = ""
            return f"pid {process.pid} ({command[:120] or '?'})"
    return None


def _all_listeners() -> list[tuple[int, Listener]]:
    return _all_sockets(1 << _TCP_LISTEN)


def _all_sockets(states: int) -> list[tuple[int, Listener]]:
    """The local end of every TCP socket of this network namespace in these states, with its inode.

    Asked of the kernel by sock_diag(7), which takes 0.1 ms; reading /proc/net/tcp walks the whole
    table of connections, 5 ms and more, and is for kernels that lack the former.
    """
    try:
        families = (socket.AF_INET, socket.AF_INET6)
        return [item for family in families for item in _by_sock_diag(family, states)]
    except OSError:
        return [item for name in ("tcp", "tcp6") for item in _by_proc(name, states)]


def _by_sock_diag(family: int, states: int) -> Iterator[tuple[int, Listener]]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, states)
        length = _HEADER.size + len(request)
        head = _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
        kernel.send(head + request)
        while True:
            answer = kernel.recv(1 << 16)
            at = 0
            while at < len(answer):
                size, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError("sock_diag is not supported")
                fields = _MESSAGE.unpack_from(answer, at + _HEADER.size)
                packed = fields[6] if family == socket.AF_INET6 else fields[6][:4]
                address = str(ipaddress.ip_address(packed))
                yield fields[-1], Listener(address, int.from_bytes(fields[4], "big"))
                at += (size + 3) & ~3


def _by_proc(name: str, states: int) -> Iterator[tuple[int, Listener]]:
    try:
        lines = (_PROC / "net" / name).read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _slot, local, _remote, state, *rest = line.split()
        if states >> int(state, 16) & 1:
            address, port = local.split(":")
            yield int(rest[5]), Listener(_address(address), int(port, 16))


def _address(text: str) -> str:
    """An address as /proc/net/tcp writes it: 32-bit words in the machine's byte order."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(ipaddress.ip_address(raw))


def _inodes(pid: int) -> list[int]:
    """Inodes of the sockets that a process holds; none where it may not be looked at."""
    found = []
    try:
        with os.scandir(_PROC / str(pid) / "fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    target = str(Path(entry.path).readlink())
                    if target.startswith("socket:["):
                        found.append(int(target[8:-1]))
    except OSError:
        return []
    return found
