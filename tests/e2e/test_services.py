"""Services: real servers, real children, every unhappy way a child can behave."""

from __future__ import annotations

import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from harness import FAKES, Server, alive, fake, strays, until, with_handles

Make = Callable[..., Server]


def test_call_starts_the_service_and_the_next_one_finds_it_ready(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    with_handles(server, "a")
    server.start()
    assert server.service("a")["state"] == "stopped"
    answer = server.post("/api/a/main", {"text": "ねこ"})
    assert answer.status == 200
    assert answer.result["path"] == "/echo"
    assert '"text": "ねこ"' in answer.result["body"]
    status = server.service("a")
    assert status["state"] == "ready"
    assert server.post("/api/a/main", {}).status == 200
    assert server.service("a")["pid"] == status["pid"]
    assert server.stop() == 0


def test_concurrent_calls_join_one_start(lend: Make) -> None:
    server = lend({"a": fake("slow", "--delay", "0.6", concurrency=8)})
    with_handles(server, "a")
    server.start()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: server.post("/api/a/main", {"n": number}), range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    assert server.log().count("a: started, pid") == 1


def test_children_see_neither_secrets_nor_our_settings(make_server: Make) -> None:
    server = make_server({"a": fake("ready", env={"MINE": "{app_dir}|{root}|{port}"})})
    server.environment = {"ONEGAI_SECRET": "s3cret", "MY_TOKEN": "s3cret", "HF_HOME": "/hf"}
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def main(args): return me.get('/env').json()\n",
    )
    seen = server.start().post("/api/a/main").result
    assert "s3cret" not in str(seen)
    assert seen["HF_HOME"] == "/hf"
    assert seen["ONEGAI_APP"] == "a"
    assert seen["ONEGAI_HOME"] == str(server.home)
    port = server.service("a")["port"]
    assert seen["MINE"] == f"{server.home}/apps/a|{server.home}|{port}"


def test_early_death_is_a_502_with_its_last_lines(lend: Make) -> None:
    server = lend({"a": fake("crash", "--code", "7")})
    with_handles(server, "a")
    answer = server.start().post("/api/a/main")
    assert answer.status == 502
    assert answer.detail["code"] == "exited_early"
    assert answer.detail["src"] == "a"
    assert "exit status 7" in answer.result
    assert answer.detail["log"][-1] == "RuntimeError: the model is broken"
    assert server.service("a")["state"] == "failed"
    assert "exit status 7" in server.service("a")["reason"]


@pytest.mark.parametrize(
    ("name", "why"),
    [("never", "port {port}"), ("unready", "503")],
)
def test_never_ready_is_a_504_and_leaves_nothing(lend: Make, name: str, why: str) -> None:
    entry = fake(name, start_timeout=0.5, stop_timeout=2)
    server = lend({"a": entry})
    answer = server.start().post("/service/start", {"app": "a"})
    assert answer.status == 504
    assert answer.detail["code"] == "never_ready"
    assert why.format(port=entry["port"]) in answer.result
    until(lambda: server.service("a")["state"] == "failed")
    assert len(strays(server.home)) == 1  # the server itself


def test_log_lines_keep_a_slow_start_alive(lend: Make) -> None:
    server = lend({"a": fake("slow", "--delay", "1.2", start_timeout=0.5)})
    assert server.start().post("/service/start", {"app": "a"}).result["state"] == "ready"


def test_ready_by_a_line_of_the_log(lend: Make) -> None:
    ready = {"log": "^Model loaded"}
    server = lend({"a": fake("logready", "--delay", "0.5", ready=ready)})
    answer = server.start().post("/service/start", {"app": "a"})
    assert answer.result["state"] == "ready"
    assert "Model loaded" in server.get("/service/a/logs").body.decode()


@pytest.mark.parametrize("mode", ["same", "session"])
def test_launcher_that_forks_and_exits_is_still_the_service(lend: Make, mode: str) -> None:
    server = lend({"a": fake("fork", "--mode", mode)})
    with_handles(server, "a")
    server.start()
    assert server.post("/api/a/main", {}).status == 200
    assert server.service("a")["state"] == "ready"
    assert server.post("/service/stop", {"app": "a"}).status == 200
    assert len(strays(server.home)) == 1


