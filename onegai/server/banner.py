"""What the terminal shows at the start, and this machine's addresses."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from onegai.config import curlrc
from onegai.config.settings import Settings

_VIRTUAL = ("docker", "br-", "veth", "virbr", "lxc", "podman", "cni")
"""Networks of containers and virtual machines: no other machine is in them."""


def banner(settings: Settings, url: str, first_start: bool) -> str:
    """What the terminal shows at the start. The password is shown once, when it is made."""
    lines = [
        "",
        f"  OneGAI is at {url}   (docs: {url}/docs)",
        f"  User name: {settings.username}",
    ]
    if first_start:
        lines.append(f"  Password:  {settings.password}   (kept in config.json; not shown again)")
    else:
        lines.append("  Password:  in config.json")
    if settings.open_to_network:
        wsl = wsl_address()
        port = url.rsplit(":", 1)[1]
        if wsl is None and settings.host.strip("[]") in curlrc.EVERY:
            lines += [f"  From other machines: http://{at}:{port}" for at in lan_addresses()]
        lines.append("  Every machine that reaches this one can reach it; the password is sent")
        lines.append("  readably over plain HTTP, so open it only to a network you trust.")
        if wsl is not None:
            lines.append("  WSL2: for other machines, run this in an administrator PowerShell:")
            lines.append(
                f"    netsh interface portproxy add v4tov4 listenport={port} "
                f"listenaddress=0.0.0.0 connectport={port} connectaddress={wsl}"
            )
    else:
        lines.append("  Only this machine can reach it. To open it: bash run.sh --host 0.0.0.0")
    end = "  Ctrl-C stops it, and every app it started."
    if not settings.stop_children:
        end = "  Ctrl-C stops it. Apps that are ready then live on (stop_children is 0)."
    return "\n".join([*lines, end, ""])


def wsl_address(version: Path = Path("/proc/version")) -> str | None:
    """This machine's address inside WSL2, which changes at each Windows start; None elsewhere."""
    try:
        if "microsoft" not in version.read_text().lower():
            return None
    except OSError:
        return None
    return next((address for name, address in _ipv4() if name.startswith("eth")), None)


def lan_addresses() -> list[str]:
    """This machine's IPv4 addresses in networks with other machines."""
    return [
        address
        for name, address in _ipv4()
        if not name.startswith(_VIRTUAL)
        and not (at := ipaddress.ip_address(address)).is_loopback
        and not at.is_link_local
    ]


def _ipv4() -> Iterator[tuple[str, str]]:
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family == socket.AF_INET:
                yield name, address.address
