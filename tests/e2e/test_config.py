"""/config and /service get_json and set_json, on a real server."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import forked
import pytest
from harness import PASSWORD, ROOT, Answer, Server, fake, with_handles

from onegai import AsyncClient, Client, OneGAIError

Make = Callable[..., Server]
MASK = "********"


def stored(server: Server, name: str = "config.json") -> Any:
    return json.loads((server.home / name).read_text())


def config(server: Server, **keys: Any) -> None:
    server.write("config.json", {"username": "onegai", "password": PASSWORD, **keys})


def send(server: Server, path: str, content: Any, etag: str, **headers: str) -> Answer:
    return server.post(path, content, **{"If-Match": etag, **headers})


def read(server: Server, path: str) -> tuple[dict[str, Any], str]:
    answer = server.get(path)
    assert answer.status == 200, answer.body
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return answer.result, headers["etag"]


def test_a_lost_update_is_refused_and_nothing_is_written(make_server: Make) -> None:
    server = make_server().start()
    content, etag = read(server, "/config/get_json")
    config(server, vram_headroom=1)
    before = (server.home / "config.json").read_bytes()
    answer = send(server, "/config/set_json", {**content, "vram_headroom": 2}, etag)
    assert (answer.status, answer.detail["code"]) == (412, "lost_update")
    answer = server.post("/config/set_json", content)
    assert (answer.status, answer.detail["code"]) == (428, "if_match_missing")
    assert (server.home / "config.json").read_bytes() == before
    content, etag = read(server, "/config/get_json")
    answer = send(server, "/config/set_json", {**content, "vram_headroom": 2}, etag)
    assert answer.result["now"] == ["vram_headroom"]
    assert answer.headers["etag"] == answer.result["etag"] == read(server, "/config/get_json")[1]


def test_of_two_that_race_one_wins(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}}).start()
    content, etag = read(server, "/service/get_json")

    def change(number: int) -> int:
        new = {**content, "a": {**content["a"], "title": f"title {number}"}}
        return send(server, "/service/set_json", new, etag).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(change, range(8)))
    assert sorted(statuses) == [200] + [412] * 7
    winner = statuses.index(200)
    assert stored(server, "services.local.json") == {"a": {"title": f"title {winner}"}}


def test_a_masked_round_trip_keeps_the_secrets(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline", "env": {"HF_TOKEN": "hf"}}})
    config(server, openai_key="sk-1", apps={"a": {"token": "t"}})
    server.start()
    before = stored(server)
    content, etag = read(server, "/config/get_json")
    text = json.dumps(content) + json.dumps(read(server, "/service/get_json")[0])
    for secret in (PASSWORD, "sk-1", '"t"', '"hf"'):
        assert secret not in text
    content["vram_headroom"] = 0.5
    assert send(server, "/config/set_json", content, etag).status == 200
    assert stored(server) == {**before, "vram_headroom": 0.5}
    assert (server.home / "config.json").stat().st_mode & 0o777 == 0o600
    answer = send(server, "/config/set_json", {**content, "other_key": MASK}, "*")
    assert (answer.status, answer.detail["errors"][0]["field"]) == (422, "other_key")


def test_a_new_password_counts_at_once(make_server: Make) -> None:
    server = make_server().start()
    content, etag = read(server, "/config/get_json")
    content["password"] = "quite another one"
    answer = send(server, "/config/set_json", content, etag)
    assert answer.result["now"] == ["password"]
    assert server.get("/app/list").status == 401
    with Client(server.url, "onegai", "quite another one") as client:
        document = client.config_document()
        assert document.content["password"] == MASK
        applied = client.replace_config({**document.content, "disable_docs": True}, document.etag)
        assert (applied.now, applied.restart_server) == ([], ["disable_docs"])
        (problem,) = client.status().problems
        assert (problem.file, problem.key) == ("config.json", "disable_docs")
        with pytest.raises(OneGAIError) as caught:
            client.replace_config(document.content, document.etag)
        assert caught.value.code == "lost_update"


def test_without_remote_edit_nothing_that_runs_is_changed(make_server: Make) -> None:
    server = make_server({"a": fake("ready")}).start()
    files = [server.home / "config.json", server.home / "services.json"]
    before = [path.read_bytes() for path in files]
    content, etag = read(server, "/service/get_json")
    wanted: list[tuple[dict[str, Any], list[str]]] = [
        ({"a": {**content["a"], "exec": "sh"}}, ["a.exec"]),
        ({**content, "b": fake("ready")}, ["b.type", "b.port", "b.exec"]),
    ]
    for new, keys in wanted:
        answer = send(server, "/service/set_json", new, etag)
        assert (answer.status, answer.detail["code"]) == (403, "remote_edit_off")
        assert answer.detail["keys"] == keys
    for change in ({"remote_edit": 1}, {"host": "0.0.0.0"}, {"apps": {"a": {"exec": "sh"}}}):
        answer = send(
            server, "/config/set_json", {**read(server, "/config/get_json")[0], **change}, "*"
        )
        assert answer.detail["code"] == "remote_edit_off"
    assert [path.read_bytes() for path in files] == before
    assert not (server.home / "services.local.json").exists()


def test_with_remote_edit_a_new_app_is_callable_at_once(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}})
    with_handles(server, "b")
    config(server, remote_edit=1)
    server.start()
    content, etag = read(server, "/service/get_json")
    answer = send(server, "/service/set_json", {**content, "b": fake("ready")}, etag)
    assert answer.result["now"] == ["b"]
    assert server.post("/api/b/main", {"text": "hi"}).status == 200
    answer = send(server, "/service/set_json", content, answer.headers["etag"])
    assert answer.result["now"] == ["b"]
    assert server.post("/api/b/main", {}).detail["code"] == "no_service"  # its func file is left
    assert stored(server, "services.local.json") == {}


def test_says_what_waits_for_which_restart(make_server: Make) -> None:
    server = make_server({"a": fake("ready", env={"MINE": "old"})})
    server.write(
        "func/a.py",
        "from onegai.sdk import service\nme = service('a')\n"
        "def main(args): return me.get('/env').json()['MINE']\n",
    )
    config(server, remote_edit=1, apps={"a": {"title": "wins"}})
    server.start()
    assert server.post("/api/a/main").result == "old"
    content, etag = read(server, "/service/get_json")
    content["a"] |= {"env": {"MINE": "new"}, "call_timeout": 9, "title": "loses"}
    result = send(server, "/service/set_json", content, etag).result
    assert result["now"] == ["a.call_timeout"]
    assert result["restart_services"] == {"a": ["a.env"]}
    assert list(result["without_effect"]) == ["a.title"]
    assert server.post("/api/a/main").result == "old"
    assert "env changed since it was started" in server.service("a")["problems"][0]
    server.post("/service/start", {"app": "a", "restart": True})
    assert server.post("/api/a/main").result == "new"
    assert server.service("a")["problems"] == []
    content, etag = read(server, "/config/get_json")
    content |= {"port": 1, "host": "127.0.0.2", "max_json": 2000}
    content |= {"openai_key": "sk", "loapi": {}}
    content["apps"]["a"]["vram"] = 1
    result = send(server, "/config/set_json", content, etag).result
    assert sorted(result["restart_server"]) == ["host", "max_json"]
    assert result["now"] == ["openai_key"]
    assert list(result["without_effect"]) == ["port", "loapi"]
    assert "argument" in result["without_effect"]["port"]
    assert result["restart_services"] == {"a": ["apps.a.vram"]}
    content, etag = read(server, "/config/get_json")
    content["apps"]["a"] |= {"vrma": 1, "voice": "own"}
    result = send(server, "/config/set_json", content, etag).result
    assert (result["now"], list(result["without_effect"])) == (["apps.a.voice"], ["apps.a.vrma"])


def test_wrong_content_is_named_and_nothing_is_written(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}}).start()
    content, etag = read(server, "/service/get_json")
    answer = send(server, "/service/set_json", {"a": {**content["a"], "ram": -1, "x": 1}}, etag)
    assert (answer.status, answer.detail["code"]) == (422, "bad_request")
    assert {item["field"] for item in answer.detail["errors"]} == {"a.ram", "a.x"}
    assert not (server.home / "services.local.json").exists()
    server.write("config.json", "{")
    answer = server.get("/config/get_json")
    assert (answer.status, answer.detail["code"]) == (409, "unreadable_file")
    answer = send(server, "/config/set_json", {"password": PASSWORD}, "*")
    assert answer.detail["code"] == "unreadable_file"
    assert (server.home / "config.json").read_text() == "{"


def test_a_full_disk_leaves_the_old_file(make_server: Make) -> None:
    server = make_server().start()
    assert server.process is not None
    before = (server.home / "config.json").read_bytes()
    content, etag = read(server, "/config/get_json")
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (16, limits[1]))
    answer = send(server, "/config/set_json", {**content, "username": "me"}, etag)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    assert (answer.status, answer.detail["code"]) == (500, "not_written")
    assert (server.home / "config.json").read_bytes() == before
    assert leftovers(server.home) == []
    assert server.get("/app/list").status == 200
    assert send(server, "/config/set_json", {**content, "vram_headroom": 1}, etag).status == 200


def leftovers(home: Path) -> list[str]:
    return [path.name for path in home.iterdir() if path.name.startswith(".config")]


def test_the_command_says_when_a_change_counts(make_server: Make) -> None:
    server = make_server({"a": fake("ready")})

    def said(key: str, value: str, **more: str) -> str:
        environment = {**os.environ, "ONEGAI_HOME": str(server.home), **more}
        ran = forked.run(
            [sys.executable, "-m", "onegai", "config", key, value],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return ran.stdout.partition("   ")[2].strip()

    assert said("vram_headroom", "1") == "(from the next start on)"
    server.start()
    server.client().start("a")
    assert said("vram_headroom", "0") == "(in effect)"
    assert said("disable_docs", "1") == "(once the server is restarted)"
    assert said("apps.a.ram", "0.1") == "(once a is restarted: bash run.sh restart a)"
    assert said("apps.a.title", "A") == "(in effect)"
    assert said("openai_key", "sk") == "(in effect)"
    assert said("loapi", "{}") == "(nothing uses it yet)"
    assert said("port", "1").startswith("(not now: ")
    assert said("apps.a.vrma", "1") == "(unknown key; did you mean vram?)"
    assert "could not be asked" in said("vram_headroom", "0", ONEGAI_PASSWORD="wrong")
    assert said("password", "quite another one") == "(in effect)"
    assert server.get("/app/list").status == 401


async def test_the_async_client_replaces_both(make_server: Make) -> None:
    server = make_server({"a": {"type": "inline"}}).start()
    async with AsyncClient(server.url, "onegai", PASSWORD) as client:
        document = await client.services_document()
        document.content["a"]["title"] = "A"
        applied = await client.replace_services(document.content, document.etag)
        assert applied.now == ["a.title"]
        config = await client.config_document()
        applied = await client.replace_config({**config.content, "vram_headroom": 1}, config.etag)
        assert applied.now == ["vram_headroom"]


def curled(server: Server) -> int:
    """The HTTP status for curl with data/curlrc."""
    path = server.home / "data" / "curlrc"
    assert path.stat().st_mode & 0o777 == 0o600
    asked = ["curl", "-sS", "-K", str(path), "-o", os.devnull, "-w", "%{http_code}"]
    shown = subprocess.run(
        [*asked, f"{server.url}/app/list"], capture_output=True, text=True, timeout=20, check=True
    )
    return int(shown.stdout)


def test_curlrc_has_what_is_in_effect(make_server: Make) -> None:
    server = make_server()
    server.environment = {"ONEGAI_USERNAME": "given by the environment"}
    server.start()
    assert curled(server) == 200
    assert server.url in (server.home / "data" / "curlrc").read_text()
    server.stop()
    server.environment = {}
    server.start()
    assert "data/curlrc" in server.request("GET", "/app/list", auth=False).detail["hint"]
    content, etag = read(server, "/config/get_json")
    odd = 'quo"te \\back\\slash パス'
    assert send(server, "/config/set_json", {**content, "password": odd}, etag).status == 200
    assert curled(server) == 200
    forked.run(
        [sys.executable, "-m", "onegai", "config", "password", "-"],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(server.home)},
        input=b"from the command line\r\n",
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert curled(server) == 200


def test_a_config_that_is_a_link_stays_one(make_server: Make, tmp_path: Path) -> None:
    server = make_server()
    kept = tmp_path / "dotfiles.json"
    (server.home / "config.json").rename(kept)
    (server.home / "config.json").symlink_to(kept)
    server.start()
    content, etag = read(server, "/config/get_json")
    assert send(server, "/config/set_json", {**content, "vram_headroom": 1}, etag).status == 200
    assert (server.home / "config.json").is_symlink()
    assert json.loads(kept.read_text())["vram_headroom"] == 1
    assert read(server, "/config/get_json")[0]["vram_headroom"] == 1
