"""Fetching by URL: which addresses are this machine's, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import BaseModel

from onegai.errors import AddressRefused, BadArguments, FileTooLarge
from onegai.files import fetch as module
from onegai.files.fetch import (
    Address,
    AddressRule,
    Unfetchable,
    fetch,
    is_this_machine,
    own_addresses,
    refuse_this_machine,
)
from onegai.files.file import File
from onegai.files.sources import Sources
from onegai.files.workspace import Workspace

OWN = frozenset({ipaddress.ip_address("192.168.1.5"), ipaddress.ip_address("2001:db8::5")})


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.200.0.1",
        "0.0.0.0",
        "0.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.168.1.5",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "2001:db8::5",
        "::ffff:127.0.0.1",
        "::ffff:192.168.1.5",
        "::ffff:0.0.0.0",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::192.168.1.5",
        "64:ff9b:1::169.254.169.254",
        "2002:7f00:1::",
        "2002:c0a8:0105::1",
        "2001:0:7f00:1::",
        "2001:0:808:808:0:0:80ff:fffe",
    ],
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_this_machine(ipaddress.ip_address(address), OWN)


@pytest.mark.parametrize(
    "address",
    """192.168.1.6 10.0.0.1 172.16.0.1 100.64.0.1 8.8.8.8 fd00::1 2606:4700::1
    ::ffff:192.168.1.6 64:ff9b::8.8.8.8 2002:808:808::1""".split(),
)
def test_addresses_of_others(address: str) -> None:
    assert not is_this_machine(ipaddress.ip_address(address), OWN)


def test_own_addresses_are_looked_up() -> None:
    assert ipaddress.ip_address("127.0.0.1") in own_addresses()
    for address in own_addresses():
        assert refuse_this_machine(address, 80)


ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "named": (200, {"Content-Disposition": "attachment; filename*=UTF-8''%E3%81%AD.csv"}, b"a,b"),
    "large": (200, {}, bytes(2000)),
    "stream": (200, {"Content-Length": ""}, bytes(2000)),
    "zip": (200, {"Content-Encoding": "gzip"}, b"a,b"),
    "missing": (404, {}, b""),
    "cut": (200, {"Content-Length": "900"}, bytes(100)),
    "endless": (200, {"Content-Length": "900"}, bytes(100)),
    "drip": (200, {"Content-Length": "900"}, b""),
}
CSV = (200, {"Content-Type": "text/csv; charset=utf-8"}, b"a,b")


class Elsewhere(BaseHTTPRequestHandler):
    """``/to/URL`` redirects there, ``/times/3`` three times; see ANSWERS for others."""

    begun = False

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        while self.path == "/drip-head" and not self.server.until.wait(0.05):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" if not self.begun else b"X: y\r\n")
            self.begun = True
        kind, _, rest = self.path[1:].partition("/")
        if kind == "together":
            self.server.together.wait(60)
        if kind == "to":
            status, headers, body = 302, {"Location": rest}, b""
        elif kind == "times":
            following = f"/times/{int(rest) - 1}" if rest != "1" else "/a.csv"
            status, headers, body = 307, {"Location": following}, b""
        else:
            status, headers, body = ANSWERS.get(kind, CSV)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if kind == "endless":
            self.server.until.wait(60)
        while kind == "drip" and not self.server.until.wait(0.05):
            self.wfile.write(b"x")

    def log_message(self, *args: object) -> None:
        pass


class Local(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Elsewhere)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.until = threading.Event()
        self.together = threading.Barrier(2)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def servers() -> Iterator[tuple[Local, Local]]:
    """Two; only the first may be fetched from, see ``rule``."""
    with Local() as one, Local() as two:
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            for server in (one, two)
        ]
        for thread in threads:
            thread.start()
        yield one, two
        for server, thread in zip((one, two), threads, strict=True):
            server.until.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def local(servers: tuple[Local, Local]) -> Local:
    return servers[0]


@pytest.fixture
def rule(local: Local) -> AddressRule:
    """The real one, but for the first server."""

    def refused(address: Address, port: int) -> bool:
        return refuse_this_machine(address, port) and port != local.server_port

    return refused


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "fetched"


def content(target: Path) -> bytes:
    return target.read_bytes() if target.exists() else b""


async def test_fetched(local: Local, rule: AddressRule, target: Path) -> None:
    got = await fetch(f"{local.url}/x/a.csv?q=1", target, field="f", limit=1000, refused=rule)
    assert (got.name, got.media_type, content(target)) == ("a.csv", "text/csv", b"a,b")
    path, headers = local.asked[0]
    assert path == "/x/a.csv?q=1"
    assert headers["Host"] == f"127.0.0.1:{local.server_port}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers
    got = await fetch(f"{local.url}/named", target, field="f", limit=1000, refused=rule)
    assert got.name == "ね.csv"


async def test_names_are_resolved_once_and_pinned(
    local: Local, rule: AddressRule, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that gives another address at each question gains nothing."""
    real, asked = socket.getaddrinfo, []

    def changing(host: str, *args: object, **options: object) -> object:
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    url = f"http://changing.example:{local.server_port}/a.csv"
    await fetch(url, target, field="f", limit=1000, refused=rule)
    assert asked == ["changing.example"]
    assert local.asked[0][1]["Host"] == f"changing.example:{local.server_port}"


