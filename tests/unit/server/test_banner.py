"""The banner, the address inside WSL2, the listening socket."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from onegai.config.curlrc import url_of
from onegai.config.settings import Settings
from onegai.errors import ConfigError
from onegai.schema import Problem
from onegai.server import banner as banners
from onegai.server import serve
from onegai.server.banner import banner, lan_addresses, wsl_address

LOCAL = Settings(password="correct horse battery")
OPEN = Settings(password="correct horse battery", host="0.0.0.0")
WSL_VERSION = "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@x) #1 SMP"


@pytest.fixture
def wsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc/version of WSL2, on a machine with an eth0."""
    addresses = {
        "lo": [SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")],
        "docker0": [SimpleNamespace(family=socket.AF_INET, address="172.17.0.1")],
        "eth0": [
            SimpleNamespace(family=socket.AF_INET6, address="fe80::1"),
            SimpleNamespace(family=socket.AF_INET, address="172.30.1.2"),
        ],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses)
    version = tmp_path / "version"
    version.write_text(WSL_VERSION)
    return version


def test_password_is_shown_once() -> None:
    assert LOCAL.password in banner(LOCAL, "http://127.0.0.1:1", first_start=True)
    later = banner(LOCAL, "http://127.0.0.1:1", first_start=False)
    assert LOCAL.password not in later
    assert "config.json" in later


def test_banner_says_who_can_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banners, "wsl_address", lambda: None)
    local = banner(LOCAL, "http://127.0.0.1:5", first_start=False)
    assert "http://127.0.0.1:5/docs" in local
    assert "Only this machine" in local
    assert "--host 0.0.0.0" in local
    opened = banner(OPEN, "http://127.0.0.1:5", first_start=False)
    assert "plain HTTP" in opened
    assert "Only this machine" not in opened
    assert "netsh" not in opened


def test_banner_says_what_becomes_of_the_apps() -> None:
    assert "every app it started" in banner(LOCAL, "http://127.0.0.1:58080", False)
    living = LOCAL.model_copy(update={"stop_children": False})
    assert "live on" in banner(living, "http://127.0.0.1:58080", False)


def test_banner_on_wsl2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banners, "wsl_address", lambda: "172.30.1.2")
    opened = banner(OPEN, "http://127.0.0.1:5", first_start=False)
    assert (
        "netsh interface portproxy add v4tov4 listenport=5 listenaddress=0.0.0.0 "
        "connectport=5 connectaddress=172.30.1.2"
    ) in opened
    assert "netsh" not in banner(LOCAL, "http://127.0.0.1:5", first_start=False)


def test_wsl_address(wsl: Path) -> None:
    assert wsl_address(wsl) == "172.30.1.2"


def test_banner_shows_where_other_machines_find_it(
    wsl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lan_addresses() == ["172.30.1.2"]
    monkeypatch.setattr(banners, "wsl_address", lambda: None)
    url, shown = "http://127.0.0.1:5", "http://172.30.1.2:5"
    assert shown in banner(OPEN, url, first_start=False)
    for host in ("127.0.0.1", "192.168.1.5"):  # only this machine; one address, which url says
        settings = OPEN.model_copy(update={"host": host})
        assert shown not in banner(settings, url, first_start=False)
    monkeypatch.setattr(banners, "wsl_address", lambda: "172.30.1.2")  # Windows has another
    assert shown not in banner(OPEN, url, first_start=False)


def test_no_wsl_no_address(wsl: Path, tmp_path: Path) -> None:
    wsl.write_text("Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)")
    assert wsl_address(wsl) is None
    assert wsl_address(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Problem(file="config.json", key="prot", reason="unknown"), "config.json: prot: unknown"),
        (Problem(app="a", file="func/a.py", line=3, reason="oh"), "func/a.py:3: a: oh"),
        (Problem(file="services.json", line=1, reason="oh"), "services.json:1: oh"),
    ],
)
def test_problem_in_words(problem: Problem, words: str) -> None:
    assert problem.in_words() == words


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@contextmanager
def listening(host: str) -> Iterator[tuple[str, socket.socket]]:
    """The URL that is shown for a host, and its socket."""
    settings = Settings(password="correct horse battery", host=host, port=0)
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with serve._listen(settings) as listener:
        yield url_of(host, listener.getsockname()[1]), listener


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0.0.0.0", "::", "::1", "[::1]", "[::]", "127.0.0.2"]
)
def test_the_shown_url_leads_to_the_server(host: str) -> None:
    with listening(host) as (url, _):
        name, _, port = url.removeprefix("http://").rpartition(":")
        assert ":" not in name or name.startswith("[")
        with socket.create_connection((name.strip("[]"), int(port)), timeout=5):
            pass


def test_taken_port_says_by_whom() -> None:
    with listening("127.0.0.1") as (_, listener):
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            serve._listen(LOCAL.model_copy(update={"port": port}))
    assert f"127.0.0.1:{port}" in caught.value.message
    assert f"pid {os.getpid()} " in caught.value.message
    assert "--port" in caught.value.advice


def test_address_of_another_machine() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:0: cannot listen there"):
        serve._listen(LOCAL.model_copy(update={"host": "192.0.2.1", "port": 0}))


def test_name_that_does_not_resolve_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match="cannot listen there"):
        serve._listen(LOCAL.model_copy(update={"host": "no such host", "port": 0}))
