"""``onegai remove`` undoes ``onegai new``; and what of apps is left without an entry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from harness import ROOT, Server, alive, copy_install, fake

Make = Callable[..., Server]


def run(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [sys.executable, "-m", "onegai", *words],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(server.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and "data" not in path.relative_to(folder).parts
    }


def content(server: Server, name: str) -> dict[str, Any]:
    return dict(json.loads((server.home / name).read_text()))


@pytest.fixture
def server(make_server: Make) -> Server:
    """A home with a shipped app, ``hibari``, and none of one's own."""
    return make_server({"hibari": {"type": "inline"}})


def test_remove_undoes_new_and_keeps_a_copy(server: Server) -> None:
    mine = {"_": "mine", "hibari": {"vram": 1}}
    server.write("services.local.json", json.dumps(mine, indent=2) + "\n")
    before = files(server.home)
    made = run(server, "new", "banner", "--type", "library", "--package", "pyfiglet==1.0.4")
    assert made.returncode == 0, made.stderr
    server.write("run/run_banner.json", "{}")
    server.write("config.json", content(server, "config.json") | {"apps": {"banner": {"vram": 2}}})
    new = {name: text for name, text in files(server.home).items() if name not in before}
    removed = run(server, "remove", "banner")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert {**files(server.home), "config.json": ""} == {**before, "config.json": ""}
    assert content(server, "config.json")["apps"] == {}
    *_, copy = removed.stdout.splitlines()
    kept = server.home / copy.removeprefix("a copy is in ")
    assert kept.stat().st_mode & 0o777 == 0o700
    texts = {str(path.relative_to(kept)): path.read_text() for path in kept.rglob("*.*")}
    entries = json.loads(texts.pop("entries.json"))
    assert texts == new
    assert entries["config.json"] == {"apps": {"banner": {"vram": 2}}}
    assert entries["services.local.json"]["banner"]["type"] == "webapi"
    assert run(server, "new", "banner", "--type", "library", "--package", "x").returncode == 0


def test_a_folder_of_run_goes_too(server: Server, tmp_path: Path) -> None:
    server.write("func/mine.py", "")
    server.write("run/run_mine.voices/ja/one", "voice")
    server.write("run/run_mine2.py", "another app's")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (server.home / "run/run_mine.linked").symlink_to(tmp_path / "elsewhere")
    removed = run(server, "remove", "mine")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert [path.name for path in (server.home / "run").iterdir()] == ["run_mine2.py"]
    kept = server.home / removed.stdout.splitlines()[-1].removeprefix("a copy is in ")
    assert (kept / "run/run_mine.voices/ja/one").read_text() == "voice"
    assert (kept / "run/run_mine.linked").is_symlink()
    assert (tmp_path / "elsewhere" / "kept").exists()


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("hibari", "comes with OneGAI"),
        ("nosuch", "there is no app 'nosuch' of yours"),
        ("../cli", "is no name of an app"),
        ("mine", "is installed, or has data"),
    ],
)
def test_what_is_not_removed(server: Server, app: str, said: str) -> None:
    server.write("cli.py", "mine")
    server.write("services.local.json", {"mine": {"type": "inline"}})
    server.write("func/mine.py", "")
    server.write("apps/mine/models/voice", "precious")
    before = files(server.home)
    refused = run(server, "remove", app)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert files(server.home) == before


def test_with_purge_the_app_goes_too_and_its_service_stops(server: Server) -> None:
    server.write("services.local.json", {"mine": fake("ready", data=["models"])})
    server.write("func/mine.py", "")
    server.write("apps/mine/models/voice", "precious")
    server.start()
    pid = server.post("/service/start", {"app": "mine"}).result["pid"]
    removed = run(server, "remove", "mine", "--purge")
    assert removed.returncode == 0, removed.stderr
    assert not (server.home / "apps/mine").exists()
    assert not alive(pid)
    assert "mine" not in [app["app"] for app in server.get("/app/list").result]


def test_a_folder_without_an_entry_is_listed_and_goes_with_purge(server: Server) -> None:
    copy_install(server.home)
    server.write("apps/old/model", "x" * (2 << 20))
    (server.home / "apps/old.by-hand").mkdir()
    server.start()
    listed = {app["app"]: app for app in server.get("/app/list").result}
    assert listed.keys() == {"hibari", "old"}
    assert (listed["old"]["state"], listed["old"]["installed"]) == ("absent", False)
    assert listed["old"]["size"] == 2
    assert "entry of old is gone" in listed["old"]["problems"][0]["reason"]
    assert "old" in run(server, "du").stdout
    refused = server.post("/app/uninstall", {"app": "old", "wait": True})
    assert (refused.status, refused.detail["code"]) == (409, "entry_gone")
    gone = run(server, "uninstall", "old", "--purge")
    assert gone.returncode == 0, gone.stderr
    assert not (server.home / "apps/old").exists()
    for app in ("old", "old.by-hand", "../apps", "..", ""):
        answer = server.post("/app/uninstall", {"app": app, "purge": True, "wait": True})
        assert answer.detail["code"] == "unknown_app"
    assert (server.home / "apps/old.by-hand").exists()