@pytest.mark.parametrize("end", [1, 0])
def test_nothing_outlives_the_server(make_server: Make, end: int) -> None:
    """Not even what has left group, session and environment before anybody saw it.

    With ``stop_children`` 0 it may be the part of one that lives on.
    """
    server = make_server({"a": fake("fork", "--mode", "escape")})
    server.environment = {"ONEGAI_STOP_CHILDREN": str(end)}
    server.start().post("/service/start", {"app": "a"})
    assert server.process is not None
    service = server.service("a")["pid"]
    pids = {child.pid for child in psutil.Process(server.process.pid).children()}
    (stray,) = pids - {service}
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    server.process = None
    try:
        assert (alive(stray), alive(service)) == (not end, not end)
    finally:
        for pid in (stray, service):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_an_app_that_closes_its_port_and_lives_is_started_anew(lend: Make) -> None:
    server = lend({"a": fake("ready")})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def main(args): return me.get('/pid').json()['pid']\n"
        "def deaf(args): return me.post('/deaf').json()\n",
    )
    first = server.start().post("/api/a/main", {}).result
    assert server.post("/api/a/deaf", {}).status == 200
    assert alive(first)
    answer = server.post("/api/a/main", {})
    assert (answer.status, answer.detail["code"]) == (502, "died")
    assert str(server.service("a")["port"]) in answer.json["result"]
    assert server.post("/api/a/main", {}).result not in (first, None)
    assert not alive(first)


def test_a_second_ctrl_c_waits_for_no_app(make_server: Make) -> None:
    server = make_server(
        {name: fake("ready", "--ignore-term", stop_timeout=600) for name in ("a", "b")}
    ).start()
    for name in ("a", "b"):
        assert server.post("/service/start", {"app": name}).status == 200
    process = server.process
    assert process is not None
    process.send_signal(signal.SIGINT)
    until(lambda: "stopping the services" in server.log())
    assert server.stop(signal.SIGINT) == 0
    assert "b: killing it" in server.log()


def test_port_of_a_stranger_is_a_409_naming_it(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    port = fake("ready")["port"]
    server.write("services.local.json", {"a": {"port": port}})
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        answer = server.start().post("/service/start", {"app": "a"})
    assert answer.status == 409
    assert answer.detail["code"] == "port_taken"
    assert f"pid {os.getpid()} " in answer.result
    assert server.post("/service/start", {"app": "a"}).status == 200


@pytest.mark.parametrize("name", ["never", "slow"])
def test_answer_of_a_stranger_is_not_our_readiness(lend: Make, name: str) -> None:
    """Somebody else takes its port while it starts: one that never listens, one that would."""
    entry = fake(name)
    server = lend({"a": entry}).start()
    answers: list[int] = []
    call = threading.Thread(
        target=lambda: answers.append(server.post("/service/start", {"app": "a"}).status)
    )
    call.start()
    until(lambda: server.service("a")["pid"])
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", entry["port"]))
        stranger.listen()
        call.join(60)
    assert answers == [409]


def test_a_stranger_on_the_port_of_one_that_died_gets_no_calls(lend: Make) -> None:
    server = lend({"a": fake("ready")})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def main(args): return me.post('/echo').json()\n"
        "def die(args): return me.post('/die').json()\n",
    )
    assert server.start().post("/api/a/main", {}).status == 200
    assert server.post("/api/a/die", {}).detail["code"] == "died"
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", server.service("a")["port"]))
        stranger.listen()
        stranger.settimeout(0)
        answer = server.post("/api/a/main", {})
        assert (answer.status, answer.detail["code"]) == (409, "port_taken")
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert server.post("/api/a/main", {}).status == 200