async def test_one_refused_address_of_a_name_is_enough(
    local: Local, rule: AddressRule, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def two(_host: str, port: int, *args: object, **options: object) -> object:
        return [
            *real("127.0.0.1", port, *args, **options),
            *real("127.0.0.2", port, *args, **options),
        ]

    def refused(address: Address, port: int) -> bool:
        return rule(address, port) or str(address) == "127.0.0.2"

    monkeypatch.setattr(socket, "getaddrinfo", two)
    url = f"http://two.example:{local.server_port}/a.csv"
    with pytest.raises(AddressRefused, match=r"f: two\.example is 127\.0\.0\.2"):
        await fetch(url, target, field="f", limit=1000, refused=refused)
    assert local.asked == []


async def test_numbers_are_looked_at_again_before_connecting(
    local: Local, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp asks no resolver for them."""
    real = socket.getaddrinfo

    def other(_host: str, port: int, *args: object, **options: object) -> object:
        return real("192.0.2.1", port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", other)
    with pytest.raises(Unfetchable):
        await fetch(f"{local.url}/a.csv", target, field="f", limit=1000)
    assert local.asked == []


async def test_redirects(servers: tuple[Local, Local], rule: AddressRule, target: Path) -> None:
    local, other = servers

    async def at(path: str) -> None:
        await fetch(local.url + path, target, field="f", limit=1000, refused=rule)

    await at("/times/5")
    assert content(target) == b"a,b"
    with pytest.raises(Unfetchable, match="more than 5 times"):
        await at("/times/6")
    for place in (
        other.url,
        f"http://localhost:{other.server_port}/",
        f"//2130706433:{other.server_port}/",
    ):
        with pytest.raises(AddressRefused):
            await at(f"/to/{place}")
    for place, words in (
        ("file:///etc/passwd", "only http"),
        ("http://me:secret@example.org/", "user name"),
        ("http://[", "not known"),
    ):
        with pytest.raises(Unfetchable, match=words):
            await at(f"/to/{place}")
    assert other.asked == []


async def test_proxies_of_the_environment_are_not_used(
    local: Local, rule: AddressRule, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    await fetch(f"{local.url}/a.csv", target, field="f", limit=1000, refused=rule)


@pytest.mark.parametrize("path", ["large", "stream"])
async def test_too_large(local: Local, rule: AddressRule, target: Path, path: str) -> None:
    with pytest.raises(FileTooLarge, match="f: the file"):
        await fetch(f"{local.url}/{path}", target, field="f", limit=1000, refused=rule)
    assert len(content(target)) <= 1000


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "answered 404"),
        ("zip", "compressed"),
        ("cut", "payload"),
        ("endless", "in time"),
    ],
)
async def test_unfetchable(
    local: Local,
    rule: AddressRule,
    target: Path,
    path: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", module.aiohttp.ClientTimeout(sock_read=0.3))
    with pytest.raises(Unfetchable, match=words):
        await fetch(f"{local.url}/{path}", target, field="f", limit=1000, refused=rule)


@pytest.mark.parametrize("limits", ["HEAD_SECONDS STEP_SECONDS", "MOST_SECONDS"])
@pytest.mark.parametrize("path", ["drip", "drip-head"])
async def test_what_drips_is_given_up(
    local: Local,
    rule: AddressRule,
    target: Path,
    path: str,
    limits: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit in limits.split():
        monkeypatch.setattr(module, limit, 0.3)
    begun = time.monotonic()
    with pytest.raises(Unfetchable):
        await fetch(f"{local.url}/{path}", target, field="f", limit=1000, refused=rule)
    assert 0.25 < time.monotonic() - begun < 30


async def test_what_is_quick_enough_may_take_long(
    local: Local, rule: AddressRule, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEP", 1)
    monkeypatch.setattr(module, "STEP_SECONDS", 2)
    monkeypatch.setattr(module, "MOST_SECONDS", 4)
    begun = time.monotonic()
    with pytest.raises(Unfetchable, match="within 4 s"):
        await fetch(f"{local.url}/drip", target, field="f", limit=1000, refused=rule)
    assert time.monotonic() - begun > 3.9


@pytest.mark.parametrize(
    "host", ["xn--", "xn--a", "\udc80", "a..b", "a" * 70 + ".com", "\u2024\u2024", "%zz"]
)
async def test_hosts_that_are_no_names(target: Path, host: str) -> None:
    with pytest.raises(Unfetchable):
        await fetch(f"http://{host}/", target, field="f", limit=1000)


async def test_nobody_listens(local: Local, rule: AddressRule, target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))

        def refused(_address: Address, _port: int) -> bool:
            return False

        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(Unfetchable, match=r"127\.0\.0\.1: "):
            await fetch(url, target, field="f", limit=1000, refused=refused)


def test_the_result_of_a_job_on_another_disk_is_copied(tmp_path: Path) -> None:
    with TemporaryDirectory(dir="/dev/shm") as elsewhere, Workspace(tmp_path) as workspace:
        result = Path(elsewhere, "x.csv")
        result.write_bytes(b"a,b")
        assert result.stat().st_dev != tmp_path.stat().st_dev
        sources = Sources((), 1000, lambda _job: File(result, "told.csv", "text/csv"))
        given = Sound.model_validate({"audio": {"job": "1"}})
        asyncio.run(sources.resolve(given, workspace))
        result.unlink()
        assert (given.audio.name, given.audio.read()) == ("told.csv", b"a,b")
        assert given.audio.path.is_relative_to(workspace.folder)


class Sound(BaseModel):
    audio: File
    more: list[File] = []


async def test_all_files_of_a_call_are_fetched_at_once(
    local: Local, rule: AddressRule, tmp_path: Path
) -> None:
    sources = Sources((), 1000, File, rule)
    with Workspace(tmp_path / "uploads") as workspace:
        given = Sound.model_validate(
            {"audio": f"{local.url}/together/1.csv", "more": [f"{local.url}/together/2.csv"]}
        )
        await sources.resolve(given, workspace)
        assert [(file.name, file.read()) for file in (given.audio, *given.more)] == [
            ("1.csv", b"a,b"),
            ("2.csv", b"a,b"),
        ]
        assert given.audio.media_type == "text/csv"
        assert given.audio.path.name == "1.csv"


async def test_the_first_that_cannot_be_fetched_ends_the_others(
    local: Local, rule: AddressRule, tmp_path: Path
) -> None:
    sources = Sources((), 1000, File, rule)
    with Workspace(tmp_path / "uploads") as workspace:
        given = Sound.model_validate(
            {"audio": f"{local.url}/endless", "more": ["data:,a", f"{local.url}/missing"]}
        )
        with pytest.raises(BadArguments, match=r"more\.1: 127\.0\.0\.1 answered 404"):
            await sources.resolve(given, workspace)
