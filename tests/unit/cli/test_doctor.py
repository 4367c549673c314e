"""``onegai doctor``: one finding for each thing that can be wrong."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from ports import connection_to

from onegai.cli import doctor
from onegai.cli import main as cli
from onegai.config import jsonfile
from onegai.config.home import Home
from onegai.memory.probe import Gpu, Memory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ONEGAI_HOME", str(tmp_path))
    monkeypatch.delenv("ONEGAI_FAKE_GPU", raising=False)
    jsonfile.write(tmp_path / "services.json", {})
    jsonfile.write(tmp_path / "config.json", {"password": "long enough password", "port": 1})
    (tmp_path / "func").mkdir()
    return Home(tmp_path)


def found(home: Home) -> dict[str, str]:
    """What is not ok: the text and its mark."""
    return {item.what: item.mark for item in doctor.examine(home) if item.mark != "ok"}


def mark_of(home: Home, words: str) -> str:
    marks = [mark for what, mark in found(home).items() if words in what]
    assert marks, found(home)
    return marks[0]


def test_all_is_well_or_has_an_advice(home: Home) -> None:
    for item in doctor.examine(home):
        assert item.mark == "ok" or item.do, item
    shown = CliRunner().invoke(cli.commands, ["doctor"])
    assert shown.exit_code in (0, 1)
    assert "\x1b" not in shown.output
    assert "Python 3" in shown.output


def test_config_is_not_made_and_no_secret_is_shown(home: Home) -> None:
    assert "long enough password" not in CliRunner().invoke(cli.commands, ["doctor"]).output
    home.config.unlink()
    found(home)
    assert not home.config.exists()


def test_exit_status(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for mark, status in (("ok", 0), ("warn", 0), ("fail", 1)):
        monkeypatch.setattr(doctor, "examine", lambda _h, m=mark: [doctor.Finding(m, "x", "do y")])
        ended = CliRunner().invoke(cli.commands, ["doctor"])
        assert ended.exit_code == status
        assert ended.output == f"{mark:<6}x\n      do y\n"


def test_entries_and_func_files(home: Home) -> None:
    twins = {"type": "webapi", "exec": "x", "port": 50000}
    jsonfile.write(
        home.services,
        {
            "bad": {"type": "sever"},
            "off": {"type": "webapi", "port": 1, "exec": "cd x && y", "active": 0},
            "torn": {"type": "inline"},
            "a": twins,
            "b": twins,
        },
    )
    home.func_file("torn").write_text("def main(args):\n    return (\n")
    home.services_local.write_text('{\n "x": 1\n;}\n')
    assert mark_of(home, "services.json: bad type: ") == "fail"
    assert mark_of(home, "services.json: off exec: contains '&&'") == "note"
    assert mark_of(home, "services.json: a port: 50000 is also") == "warn"
    assert mark_of(home, "services.local.json:3: ") == "fail"
    assert mark_of(home, "func/torn.py:2: torn: syntax") == "fail"


def test_config_problems(home: Home) -> None:
    jsonfile.write(home.config, {"password": "long enough password", "prot": 1, "host": "0.0.0.0"})
    home.config.chmod(0o644)
    assert mark_of(home, "config.json: prot: unknown key") == "warn"
    assert mark_of(home, "others may read") == "warn"
    assert mark_of(home, "open to the network") == "warn"
    home.config.write_text('{"port": "many"}')
    assert mark_of(home, "config.json: ") == "fail"
    home.config.write_text("{")
    assert mark_of(home, "config.json: ") == "fail"


def test_ports_that_strangers_have(home: Home) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        jsonfile.write(home.services, {"a": {"type": "webapi", "exec": "x", "port": port}})
        jsonfile.write(home.config, {"password": "long enough password", "port": port})
        assert mark_of(home, f"port {port} of a is taken by pid {os.getpid()}") == "warn"
        assert mark_of(home, f"port {port} of OneGAI is taken by pid {os.getpid()}") == "fail"
        stranger.close()
        with home.lock():
            jsonfile.write(home.server_file, {"pid": 1, "url": f"http://127.0.0.1:{port}"})
            assert mark_of(home, f"OneGAI runs at http://127.0.0.1:{port}: http") == "fail"
            assert not [what for what in found(home) if "of OneGAI" in what]


def test_a_port_that_a_connection_gives_back_by_itself_is_no_fault(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, connection_to(server) as client:
        port = client.getsockname()[1]
        accepted, _address = server.accept()
        assert f"a connection of pid {os.getpid()} " in str(doctor.stranger("127.0.0.1", port))
        client.close()
        accepted.close()
    assert doctor.stranger("127.0.0.1", port) is None


def test_unfinished_install(home: Home) -> None:
    jsonfile.write(home.services, {"a": {"type": "inline"}})
    home.install_script("a").parent.mkdir()
    home.install_script("a").touch()
    (home.apps / "a").mkdir(parents=True)
    (home.apps / ".a.lock").write_text("broken    \n")
    assert mark_of(home, "the last install of a did not finish") == "warn"


def test_what_is_only_unusual(home: Home) -> None:
    entry = {"type": "webapi", "exec": "tool --port {port}", "port": 50000}
    jsonfile.write(home.services, {"a": entry})
    (home.apps / "a").mkdir(parents=True)
    assert (
        found(home).get(
            "apps/a: a: it has no venv/ of its own, which is right for a plain binary only"
        )
        == "note"
    )
    assert CliRunner().invoke(cli.commands, ["doctor"]).output.count("note  apps/a: ") == 1


CARD = Gpu(0, "RTX 3060", 12288, 12000)


@pytest.mark.parametrize(
    ("gpus", "words", "mark"),
    [
        (None, "driver does not answer", "fail"),
        ((), "no NVIDIA GPU", "warn"),
        ((CARD,), "big declares 40 GB", "warn"),
    ],
)
def test_gpu(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    gpus: tuple[Gpu, ...] | None,
    words: str,
    mark: str,
) -> None:
    class Probe:
        def read(self, _declared: object) -> Memory:
            return Memory(gpus, 32768, 16384)

    monkeypatch.setattr("onegai.memory.probe.machine_probe", Probe)
    big = {"type": "webapi", "exec": "x", "port": 50000, "vram": 40}
    jsonfile.write(home.services, {"big": big})
    assert mark_of(home, words) == mark


def test_pretended_gpu(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEGAI_FAKE_GPU", "12")
    assert mark_of(home, "pretended") == "warn"
    monkeypatch.setenv("ONEGAI_FAKE_GPU", "lots")
    assert mark_of(home, "ONEGAI_FAKE_GPU") == "fail"


def test_little_room(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, mark in ((1 << 20, "fail"), (5 << 30, "warn"), (50 << 30, "ok")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda _path, usage=usage: usage)
        [finding] = doctor.disk(home)
        assert finding.mark == mark


def test_programs(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ONEGAI_UV", raising=False)
    assert [item.mark for item in doctor.programs(home)] == ["warn", "fail", "fail"]
    monkeypatch.setenv("ONEGAI_UV", "/nosuch/uv")
    assert next(iter(doctor.programs(home))).mark == "fail"
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    monkeypatch.delenv("ONEGAI_UV")
    assert next(iter(doctor.programs(home))) == doctor.Finding("ok", f"uv is {uv}")


def test_python_and_wsl(home: Home) -> None:
    assert [doctor.python(v).mark for v in ((3, 10), (3, 11), (3, 14), (3, 15))] == [
        "warn",
        "ok",
        "ok",
        "warn",
    ]
    assert list(doctor.wsl(home, "6.1.0-generic")) == []
    marks = [item.mark for item in doctor.wsl(Home(Path("/mnt/c/OneGAI")), "5.15-microsoft-WSL2")]
    assert marks[:2] == ["ok", "fail"]
