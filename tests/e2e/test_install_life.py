"""Update and uninstall over HTTP: what comes back, what is kept, what excludes what."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from harness import Server, copy_install, fake, strays, until

Make = Callable[..., Server]
MIB = 1 << 20

RECIPE = """#!/usr/bin/env bash
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
install_begin a
step() { echo "at $1"; until [[ -e ../go || -e ../go-$1 ]]; do sleep 0.02; done; }
step 1
mkdir -p a/venv a/models
step 2
cat ../version >a/venv/version
step 3
cat ../version >>a/models/list
step 4
if [[ -e ../bad ]]; then echo 'no such wheel' >&2; exit 3; fi
head -c 3M /dev/urandom >a/model
step 5
install_end
step 6
"""
STEPS = range(1, 7)

HOLDS = """
import time
from pathlib import Path
from onegai.sdk import service

me = service("a")


def main(args: dict) -> int:
    with me.lease():
        while not Path(args["until"]).exists():
            time.sleep(0.01)
    return 1
"""


def with_recipe(make_server: Make, **keys: Any) -> Server:
    server = make_server({"a": fake("ready", data=["models"], **keys)})
    copy_install(server.home)
    server.write("install/a.sh", RECIPE)
    return server


def installed(make_server: Make, **keys: Any) -> Server:
    """A server with version one."""
    server = with_recipe(make_server, **keys).start()
    version(server, "one")
    server.write("go", "")
    assert server.post("/app/install", {"app": "a", "wait": True}).status == 200
    (server.home / "go").unlink()
    return server


def version(server: Server, name: str) -> None:
    server.write("version", f"{name}\n")


def app(server: Server) -> dict[str, Any]:
    return dict(server.get("/app/list").result[0])


def files(server: Server) -> dict[str, str]:
    root = server.home / "apps/a"
    return {
        str(path.relative_to(root)): path.read_bytes().hex()
        if path.name == "model"
        else path.read_text()
        for path in root.rglob("*")
        if path.is_file()
    }


def beside(server: Server) -> set[str]:
    """What is in apps/ besides the app and its lock."""
    return {path.name for path in (server.home / "apps").iterdir()} - {"a", ".a.lock"}


def at(server: Server, job: str, step: int) -> None:
    """Let it run up to a step, and wait there."""
    for before in range(1, step):
        server.write(f"go-{before}", "")
    until(lambda: f"at {step}" in server.get(f"/job/{job}").result["log"], what=f"step {step}")


# --- update ----------------------------------------------------------------------------------


def test_update_installs_anew_and_keeps_data(lend: Make) -> None:
    server = installed(lend)
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"
    first = server.service("a")["pid"]
    (server.home / "apps/a/old-file").touch()
    version(server, "two")
    job = server.post("/app/update", {"app": "a"}).result["id"]
    at(server, job, 1)
    assert server.service("a")["state"] == "installing"
    assert server.post("/service/start", {"app": "a"}).detail["code"] == "installing"
    assert not strays_of_service(server)
    server.write("go", "")
    done = server.get(f"/job/{job}/events").body.decode()
    assert '"state":"done"' in done
    job = server.get(f"/job/{job}").result
    assert (job["kind"], job["log"][-1]) == ("update", "==> a is updated")
    now = files(server)
    assert (now["venv/version"], now["models/list"]) == ("two\n", "one\ntwo\n")
    assert "old-file" not in now
    assert beside(server) == set()
    assert server.post("/service/start", {"app": "a"}).result["pid"] != first


def strays_of_service(server: Server) -> list[str]:
    found = []
    for line in strays(server.home):
        with suppress(OSError):  # it has ended meanwhile
            if b"ONEGAI_ROLE=service" in Path(f"/proc/{line.split()[0]}/environ").read_bytes():
                found.append(line)
    return found


def test_failed_update_leaves_the_app_that_worked(lend: Make) -> None:
    server = installed(lend)
    before = files(server)
    version(server, "two")
    server.write("bad", "")
    server.write("go", "")
    answer = server.post("/app/update", {"app": "a", "wait": True})
    assert (answer.status, answer.detail["code"], answer.detail["src"]) == (
        500,
        "update_failed",
        "a",
    )
    assert "as it was before" in answer.detail["hint"]
    assert "no such wheel" in answer.detail["log"]
    assert "it is as it was before" in answer.detail["log"][-1]
    now = files(server)
    assert now.pop("models/list") == "one\ntwo\n"  # data belongs to no version
    before.pop("models/list")
    assert now == before
    assert beside(server) == set()
    assert (server.home / "apps/.a.lock").read_text() == ""
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"
    (server.home / "bad").unlink()
    assert server.post("/app/update", {"app": "a", "wait": True}).result["state"] == "done"
    assert files(server)["venv/version"] == "two\n"


@pytest.mark.parametrize("how", ["cancel", "kill -9 of all"])
def test_an_update_ended_at_any_line_leaves_the_app_that_worked(
    make_server: Make, how: str
) -> None:
    server = installed(make_server)
    before = {name: text for name, text in files(server).items() if name != "models/list"}
    version(server, "two")
    for step in STEPS:
        job = server.post("/app/update", {"app": "a"}).result["id"]
        at(server, job, step)
        if how == "cancel":
            assert server.request("DELETE", f"/job/{job}").result["state"] == "cancelled"
        else:
            assert server.process is not None
            for pid in [
                server.process.pid,
                *(int(line.split()[0]) for line in strays(server.home)),
            ]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.process.wait()
            server.start()
        now = files(server)
        assert now.pop("models/list").startswith("one\n")
        assert now == before, step
        assert beside(server) == set()
        assert app(server)["state"] == "stopped"
        for number in STEPS:
            (server.home / f"go-{number}").unlink(missing_ok=True)
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"


def test_killed_script_alone_is_noticed_and_undone(lend: Make) -> None:
    server = installed(lend)
    before = files(server)
    job = server.post("/app/update", {"app": "a"}).result["id"]
    at(server, job, 2)
    for line in strays(server.home):
        if "install/a.sh" in line:
            os.kill(int(line.split()[0]), signal.SIGKILL)
    until(lambda: server.get(f"/job/{job}").result["state"] == "failed")
    assert server.get(f"/job/{job}").result["error"]["code"] == "update_failed"
    assert files(server) == before


def test_update_waits_for_the_calls_in_flight(make_server: Make) -> None:
    server = installed(make_server)
    server.write("func/a.py", HOLDS)
    server.stop()
    server.start()
    server.write("go", "")
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(server.post, "/api/a/main", {"until": str(server.home / "release")})
        until(lambda: server.service("a")["leases"] == 1)
        done = pool.submit(server.post, "/app/update", {"app": "a", "wait": True})
        until(lambda: server.service("a")["state"] == "stopping")
        assert (server.home / "apps/a/.onegai-installed").exists()
        server.write("release", "")
        assert call.result().status == 200
        assert done.result().result["state"] == "done"


def test_what_cannot_be_updated(lend: Make) -> None:
    server = with_recipe(lend).start()
    assert server.post("/app/update", {"app": "a"}).detail["code"] == "not_installed"
    (server.home / "apps/a").mkdir(parents=True)
    (server.home / "apps/a/half").touch()
    assert server.post("/app/update", {"app": "a"}).detail["code"] == "install_broken"
    assert server.post("/app/update", {"app": "x"}).detail["code"] == "unknown_app"


def test_an_update_needs_room_for_both(lend: Make) -> None:
    server = installed(lend)
    server.edit("services.local.json", {"a": {"disk": 10_000_000}})
    before = files(server)
    answer = server.post("/app/update", {"app": "a", "wait": True})
    assert answer.detail["code"] == "update_failed"
    assert any("not enough disk space" in line for line in answer.detail["log"])
    assert files(server) == before


# --- uninstall -------------------------------------------------------------------------------


def test_uninstall_stops_removes_and_says_what_is_free(lend: Make, tmp_path: Path) -> None:
    server = installed(lend)
    (server.home / "apps/a/cached").write_bytes(os.urandom(2 * MIB))
    (tmp_path / "cache").hardlink_to(server.home / "apps/a/cached")
    listed = app(server)
    assert (listed["size"], listed["shared"]) == (5, 2)
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"
    answer = server.post("/app/uninstall", {"app": "a", "wait": True})
    assert answer.result["kind"] == "uninstall"
    assert answer.result["result"] == {"app": "a", "freed": 3, "kept": ["models"]}
    assert not strays_of_service(server)
    assert files(server) == {"models/list": "one\n"}
    listed = app(server)
    assert (listed["state"], listed["installed"], listed["problems"]) == ("absent", False, [])
    assert listed["size"] == 0
    assert server.post("/service/start", {"app": "a"}).detail["code"] == "not_installed"
    server.write("go", "")
    version(server, "two")
    assert server.post("/app/install", {"app": "a", "wait": True}).result["state"] == "done"
    assert files(server)["models/list"] == "one\ntwo\n"


def test_uninstall_with_purge_and_again(lend: Make) -> None:
    server = installed(lend)
    answer = server.post("/app/uninstall", {"app": "a", "purge": True, "wait": True})
    assert answer.result["result"] == {"app": "a", "freed": 3, "kept": []}
    assert not (server.home / "apps/a").exists()
    again = server.post("/app/uninstall", {"app": "a", "wait": True})
    assert again.result["result"] == {"app": "a", "freed": 0, "kept": []}


def test_uninstall_clears_a_broken_install(lend: Make) -> None:
    server = with_recipe(lend).start()
    version(server, "one")
    for step in STEPS:
        job = server.post("/app/install", {"app": "a"}).result["id"]
        at(server, job, step)
        assert server.request("DELETE", f"/job/{job}").result["state"] == "cancelled"
        assert app(server)["state"] == "failed", step
        assert server.post("/service/start", {"app": "a"}).detail["code"] == "install_broken"
        assert server.post("/app/uninstall", {"app": "a", "wait": True}).status == 200
        assert app(server)["state"] == "absent"
        for number in STEPS:
            (server.home / f"go-{number}").unlink(missing_ok=True)


def test_uninstall_goes_through_no_link(lend: Make, tmp_path: Path) -> None:
    server = installed(lend)
    elsewhere = tmp_path / "elsewhere"
    (server.home / "apps/a").rename(elsewhere)
    (server.home / "apps/a").symlink_to(elsewhere)
    answer = server.post("/app/uninstall", {"app": "a", "wait": True})
    assert (answer.status, answer.detail["code"]) == (409, "not_removable")
    assert "symbolic link" in answer.result
    assert (elsewhere / ".onegai-installed").exists()
    assert app(server)["installed"]


def test_uninstall_waits_for_no_lock_of_others(lend: Make) -> None:
    """Somebody installs by hand."""
    server = installed(lend)
    with (server.home / "apps/.a.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = server.post("/app/uninstall", {"app": "a", "wait": True})
    assert (answer.status, answer.detail["code"]) == (409, "installing")
    assert app(server)["installed"]


def test_cancel_of_an_uninstall_that_waits_for_calls_changes_nothing(make_server: Make) -> None:
    server = installed(make_server)
    server.write("func/a.py", HOLDS)
    server.stop()
    server.start()
    before = files(server)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, "/api/a/main", {"until": str(server.home / "release")})
        until(lambda: server.service("a")["leases"] == 1)
        job = server.post("/app/uninstall", {"app": "a"}).result["id"]
        until(lambda: server.service("a")["state"] == "stopping")
        assert server.request("DELETE", f"/job/{job}").result["state"] == "cancelled"
        server.write("release", "")
        assert call.result().status == 200
    assert files(server) == before
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"


# --- one at a time ---------------------------------------------------------------------------


def test_changes_of_one_app_exclude_each_other(lend: Make) -> None:
    server = installed(lend)
    job = server.post("/app/update", {"app": "a"}).result["id"]
    at(server, job, 1)
    for path in ("/app/install", "/app/uninstall"):
        answer = server.post(path, {"app": "a"})
        assert (answer.status, answer.detail["code"]) == (409, "busy"), answer.body
        assert answer.detail["job"] == job
        assert job in answer.detail["hint"]
    assert server.post("/app/update", {"app": "a"}).result["id"] == job
    server.write("go", "")
    with server.client() as client:
        list(client.follow(client.job(job)))
        list(client.follow(client.update("a")))
        done = client.uninstall("a", purge=True)
        list(client.follow(done))
        assert client.job(done.id).result["kept"] == []
    assert app(server)["state"] == "absent"


# --- by hand ---------------------------------------------------------------------------------


def test_an_app_installed_by_hand_runs_with_a_remark(make_server: Make) -> None:
    server = with_recipe(make_server).start()
    (server.home / "apps/a/venv").mkdir(parents=True)
    listed = app(server)
    assert (listed["state"], listed["installed"], listed["by_hand"]) == ("stopped", True, True)
    (remark,) = listed["problems"]
    assert remark["remark"]
    assert "by hand" in remark["reason"]
    assert server.get("/service/status").result["problems"] == []
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"
    assert server.post("/app/uninstall", {"app": "a", "wait": True}).status == 200
    assert app(server)["state"] == "absent"


def test_the_next_status_shows_what_somebody_did_by_hand(lend: Make) -> None:
    server = with_recipe(lend).start()
    marker = server.home / "apps/a/.onegai-installed"
    assert server.service("a")["state"] == "absent"
    marker.parent.mkdir(parents=True)
    (marker.parent / "file").touch()
    assert server.service("a")["state"] == "failed"
    marker.touch()
    assert server.service("a")["state"] == "stopped"
    with (server.home / "apps/.a.lock").open("w") as lock:
        marker.unlink()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert server.service("a")["state"] == "installing"
    shutil.rmtree(marker.parent)
    assert server.service("a")["state"] == "absent"
    (server.home / "install/a.sh").unlink()
    assert server.service("a")["state"] == "stopped"


def test_a_service_without_a_venv_gets_a_remark(lend: Make) -> None:
    server = installed(lend)
    server.edit("func/a.py", "def main(args): return 1")
    assert app(server)["problems"] == []
    (server.home / "apps/a/venv/version").unlink()
    (server.home / "apps/a/venv").rmdir()
    (remark,) = app(server)["problems"]
    assert (remark["remark"], remark["file"]) == (True, "apps/a")
    assert "no venv/" in remark["reason"]