@pytest.mark.parametrize(
    ("change", "code", "status", "words"),
    [
        ({"exec": "venv/bin/python app.py"}, "exec_not_found", 500, "venv/bin/python"),
        (
            {"exec": "no-such-program-here --port {port}"},
            "exec_not_found",
            500,
            "no-such-program-here",
        ),
        ({"exec": "./services.json"}, "exec_not_found", 500, "services.json"),
        ({"exec": "cd x && python app.py"}, "broken_entry", 409, "run/run_a.sh"),
        ({"cwd": "nowhere"}, "exec_not_found", 500, "nowhere"),
        ({"vram": 8}, "no_gpu", 503, "8.0 GB"),
        ({"ram": 4000}, "too_large", 409, "4000.0 GB"),
    ],
)
def test_start_that_cannot_work(
    make_server: Make, change: dict[str, object], code: str, status: int, words: str
) -> None:
    server = make_server({"a": fake("ready", **change)})
    server.environment = {"ONEGAI_FAKE_GPU": ""}
    answer = server.start().post("/service/start", {"app": "a"})
    assert (answer.status, answer.detail["code"]) == (status, code)
    assert words in answer.result
    assert answer.detail["hint"]


def test_vram_refusal_has_the_numbers_and_enough_starts(lend: Make) -> None:
    server = lend({"big": fake("ready", vram=13), "fits": fake("ready", vram=11.5)})
    server.start()
    answer = server.post("/service/start", {"app": "big"})
    assert (answer.status, answer.detail["code"]) == (409, "too_large")
    assert ("13.0 GB" in answer.result, "12.0 GB" in answer.result) == (True, True)
    assert (answer.detail["need"], answer.detail["free"]) == (13 * 1024, 12 * 1024)
    assert server.post("/service/start", {"app": "fits"}).status == 200
    memory = server.get("/service/status").result["memory"]
    assert memory["fake"] is True
    assert memory["gpus"][0]["total"] == 12 * 1024


def test_death_in_a_call_is_a_502_at_once_and_the_next_call_starts_it(lend: Make) -> None:
    server = lend({"a": fake("ready")})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def die(args): return me.post('/die', params={'code': 3}).json()\n"
        "def pid(args): return me.get('/pid').json()\n",
    )
    server.start()
    first = server.post("/api/a/pid").result["pid"]
    answer = server.post("/api/a/die")
    assert (answer.status, answer.detail["code"]) == (502, "died")
    assert "exit status 3" in answer.result
    assert server.post("/api/a/pid").result["pid"] != first


def test_service_started_by_hand_is_restarted_after_a_crash(lend: Make) -> None:
    server = lend({"a": fake("ready"), "b": fake("ready", restart="never")})
    server.start()
    for app in "ab":
        pid = server.post("/service/start", {"app": app}).result["pid"]
        os.kill(pid, signal.SIGKILL)
    until(lambda: "restarting in 1 s" in server.log())
    until(lambda: server.service("a")["state"] == "ready")
    assert server.service("b")["state"] == "failed"
    assert "SIGKILL" in server.service("b")["reason"]


