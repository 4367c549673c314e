"""Fetching a file by http(s), and never from this machine itself.

A URL in a request is somebody else's word: it must not reach what listens here for this machine
only. Each name is resolved once, every address of it must be allowed, and the connection goes to
one of exactly these; so it is for each redirect, which are followed by hand.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from onegai.config import private
from onegai.config.settings import MIB
from onegai.errors import AddressRefused, FileTooLarge
from onegai.files.workspace import full_disk
from onegai.threads import in_writer

REDIRECTS = 5
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
HEAD_SECONDS = 30.0
"""To the head of each answer."""
STEP, STEP_SECONDS = 160 << 10, 20.0
"""So many bytes of a file must come in so many seconds, again and again: 8 KiB/s."""
MOST_SECONDS = 1800.0
"""For a file with everything, however long the call may take."""
_PIECE = 1 << 18
_MOVED = frozenset({301, 302, 303, 307, 308})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressRule = Callable[[Address, int], bool]
"""Is this address, with this port, one that nothing may be fetched from?"""

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


class Unfetchable(Exception):
    """Why a URL gives no file, in words."""


@dataclass(frozen=True)
class Fetched:
    """What the server says of the file that was written."""

    name: str
    media_type: str


def is_this_machine(address: Address, own: frozenset[Address]) -> bool:
    """Loopback, link-local, unspecified, multicast, or one of ``own``, in whatever disguise.

    Private addresses of other machines are none of these. IPv6 addresses that carry an IPv4 one
    (mapped, compatible, NAT64, 6to4, Teredo: RFC 4291, 6052, 8215, 3056, 4380) are that one, too.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            address = ipaddress.IPv6Address(int(address))
        if any(is_this_machine(inner, own) for inner in _carried(address)):
            return True
    elif address in _THIS_NETWORK or address.is_reserved:
        return True
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in own
    )


def _carried(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [inner for inner in found if inner is not None]


def own_addresses() -> frozenset[Address]:
    """The addresses of this machine's interfaces."""
    found = set()
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            with suppress(ValueError):
                found.add(ipaddress.ip_address(address.address.partition("%")[0]))
    return frozenset(found)


def refuse_this_machine(address: Address, _port: int) -> bool:
    """The rule of a server: nothing of this machine's, on any port."""
    return is_this_machine(address, own_addresses())


async def fetch(
    url: str, target: Path, *, field: str, limit: int, refused: AddressRule = refuse_this_machine
) -> Fetched:
    """Write what is at the URL to ``target``, ``limit`` bytes at most.

    Raises AddressRefused and FileTooLarge in the name of ``field``, DiskFull, Unfetchable.
    """
    try:
        async with asyncio.timeout(MOST_SECONDS):
            return await _fetched(url, target, field, limit, refused)
    except TimeoutError:
        raise Unfetchable(f"it is not here within {MOST_SECONDS:g} s") from None


async def _fetched(url: str, target: Path, field: str, limit: int, refused: AddressRule) -> Fetched:
    try:
        following = URL(url.strip())
    except ValueError as error:
        raise Unfetchable(f"it is no URL: {error}") from None
    for _ in range(REDIRECTS + 1):
        allowed = await _resolved(following, field, refused)
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(allowed),
            socket_factory=lambda info, allowed=allowed: _socket(info, allowed),  # type: ignore[misc]
            use_dns_cache=False,
            force_close=True,
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=TIMEOUT,
                    auto_decompress=False,
                    trust_env=False,
                ) as session,
                asyncio.timeout(HEAD_SECONDS) as clock,
                session.get(
                    following,
                    allow_redirects=False,
                    headers={"Accept-Encoding": "identity", "User-Agent": "OneGAI"},
                ) as answer,
            ):
                if answer.status in _MOVED and (place := answer.headers.get("Location")):
                    following = following.join(URL(place))
                    continue
                return await _written(answer, target, field, limit, clock)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unfetchable(f"{following.host}: {_reason(error)}") from None
    raise Unfetchable(f"it was redirected more than {REDIRECTS} times")


async def _resolved(url: URL, field: str, refused: AddressRule) -> list[ResolveResult]:
    """All addresses of the URL's host. Raises AddressRefused if one is, and Unfetchable."""
    try:
        host, port = url.host, url.port
    except ValueError as error:
        raise Unfetchable(f"the URL's host is no name: {error}") from None
    if url.scheme not in ("http", "https"):
        raise Unfetchable(f"a URL with {url.scheme or 'no scheme'}: is not fetched, only http(s)")
    if url.user is not None or url.password is not None:
        raise Unfetchable("a URL with a user name or password is not fetched")
    if not host or not port:
        raise Unfetchable("the URL names no host")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError):
        raise Unfetchable(f"the host {host} is not known") from None
    addresses = []
    for family, _kind, proto, _name, place in found:
        address = ipaddress.ip_address(str(place[0]))
        if await asyncio.to_thread(refused, address, port):
            raise AddressRefused(field=field, host=host, address=address)
        addresses.append(
            ResolveResult(
                hostname=host,
                host=str(place[0]),
                port=port,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
        )
    return addresses


class _Pinned(AbstractResolver):
    """Gives what was resolved and allowed, and asks nobody again."""

    def __init__(self, allowed: list[ResolveResult]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All of it."""
        del host, port, family
        return self._allowed

    async def close(self) -> None:
        """Nothing to close."""


def _socket(info: Any, allowed: list[ResolveResult]) -> socket.socket:
    """The last look before connecting: hosts that are numbers pass by the resolver."""
    family, kind, proto, _name, place = info
    if ipaddress.ip_address(place[0]) not in {ipaddress.ip_address(one["host"]) for one in allowed}:
        raise OSError(f"{place[0]} is not the address that was looked at")
    return socket.socket(family, kind, proto)


async def _written(
    answer: aiohttp.ClientResponse,
    target: Path,
    field: str,
    limit: int,
    clock: asyncio.Timeout,
) -> Fetched:
    """``clock`` is what ends it where less than STEP bytes come in STEP_SECONDS."""
    now = asyncio.get_running_loop().time
    if answer.status != 200:
        raise Unfetchable(f"{answer.url.host} answered {answer.status}")
    too_large = FileTooLarge(what=f"{field}: the file", limit_mib=round(limit / MIB, 1))
    if (answer.content_length or 0) > limit:
        raise too_large
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Unfetchable(f"{answer.url.host} sends it compressed, which was not asked for")
    size = step = 0
    clock.reschedule(now() + STEP_SECONDS)
    with full_disk(target), private.make_file(target).open("wb") as file:
        async for piece in answer.content.iter_chunked(_PIECE):
            size += len(piece)
            if size > limit:
                raise too_large
            if size - step >= STEP:
                step = size
                clock.reschedule(now() + STEP_SECONDS)
            await in_writer(file.write, piece)
    return Fetched(_name(answer), answer.content_type if "Content-Type" in answer.headers else "")


def _name(answer: aiohttp.ClientResponse) -> str:
    head = Message()
    head["Content-Disposition"] = answer.headers.get("Content-Disposition", "")
    return head.get_filename() or answer.url.name


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "no connection"
    return str(error) or type(error).__name__
