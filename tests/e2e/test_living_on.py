"""Services that outlive OneGAI: it was killed, or told to let them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from harness import ROOT, Server, alive, fake, until, with_handles

MakeServer = Callable[..., Server]


def killed(server: Server) -> None:
    """kill -9."""
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.process = None


def pid_of(server: Server, app: str) -> int:
    answer = server.post(f"/api/{app}/main", {})
    assert answer.status == 200, answer.body
    return server.service(app)["pid"]


def started(make_server: MakeServer, services: dict[str, Any], **environment: str) -> Server:
    server = make_server(services)
    with_handles(server, *services)
    server.environment |= environment
    return server.start()


def test_a_killed_server_s_service_goes_on_with_the_next(make_server: MakeServer) -> None:
    server = started(make_server, {"voice": fake("ready")})
    pid = pid_of(server, "voice")
    killed(server)
    assert alive(pid)
    server.start()
    # It is there before anybody calls it.
    service = until(lambda: (s := server.service("voice"))["state"] == "ready" and s)
    assert (service["pid"], service["leases"]) == (pid, 0)
    assert pid_of(server, "voice") == pid
    # Its log goes on, too, and its end is noticed.
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.service("voice")["state"] == "failed")
    assert pid_of(server, "voice") != pid
    server.post("/service/stop", {"app": "voice"})
    server.stop()


def test_it_is_stopped_like_any_other(make_server: MakeServer) -> None:
    server = started(make_server, {"voice": fake("ready", "--ignore-term", stop_timeout=0.3)})
    pid = pid_of(server, "voice")
    killed(server)
    server.start()
    assert server.post("/service/stop", {"app": "voice"}).status == 200
    assert server.service("voice")["state"] == "stopped"
    assert not alive(pid)
    assert not list((server.home / "data" / "processes").glob("*"))
    server.stop()


def test_a_call_right_after_the_start_waits_for_it(make_server: MakeServer) -> None:
    server = started(make_server, {"voice": fake("slow", "--delay", "0.2")})
    pid = pid_of(server, "voice")
    killed(server)
    server.start()
    assert pid_of(server, "voice") == pid
    server.stop()


def test_its_memory_counts(make_server: MakeServer) -> None:
    apps = {"chat": fake("ready", vram=7), "image": fake("ready", vram=8)}
    server = started(make_server, apps, ONEGAI_FAKE_GPU="12")
    pid = pid_of(server, "chat")
    killed(server)
    server.start()
    until(lambda: server.service("chat")["state"] == "ready")
    status = server.get("/service/status").result
    assert status["memory"]["gpus"][0]["free"] == 5 * 1024
    assert server.service("chat")["gpu"] == 0
    plan = server.get("/service/plan?app=image").result
    assert (plan["action"], plan["stop"]) == ("evict", ["chat"])
    assert server.post("/api/image/main", {}).status == 200
    assert not alive(pid)
    server.stop()


@pytest.mark.parametrize("mode", ["same", "session"])
def test_what_a_launcher_has_left_goes_on_with_the_next(make_server: MakeServer, mode: str) -> None:
    server = started(make_server, {"voice": fake("fork", "--mode", mode)})
    first = pid_of(server, "voice")
    real = ask(server.service("voice")["port"], "/pid", "GET")["pid"]
    until(lambda: server.service("voice")["pid"] == real)
    assert "could not go on" not in server.log()
    killed(server)
    server.start()
    until(lambda: server.service("voice")["state"] == "ready")
    assert pid_of(server, "voice") == real
    # Its end is noticed, and it is stopped like any other.
    os.kill(real, signal.SIGKILL)
    until(lambda: server.service("voice")["state"] == "failed")
    assert pid_of(server, "voice") not in (first, real)
    server.post("/service/stop", {"app": "voice"})
    server.stop()


def change_exec(server: Server) -> None:
    services = json.loads((server.home / "services.json").read_text())
    services["voice"]["env"] = {"MODEL": "another"}
    server.write("services.json", services)


def remove_entry(server: Server) -> None:
    server.write("services.json", {"other": fake("ready")})


def switch_off(server: Server) -> None:
    services = json.loads((server.home / "services.json").read_text())
    services["voice"]["active"] = 0
    server.write("services.json", services)


def lose_note(server: Server) -> None:
    (server.home / "data" / "processes" / "voice.json").unlink()


def break_note(server: Server) -> None:
    server.write("data/processes/voice.json", "{")


def another_boot(server: Server) -> None:
    path = server.home / "data" / "processes" / "voice.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))


@pytest.mark.parametrize(
    "change", [change_exec, remove_entry, switch_off, lose_note, break_note, another_boot]
)
def test_what_cannot_go_on_is_ended(
    make_server: MakeServer, change: Callable[[Server], None]
) -> None:
    server = started(make_server, {"voice": fake("ready")})
    pid = pid_of(server, "voice")
    killed(server)
    change(server)
    server.start()
    until(lambda: not alive(pid))
    if "voice" in json.loads((server.home / "services.json").read_text()):
        until(lambda: server.service("voice")["state"] == "stopped")
        assert server.service("voice")["last_stop"]["reason"] == "left_over"
        if change is not switch_off:
            assert pid_of(server, "voice") != pid
    server.stop()


def test_a_start_that_was_cut_short_is_ended(make_server: MakeServer) -> None:
    server = started(make_server, {"slow": fake("slow", "--delay", "30")})
    server.post("/service/start", {"app": "slow", "wait": False})
    pid = until(lambda: server.service("slow")["pid"])
    killed(server)
    server.start()
    until(lambda: not alive(pid))
    until(lambda: server.service("slow")["state"] == "stopped")
    server.stop()


def test_what_a_dead_service_has_left_is_ended(make_server: MakeServer) -> None:
    server = started(make_server, {"voice": fake("ready")})
    pid = pid_of(server, "voice")
    port = server.service("voice")["port"]
    worker = ask(port, "/spawn?mode=session&ignore_term=1")["pid"]
    killed(server)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    assert alive(worker)
    server.start()
    until(lambda: not alive(worker))
    assert pid_of(server, "voice") != pid
    server.stop()


def ask(port: int, path: str, method: str = "POST") -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def test_another_process_with_its_pid_is_left_alone(make_server: MakeServer) -> None:
    server = started(make_server, {"voice": fake("ready")})
    pid = pid_of(server, "voice")
    path = server.home / "data" / "processes" / "voice.json"
    note = json.loads(path.read_text())
    server.stop()
    assert not alive(pid)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**note, "pid": os.getpid()}))
    server.start()
    assert server.service("voice")["state"] == "stopped"
    assert not path.exists()
    assert pid_of(server, "voice") != os.getpid()
    server.stop()


def test_a_parked_one_is_ended(make_server: MakeServer, tmp_path: Path) -> None:
    release = {"post": "/free", "json": {}}
    apps = {
        "image": fake("vram", "--use", str(tmp_path), vram=8, release=release),
        "chat": fake("ready", vram=8),
    }
    server = started(make_server, apps, ONEGAI_FAKE_GPU="12")
    pid = pid_of(server, "image")
    pid_of(server, "chat")
    assert server.service("image")["state"] == "parked"
    killed(server)
    server.start()
    until(lambda: not alive(pid))
    until(lambda: server.service("chat")["state"] == "ready")
    server.stop()


def test_services_live_on_when_told_to(make_server: MakeServer) -> None:
    server = started(make_server, {"voice": fake("ready"), "slow": fake("slow", "--delay", "30")})
    config = json.loads((server.home / "config.json").read_text())
    server.edit("config.json", {**config, "stop_children": 0})
    pid = pid_of(server, "voice")
    server.post("/service/start", {"app": "slow", "wait": False})
    starting = until(lambda: server.service("slow")["pid"])
    assert server.process is not None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    server.process = None
    # What is not ready is of no use to the next one.
    assert alive(pid)
    assert not alive(starting)
    assert f"voice: lives on, pid {pid}" in server.log()
    server.start()
    assert pid_of(server, "voice") == pid
    server.edit("config.json", config)
    server.stop()
    assert not alive(pid)


def test_without_a_server_they_can_be_seen_and_stopped(make_server: MakeServer) -> None:
    server = started(make_server, {"voice": fake("ready"), "chat": fake("ready")})
    pids = {app: pid_of(server, app) for app in ("voice", "chat")}
    killed(server)
    seen = onegai(server, "ps")
    assert seen.returncode == 3
    assert "these live on: chat and voice" in seen.stderr
    assert onegai(server, "stop", "voice").stdout == "voice is stopped\n"
    assert (alive(pids["voice"]), alive(pids["chat"])) == (False, True)
    assert onegai(server, "stop", "voice").stdout == "nothing runs\n"
    assert onegai(server, "stop", "--all").stdout == "chat is stopped\n"
    assert not alive(pids["chat"])
    assert "no server runs for this folder: start it" in onegai(server, "ps").stderr


def onegai(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [sys.executable, "-m", "onegai", *arguments],
        env={**os.environ, "ONEGAI_HOME": str(server.home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