def test_a_restart_waits_until_what_the_crash_has_left_is_gone(lend: Make) -> None:
    server = lend({"a": fake("ready", "--ignore-term-grandchild", stop_timeout=2)}).start()
    pid = server.post("/service/start", {"app": "a"}).result["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: "a: stopped" in server.log())
    until(lambda: server.service("a")["state"] == "ready")
    assert server.log().count("a: started") == 2


def test_stop_all_ends_the_waiting_for_a_restart(lend: Make) -> None:
    server = lend({"a": fake("ready"), "b": fake("ready")}).start()

    def crashed(app: str) -> int:
        pid: int = server.post("/service/start", {"app": app}).result["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    crashed("a")
    until(lambda: server.service("a")["state"] == "failed")
    stopped = server.post("/service/stop", {"app": "*"}).result
    assert [item["app"] for item in stopped] == ["a"]
    first = crashed("b")
    until(lambda: server.service("b")["pid"] not in (None, first))
    assert server.service("a")["state"] == "failed"
    assert server.log().count("a: started") == 1


def test_restart_and_stop_are_idempotent(lend: Make) -> None:
    server = lend({"a": fake("ready")}).start()
    first = server.post("/service/start", {"app": "a"}).result
    assert server.post("/service/start", {"app": "a"}).result["pid"] == first["pid"]
    again = server.post("/service/start", {"app": "a", "restart": True}).result
    assert again["state"] == "ready"
    assert again["pid"] != first["pid"]
    for _ in range(2):
        stopped = server.post("/service/stop", {"app": "a"})
        assert stopped.result[0]["state"] == "stopped"


def test_stop_waits_for_the_call_and_force_does_not(lend: Make) -> None:
    server = lend({"a": fake("ready")})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def nap(args): return me.post('/sleep', params={'s': args['s']}).json()\n",
    )
    server.start()
    server.post("/service/start", {"app": "a"})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, "/api/a/nap", {"s": 0.7})
        until(lambda: server.service("a")["leases"] == 1)
        server.post("/service/stop", {"app": "a"})
        assert call.done() or call.result().status == 200
        assert call.result().status == 200

        call = pool.submit(server.post, "/api/a/nap", {"s": 50})
        until(lambda: server.service("a")["leases"] == 1)
        server.post("/service/stop", {"app": "a", "force": True})
        assert call.result().status == 502
        assert call.result().detail["code"] == "died"
        assert "by force" in call.result().json["result"]


def test_an_app_that_dies_while_a_stop_waits_for_its_calls(lend: Make) -> None:
    server = lend({"a": fake("ready")})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def nap(args): return me.post('/sleep', params={'s': '50'}).json()\n",
    )
    server.start()
    server.post("/service/start", {"app": "a"})
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(server.post, "/api/a/nap", {})
        until(lambda: server.service("a")["leases"] == 1)
        stop = pool.submit(server.post, "/service/stop", {"app": "a"})
        until(lambda: server.service("a")["state"] == "stopping")
        os.kill(server.service("a")["pid"], signal.SIGKILL)
        assert call.result().detail["code"] == "died"
        assert stop.result().result[0]["state"] == "stopped"


def test_stop_during_a_start_fails_the_waiting_call(lend: Make) -> None:
    server = lend({"a": fake("never")})
    with_handles(server, "a")
    server.start()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, "/api/a/main", {})
        until(lambda: server.service("a")["pid"])
        assert server.post("/service/stop", {"app": "a"}).status == 200
        assert (call.result().status, call.result().detail["code"]) == (409, "stopped")
    assert server.service("a")["state"] == "stopped"


def test_stop_all(lend: Make) -> None:
    server = lend({name: fake("ready") for name in ("a", "b", "c")}).start()
    for name in ("a", "b"):
        server.post("/service/start", {"app": name})
    stopped = server.post("/service/stop", {"app": "*"})
    assert sorted(item["app"] for item in stopped.result) == ["a", "b"]
    assert len(strays(server.home)) == 1


@pytest.mark.parametrize("mode", ["child", "session", "stranger"])
def test_stop_ends_what_ignores_it_and_what_it_started(lend: Make, mode: str) -> None:
    server = lend({"a": fake("ready", "--ignore-term", stop_timeout=0.3)})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def spawn(args): return me.post('/spawn', params=args).json()\n",
    )
    server.start()
    pid = server.post("/api/a/spawn", {"mode": mode, "ignore_term": 1}).result["pid"]
    assert _alive(pid)
    if mode == "stranger":
        assert server.service("a")["rss"] > 0
        assert server.process is not None
        until(lambda: _parent(pid) == server.process.pid, what="its adoption by the subreaper")
    server.post("/service/stop", {"app": "a"})
    assert not _alive(pid)
    assert not Path(f"/proc/{pid}").exists()
    assert len(strays(server.home)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_stops_everything_even_with_a_call_in_flight(
    make_server: Make, number: signal.Signals
) -> None:
    server = make_server({"a": fake("ready"), "b": fake("never")})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def nap(args): return me.post('/sleep', params={'s': 60}).json()\n",
    )
    server.start()
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(lambda: _ignoring_a_lost_connection(server, "/api/a/nap")),
            pool.submit(lambda: _ignoring_a_lost_connection(server, "/service/start", "b")),
        ]
        until(lambda: server.service("a")["leases"] and server.service("b")["pid"])
        assert server.stop(number) == 0
        del calls


