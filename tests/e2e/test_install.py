"""Installing over HTTP, with made-up recipes over the shipped install/lib.sh."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from harness import Server, copy_install, fake, strays, until

Make = Callable[..., Server]

RECIPE = """#!/usr/bin/env bash
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
install_begin APP
BODY
install_end
"""


def with_recipe(make_server: Make, body: str, app: str = "a") -> Server:
    server = make_server({app: fake("ready")})
    copy_install(server.home)
    server.write(f"install/{app}.sh", RECIPE.replace("APP", app).replace("BODY", body))
    return server


def state(server: Server) -> str:
    return str(server.get("/app/list").result[0]["state"])


def test_install_is_a_job_with_a_live_log(lend: Make) -> None:
    server = with_recipe(lend, "echo one; touch $APP_DIR/made; echo two").start()
    assert state(server) == "absent"
    assert server.post("/service/start", {"app": "a"}).detail["code"] == "not_installed"
    answer = server.post("/app/install", {"app": "a"})
    assert answer.status == 202
    job = answer.result["id"]
    assert answer.headers["location"] == f"/job/{job}"
    events = server.get(f"/job/{job}/events").body.decode()
    assert events.index('{"line":"one"}') < events.index('{"line":"two"}')
    assert '"state":"done"' in events.split("\n\n")[-2]
    seen = [line[4:] for line in events.splitlines() if line.startswith("id: ")]
    assert seen == [str(number + 1) for number in range(len(seen))]
    rest = server.get(f"/job/{job}/events", Last_Event_ID=seen[-2]).body.decode()
    assert rest.count("event: ") == 1
    done = server.get(f"/job/{job}").result
    assert (done["state"], done["kind"], done["app"]) == ("done", "install", "a")
    assert done["log"].count("one") == 1
    assert server.get("/job").result[0]["id"] == job
    assert (server.home / "apps/a/made").exists()
    assert (server.home / "apps/a/.onegai-installed").exists()
    assert state(server) == "stopped"
    assert server.post("/service/start", {"app": "a"}).result["state"] == "ready"
    again = server.post("/app/install", {"app": "a", "wait": True})
    assert again.result["state"] == "done"
    assert "already installed" in again.result["log"][-1]


def test_failed_install_is_broken_and_the_next_one_starts_clean(lend: Make) -> None:
    body = "touch $APP_DIR/half; if [[ ! -e ../fixed ]]; then echo 'no such wheel' >&2; exit 3; fi"
    server = with_recipe(lend, body).start()
    answer = server.post("/app/install", {"app": "a", "wait": True})
    assert (answer.status, answer.detail["code"]) == (500, "install_failed")
    assert "exit status 3" in answer.result
    assert "no such wheel" in answer.detail["log"]
    assert "starts clean" in answer.detail["log"][-1]
    assert "no such wheel" in (server.home / "data/logs/install-a.log").read_text()
    assert state(server) == "failed"
    assert server.post("/service/start", {"app": "a"}).detail["code"] == "install_broken"
    server.write("fixed", "")
    (server.home / "apps/a/stale").write_text("left by the broken one")
    assert server.post("/app/install", {"app": "a", "wait": True}).result["state"] == "done"
    assert not (server.home / "apps/a/stale").exists()


def test_cancel_ends_everything_and_leaves_broken(lend: Make) -> None:
    server = with_recipe(lend, "sleep 600 & echo waiting; sleep 600").start()
    job = server.post("/app/install", {"app": "a"}).result["id"]
    until(lambda: "waiting" in server.get(f"/job/{job}").result["log"])
    assert state(server) == "installing"
    assert server.post("/service/start", {"app": "a"}).detail["code"] == "installing"
    cancelled = server.request("DELETE", f"/job/{job}")
    assert cancelled.result["state"] == "cancelled"
    assert len(strays(server.home)) == 1
    assert state(server) == "failed"
    assert server.request("DELETE", f"/job/{job}").result["state"] == "cancelled"


def test_second_request_joins_the_install_that_runs(make_server: Make) -> None:
    server = with_recipe(make_server, "until [[ -e ../go ]]; do sleep 0.05; done").start()
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(server.post, "/app/install", {"app": "a", "wait": True}) for _ in range(2)
        ]
        until(lambda: server.get("/job").result)
        third = server.post("/app/install", {"app": "a"}).result["id"]
        server.write("go", "")
        assert {answer.result().result["id"] for answer in waiting} == {third}
    assert len(server.get("/job").result) == 1


def test_ctrl_c_during_an_install(make_server: Make) -> None:
    server = with_recipe(make_server, "echo waiting; sleep 600").start()
    job = server.post("/app/install", {"app": "a"}).result["id"]
    until(lambda: "waiting" in server.get(f"/job/{job}").result["log"])
    assert server.stop() == 0
    assert not (server.home / "apps/a/.onegai-installed").exists()


def test_client_that_leaves_does_not_end_the_install(lend: Make) -> None:
    server = with_recipe(lend, "until [[ -e ../go ]]; do sleep 0.05; done").start()
    body = json.dumps({"app": "a", "wait": True}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /app/install HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: correct horse\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        until(lambda: state(server) == "installing")
    server.write("go", "")
    until(lambda: state(server) == "stopped")


def test_what_cannot_be_installed(lend: Make) -> None:
    server = lend({"plain": fake("ready")}).start()
    for app, status, code in (
        ("plain", 409, "no_install_script"),
        ("nobody", 404, "unknown_app"),
        ("../x", 404, "unknown_app"),
        ("", 404, "unknown_app"),
    ):
        answer = server.post("/app/install", {"app": app})
        assert (answer.status, answer.detail["code"]) == (status, code)
    for path in ("/job/none", "/job/none/events"):
        assert server.get(path).detail["code"] == "unknown_job"
    assert server.request("DELETE", "/job/none").detail["code"] == "unknown_job"
    answer = server.post("/app/install", {"wait": True})
    assert (answer.status, answer.detail["code"]) == (422, "bad_request")
    assert [error["field"] for error in answer.detail["errors"]] == ["app"]
    answer = server.post("/app/install", b"{", Content_Type="application/json")
    assert (answer.status, answer.detail["code"]) == (400, "bad_json")


def test_too_little_disk_is_refused_with_numbers(make_server: Make) -> None:
    server = with_recipe(make_server, "true")
    server.write("services.local.json", {"a": {"disk": 10_000_000}})
    answer = server.start().post("/app/install", {"app": "a", "wait": True})
    assert answer.status == 500
    assert any("disk" in line for line in answer.detail["log"])
