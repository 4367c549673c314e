"""Edits of config.json and the entries by hand, while the server runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import forked
import pytest
from harness import PASSWORD, ROOT, Server, alive, fake, free_port, until, with_handles

from onegai.config import jsonfile

Make = Callable[..., Server]


def problems(server: Server) -> list[dict[str, Any]]:
    return list(server.get("/service/status").result["problems"])


def names(server: Server) -> list[str]:
    return [app["app"] for app in server.get("/app/list").result]


def config(**keys: Any) -> dict[str, Any]:
    return {"username": "onegai", "password": PASSWORD, **keys}


def test_a_new_app_is_callable_and_a_removed_one_is_stopped(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    with_handles(server, "a")
    server.write("api/b.py", "def router(engine): ...\n")
    server.start()
    assert "no usable app 'b'" in problems(server)[0]["reason"]
    assert server.post("/api/b/main", {}).detail["code"] == "unknown_app"
    with_handles(server, "b")
    server.edit("services.local.json", {"b": fake("ready")})
    assert server.post("/api/b/main", {"text": "hi"}).status == 200
    assert names(server) == ["a", "b"]
    assert problems(server)[0]["reason"] == "not loaded yet: restart the server"
    server.edit("services.local.json", {})
    assert server.post("/api/b/main", {}).detail["code"] == "no_service"  # a func file alone
    until(lambda: "b: stopped" in server.log())
    (server.home / "func/b.py").unlink()
    until(lambda: server.post("/api/b/main", {}).detail["code"] == "unknown_app")
    states = server.get("/service/status").result["services"]
    assert [service["app"] for service in states] == ["a"]
    assert server.stop() == 0


def test_an_app_that_is_removed_ends_its_calls_first_and_may_come_back(make_server: Make) -> None:
    server = make_server({"a": fake("ready", stop_timeout=5)})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def main(args): return me.post('/sleep', params={'s': '1'}).json()\n",
    )
    server.start()
    entry = json.loads((server.home / "services.json").read_text())
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, "/api/a/main", {})
        until(lambda: server.service("a")["leases"] == 1)
        server.edit("services.json", {"_": ""})
        assert server.post("/api/a/main", {}).detail["code"] == "no_service"
        until(lambda: server.service("a")["state"] == "stopping")
        server.edit("services.json", entry)
        assert call.result().status == 200
    assert server.post("/api/a/main", {}).status == 200
    assert server.log().count("a: started") == 2
    assert server.stop() == 0


def test_what_a_process_was_started_with_waits_for_its_restart(make_server: Make) -> None:
    server = make_server({"a": fake("ready", env={"MINE": "old"})})
    server.write(
        "func/a.py",
        "from onegai.sdk import config, service\nme = service('a')\n"
        "def main(args): return [me.get('/env').json()['MINE'], config('a').get('speed')]\n",
    )
    server.start()
    assert server.post("/api/a/main").result == ["old", None]
    pid, port = server.service("a")["pid"], free_port()
    server.edit("services.local.json", {"a": {"env": {"MINE": "new"}, "port": port, "title": "T"}})
    server.edit("config.json", config(apps={"a": {"speed": 2}}))
    assert server.post("/api/a/main").result == ["old", 2]
    assert server.get("/app/list").result[0]["title"] == "T"
    status = server.service("a")
    assert (status["pid"], status["port"] != port) == (pid, True)
    assert status["problems"] == [
        "port, env changed since it was started: restart it, and that takes effect"
    ]
    server.post("/service/start", {"app": "a", "restart": True})
    status = server.service("a")
    assert (status["port"], status["problems"]) == (port, [])
    assert server.post("/api/a/main").result == ["new", 2]


def test_idle_timeout_counts_at_once(make_server: Make) -> None:
    server = make_server({"a": fake("ready")}).start()
    server.post("/service/start", {"app": "a"})
    server.edit("services.local.json", {"a": {"idle_timeout": 600}})
    assert server.service("a")["state"] == "ready"
    server.edit("services.local.json", {"a": {"idle_timeout": 0.1}})
    until(lambda: server.service("a")["state"] == "stopped")
    assert "a: idle for 0.1 s" in server.log()


@pytest.mark.alone
def test_an_edit_counts_within_a_second_though_nobody_asks(make_server: Make) -> None:
    server = make_server({"a": fake("ready")}).start()
    server.post("/service/start", {"app": "a"})
    begun = time.monotonic()
    server.edit("services.local.json", {"a": {"idle_timeout": 0.1}})
    assert time.monotonic() - begun < 1
    until(lambda: "a: idle for 0.1 s" in server.log())


def test_what_a_command_has_changed_counts_when_it_has_answered(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}}).start()

    def onegai(*words: str) -> None:
        command = [sys.executable, "-m", "onegai", *words]
        environment = {**os.environ, "ONEGAI_HOME": str(server.home)}
        forked.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)

    for number in range(3):
        onegai("new", "mine", "--type", "webapi", "--url", "http://127.0.0.1:9")
        assert names(server) == ["a", "mine"]
        onegai("config", "apps.a.title", f"title {number}")
        assert server.get("/app/list").result[0]["title"] == f"title {number}"
        onegai("remove", "mine")
        assert names(server) == ["a"]


def test_how_long_a_start_and_a_stop_may_take_counts_at_once(make_server: Make) -> None:
    deaf = fake("ready", "--ignore-term", stop_timeout=600)
    never, unready = fake("never", start_timeout=600), fake("unready", start_timeout=600)
    server = make_server({"deaf": deaf, "never": never, "unready": unready}).start()
    server.post("/service/start", {"app": "deaf"})
    for app in ("never", "unready"):
        server.post("/service/start", {"app": app, "wait": False})
        until(lambda app=app: server.service(app)["pid"])
    local = {"deaf": {"stop_timeout": 0}, "never": {"start_timeout": 0.1}}
    server.edit("services.local.json", {**local, "unready": {"ready": {"tcp": 1}}})
    until(lambda: server.service("unready")["state"] == "ready")
    until(lambda: server.service("never")["state"] == "failed")
    assert "nothing listens" in server.service("never")["reason"]
    begun = time.monotonic()
    assert server.post("/service/stop", {"app": "deaf"}).status == 200
    assert time.monotonic() - begun < 60


def test_an_app_that_waits_for_memory_is_started_as_its_entry_is_then(make_server: Make) -> None:
    server = make_server({"busy": fake("ready", vram=8), "a": fake("ready", vram=8)})
    server.environment["ONEGAI_FAKE_GPU"] = "12"
    server.write(
        "func/busy.py",
        "from onegai.sdk import service\nme = service('busy')\n"
        "def main(args): return me.post('/sleep', params={'s': '3600'}).json()\n",
    )
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def main(args): return me.get('/env').json()['MINE']\n",
    )
    server.start()
    server.post("/api/busy/main", {}, Prefer="respond-async")
    until(lambda: server.service("busy")["leases"] == 1)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, "/api/a/main", {})
        until(lambda: server.service("a")["state"] == "queued")
        server.edit("services.local.json", {"a": {"vram": 2, "env": {"MINE": "new"}}})
        assert server.service("a")["waiting"] == 1
        assert call.result().result == "new"
    assert server.service("a")["outdated"] == []
    server.post("/service/stop", {"app": "a"})
    server.edit("services.local.json", {"a": {"vram": 8}})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, "/api/a/main", {})
        until(lambda: server.service("a")["state"] == "queued")
        server.edit("services.local.json", {"a": {"active": 0}})
        assert call.result().detail["code"] == "inactive"


def test_an_edited_run_file_waits_for_the_restart(make_server: Make) -> None:
    server = make_server({"a": fake("ready"), "ab": fake("ready")})
    server.write("run/run_a.py", "one")
    server.write("run/run_a.json", "{}")
    server.start()
    for app in ("a", "ab"):
        server.post("/service/start", {"app": app})
    assert server.service("a")["outdated"] == []
    server.write("run/run_a.py", "edited")
    server.write("run/run_ab.py", "new, so it was not started with it")
    told = server.service("a")
    assert told["outdated"] == ["run/run_a.py"]
    assert told["problems"][0].startswith("run/run_a.py changed since it was started")
    assert server.service("ab")["outdated"] == []
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    (server.home / "run/run_a.json").unlink()
    server.start()
    until(lambda: server.service("a")["state"] == "ready")
    assert sorted(server.service("a")["outdated"]) == ["run/run_a.json", "run/run_a.py"]
    server.post("/service/start", {"app": "a", "restart": True})
    assert server.service("a")["outdated"] == []


def test_more_calls_at_once_let_in_those_that_wait(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline", "concurrency": 1}})
    server.write(
        "func/a.py",
        "import pathlib, time\nhere = pathlib.Path(__file__).parent\n"
        "def main(args):\n"
        "    (here / f'came_{args[\"n\"]}').touch()\n"
        "    while not (here / 'go').exists():\n        time.sleep(0.01)\n",
    )
    server.start()
    folder = server.home / "func"
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(server.post, "/api/a/main", {"n": n}) for n in range(3)]
        until(lambda: list(folder.glob("came_*")))
        server.edit("services.local.json", {"a": {"concurrency": 2}})
        try:
            until(lambda: len(list(folder.glob("came_*"))) == 2)
        finally:
            server.write("func/go", "")
        assert [call.result().status for call in calls] == [200] * 3


def test_that_services_live_on_counts_without_another_request(make_server: Make) -> None:
    server = make_server({"a": fake("ready")}).start()
    server.post("/service/start", {"app": "a"})
    pid = server.service("a")["pid"]
    server.write("config.json", config(stop_children=0))
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert alive(pid)
    server.start()
    until(lambda: server.service("a")["state"] == "ready")
    assert server.service("a")["pid"] == pid
    server.post("/service/stop", {"app": "a"})
    assert server.stop() == 0


def test_the_password_changes_at_once_and_the_port_at_the_next_start(make_server: Make) -> None:
    server = make_server().start()
    server.edit("config.json", config(password="another one", port=58999))
    assert server.get("/app/list").status == 401
    assert server.get("/app/list", Authorization="Bearer another one").status == 200
    server.edit("config.json", config(port=58999, cors_origins=["http://obs.example"]))
    answer = server.get("/app/list", Origin="http://obs.example")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "http://obs.example"
    assert problems(server) == []  # --port 0 of this start wins over the file
    server.edit("config.json", config(disable_docs=1))
    listed = problems(server)
    assert [(item["file"], item["key"]) for item in listed] == [("config.json", "disable_docs")]
    assert "restart the server" in listed[0]["reason"]
    assert server.get("/docs").status == 200


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("services.json", '{\n  "a": {,}\n}', 2),
        ("services.json", None, None),
        ("services.local.json", "[]", None),
        ("config.json", '{\n "password": "x"', 2),
        ("config.json", '{"password": ""}', None),
        ("config.json", '{"password": "other one", "apps": []}', None),
        ("config.json", None, None),
        ("config.json", '{"password": "x", "file_roots": ["~nobody-is-called-so/x"]}', None),
    ],
)
def test_a_broken_file_keeps_its_last_good_version(
    make_server: Make, name: str, text: str | None, line: int | None
) -> None:
    server = make_server({"a": fake("ready")})
    server.write("services.local.json", {"a": {"title": "mine"}})
    with_handles(server, "a")
    server.start()
    assert server.post("/api/a/main", {}).status == 200
    good = (server.home / name).read_text()
    server.edit(name, text)
    assert server.post("/api/a/main", {}).status == 200
    assert server.get("/app/list").result[0]["title"] == "mine"
    (problem,) = problems(server)
    assert (problem["file"], problem["line"]) == (name, line)
    assert "last good version stays in use" in problem["reason"]
    if text is not None:
        assert (server.home / name).read_text() == text
    server.edit(name, good)
    assert problems(server) == []
    assert server.log().count("a: started") == 1


def test_folders_for_files_count_at_once_and_the_upload_limit_at_the_next_start(
    make_server: Make,
) -> None:
    server = make_server({"a": {"type": "inline"}})
    server.write(
        "func/a.py",
        "from pydantic import BaseModel\nfrom onegai.sdk import File\n"
        "class Paper(BaseModel):\n    page: File\n"
        "def main(args: Paper): return args.page.read().decode()\n",
    )
    server.write("folder/page.txt", "hello")
    server.start()
    asked = {"page": str(server.home / "folder/page.txt")}
    assert server.post("/api/a/main", asked).detail["code"] == "path_refused"
    folder = str(server.home / "folder")
    server.edit("config.json", config(file_roots=[folder], max_upload=3))
    assert server.post("/api/a/main", asked).result == "hello"
    assert [item["key"] for item in problems(server)] == ["max_upload"]
    server.stop()
    server.start()
    assert problems(server) == []
    assert server.post("/api/a/main", asked).detail["code"] == "file_too_large"
    server.edit("config.json", config(file_roots=["folder"], max_upload=3))
    assert [item["file"] for item in problems(server)] == ["config.json"]
    assert server.post("/api/a/main", asked).detail["code"] == "file_too_large"
    server.edit("config.json", config(max_upload=3))
    assert server.post("/api/a/main", asked).detail["code"] == "path_refused"


def test_a_broken_entry_keeps_its_last_good_version(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})
    with_handles(server, "a")
    server.start()
    server.edit("services.local.json", {"a": {"vram": "lots"}, "b": {"type": "webapi"}})
    assert server.post("/api/a/main", {}).status == 200
    listed = {app["app"]: app for app in server.get("/app/list").result}
    assert listed["a"]["state"] == "ready"
    assert "last good version" in listed["a"]["problems"][0]["reason"]
    assert listed["b"]["state"] == "failed"
    assert server.post("/api/b/main", {}).detail["code"] == "broken_entry"


def test_a_weak_password_is_not_taken_on_an_open_host(make_server: Make) -> None:
    server = make_server()
    jsonfile.write(server.home / "config.json", config(host="0.0.0.0", password="long enough too"))
    server.start()
    server.edit("config.json", config(host="127.0.0.1", password="short"))
    assert server.get("/app/list", Authorization="Bearer short").status == 401
    answer = server.get("/service/status", Authorization="Bearer long enough too")
    assert "shorter than 12" in answer.result["problems"][0]["reason"]