def test_a_closed_terminal_does_not_end_what_nohup_started(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup: programs inherit it
    try:
        server.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"
    assert server.stop() == 0


def test_function_that_never_returns_does_not_keep_the_server_alive(make_server: Make) -> None:
    server = make_server({"stuck": {"type": "inline"}})
    begun_file = server.home / "begun"
    server.write(
        "func/stuck.py",
        "import time\nfrom pathlib import Path\n\n\n"
        f"def main(args):\n    Path({str(begun_file)!r}).touch()\n    time.sleep(600)\n",
    )
    server.start()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_ignoring_a_lost_connection, server, "/api/stuck/main")
        until(begun_file.exists)
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 50


def _ignoring_a_lost_connection(server: Server, path: str, app: str = "") -> None:
    with suppress(OSError, http.client.HTTPException):
        server.post(path, {"app": app} if app else {})


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def _alive(pid: int) -> bool:
    """There is such a process, and it is not just a zombie that nobody has reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_listener_beyond_loopback_is_a_listed_problem(lend: Make) -> None:
    server = lend({"a": fake("ready", "--host", "0.0.0.0")}).start()
    server.post("/service/start", {"app": "a"})
    [problem] = until(lambda: server.service("a")["problems"])
    assert "0.0.0.0" in problem


def test_logs_follow_as_events(lend: Make) -> None:
    server = lend({"a": fake("slow", "--delay", "1")}).start()
    server.post("/service/start", {"app": "a", "wait": False})
    token_request = (
        f"GET /service/a/logs?follow=1&tail=5 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        "X-Api-Key: correct horse\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(token_request.encode())
        seen = b""
        while b"loading, 0.9" not in seen:
            piece = connection.recv(65536)
            assert piece, seen
            seen += piece
    assert b"text/event-stream" in seen


def test_remote_service_is_used_and_never_started(lend: Make) -> None:
    port = fake("ready")["port"]
    remote = subprocess.Popen([sys.executable, str(FAKES / "ready.py"), "--port", str(port)])
    try:
        url = f"http://me:let-me-in@127.0.0.1:{port}"
        server = lend({"cloud": {"type": "webapi", "url": url}})
        with_handles(server, "cloud")
        server.start()
        until(lambda: server.post("/api/cloud/main", {"a": 1}).status == 200)
        assert server.service("cloud")["pid"] is None
        assert server.service("cloud")["url"] == f"http://********@127.0.0.1:{port}"
    finally:
        remote.terminate()
        remote.wait()
    lost = server.post("/api/cloud/main", {"a": 1})
    server.post("/service/stop", {"app": "cloud"})
    gone = server.post("/service/start", {"app": "cloud"})
    for answer in (lost, gone):
        assert (answer.detail["code"], answer.detail["src"]) == ("unreachable", "cloud")
        assert f"http://********@127.0.0.1:{port}: Connection refused" in answer.result
        assert "url of cloud" in answer.detail["hint"]
    assert "let-me-in" not in server.log() + server.output.read_text()


def test_one_that_listens_and_then_dies_is_not_kept_out_by_a_stranger(lend: Make) -> None:
    script = (
        "import socket, sys, time\n"
        "listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "print('the model is broken', flush=True)\n"
        "listener.accept()\n"
        "listener.close()\n"
        "time.sleep(0.5)\n"
        "sys.exit(3)\n"
    )
    program = shlex.join([sys.executable, "-S", "-c", script, "{port}"])
    server = lend({"a": {**fake("ready"), "exec": program}}).start()
    answer = server.post("/service/start", {"app": "a"})
    assert (answer.status, answer.detail["code"]) == (502, "exited_early"), answer.result
    assert answer.detail["log"] == ["the model is broken"]
