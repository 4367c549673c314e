"""The server as a program: first start, settings, locks, ports, broken files."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import PASSWORD, Server, fake, free_port, until
from ports import connection_to

Make = Callable[..., Server]

ORIGINAL_STYLE = (
    "{\n"
    '\t"voice": {\n\t\t"active": 1,\n\t\t"vram": 0,\n\t\t"type": "webapi",\n'
    '\t\t"port": PORT,\n\t\t"exec": "EXEC"\n\t},\n'
    '\t"webui": {\n\t\t"active": 1,\n\t\t"vram": 8,\n\t\t"type": "webapi",\n\t\t"port": 7902,\n'
    '\t\t"dir": "elyza",\n\t\t"cd": "run",\n\t\t"exec": "bash webui.sh"\n\t},\n'
    '\t"stems": {\n\t\t"active": 0,\n\t\t"type": "server",\n\t\t"port": 7907,\n'
    '\t\t"exec": "venv/bin/python app.py"\n\t},\n'
    + "".join(
        f'\t"{app}": {{\n\t\t"active": 0,\n\t\t"type": "gradio",\n\t\t"port": 7907,\n'
        '\t\t"exec": "venv/bin/python app.py"\n\t},\n'
        for app in ("one", "two", "three")
    )
    + '\t"dl": {\n\t\t"active": 1,\n\t\t"type": "command"\n\t},\n    "_": ""\n}\n'
)


def end(server: Server, *arguments: str) -> tuple[int, str]:
    """Run a server that is expected to end by itself."""
    process = server.spawn(*arguments)
    status = process.wait(60)
    return status, server.output.read_text()


def test_first_start_makes_a_config_and_shows_the_password_once(make_server: Make) -> None:
    server = make_server()
    (server.home / "config.json").unlink()
    server.start()
    config = json.loads((server.home / "config.json").read_text())
    assert (server.home / "config.json").stat().st_mode & 0o777 == 0o600
    assert len(config["password"]) >= 16
    assert config["password"] in server.output.read_text()
    assert server.get("/service/status").status == 401
    server.stop()
    server.start()
    assert config["password"] not in server.output.read_text()
    assert config["password"] not in server.log()


def test_first_start_that_works_shows_the_password(make_server: Make) -> None:
    server = make_server()
    (server.home / "config.json").unlink()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, output = end(server, "--port", str(taken.getsockname()[1]))
    assert (status, "is taken by" in output) == (2, True)
    assert not (server.home / "config.json").exists()
    server.start()
    password = json.loads((server.home / "config.json").read_text())["password"]
    assert password in server.output.read_text()


def test_file_of_the_original_project_loads(make_server: Make) -> None:
    server = make_server()
    entry = fake("ready")
    text = ORIGINAL_STYLE.replace("PORT", str(entry["port"])).replace("EXEC", entry["exec"])
    server.write("services.json", text)
    server.start()
    problems = {(p["app"], p["key"]): p for p in server.get("/service/status").result["problems"]}
    assert problems["webui", "dir"]["reason"] == "unknown key"
    assert problems["webui", "cd"]["reason"] == "unknown key; did you mean cwd?"
    assert "'gradio', 'webapi'" in problems["stems", "type"]["reason"]
    assert "two, three" in problems["one", "port"]["reason"]
    assert len(problems) == 6
    assert {item["app"] for item in server.get("/app/list").result} == {
        *("voice", "webui", "stems", "one", "two", "three", "dl")
    }
    assert server.post("/service/start", {"app": "voice"}).result["state"] == "ready"
    assert server.post("/service/start", {"app": "webui"}).detail["code"] == "broken_entry"


def test_services_json_that_does_not_parse_is_kept_and_reported(make_server: Make) -> None:
    server = make_server()
    broken = '{\n  "a": {"type": "webapi",}\n}\n'
    server.write("services.json", broken)
    server.write("services.local.json", {"b": fake("ready")})
    server.start()
    [problem] = server.get("/service/status").result["problems"]
    assert (problem["file"], problem["line"]) == ("services.json", 2)
    assert (server.home / "services.json").read_text() == broken
    assert server.post("/service/start", {"app": "b"}).status == 200


def test_local_file_and_config_are_laid_over_the_shipped_one(make_server: Make) -> None:
    server = make_server({"a": fake("ready", title="shipped", about="shipped", vram=40)})
    server.write("services.local.json", {"a": {"title": "mine"}})
    config = {"username": "onegai", "password": PASSWORD, "apps": {"a": {"vram": 0}, "zz": {}}}
    server.write("config.json", config)
    server.start()
    [app] = server.get("/app/list").result
    assert (app["title"], app["about"]) == ("mine", "shipped")
    assert server.service("a")["vram"] == 0
    [problem] = server.get("/service/status").result["problems"]
    assert problem["key"] == "apps.zz"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"password": "x",\n}', "line 2, column 1"),
        ('{"username": "a", "password": "b", "max_json": "many"}', "max_json: "),
        ('{"username": "a"}', "password: "),
        ('{"password": "short", "host": "0.0.0.0"}', "shorter than 12"),
        ("[]", "one JSON object"),
    ],
)
def test_config_that_cannot_be_used_ends_the_start(
    make_server: Make, content: str, words: str
) -> None:
    server = make_server()
    path = server.write("config.json", content)
    status, output = end(server)
    assert status == 2
    assert words in output
    assert "config.json" in output
    assert "Traceback" not in output
    assert path.read_text() == content


def test_environment_wins_over_the_file_and_an_argument_over_both(make_server: Make) -> None:
    server = make_server()
    server.environment = {"ONEGAI_USERNAME": "someone", "ONEGAI_PORT": "1"}
    server.start()
    assert server.get("/service/status").status == 401
    answer = server.request("GET", "/service/status", headers={"X_Api_Key": PASSWORD}, auth=False)
    assert answer.status == 200


def test_host_is_remembered_and_the_banner_says_who_can_reach_it(make_server: Make) -> None:
    server = make_server().start("--host", "0.0.0.0")
    assert "Every machine" in server.output.read_text()
    server.stop()
    config = json.loads((server.home / "config.json").read_text())
    assert config == {"username": "onegai", "password": PASSWORD, "host": "0.0.0.0"}
    server.start()
    assert "Every machine" in server.output.read_text()


def test_port_is_remembered_once_it_works(make_server: Make) -> None:
    server = make_server()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        end(server, "--port", str(taken.getsockname()[1]))
    assert "port" not in json.loads((server.home / "config.json").read_text())
    port = free_port()
    server.start("--port", str(port))
    assert server.port == port
    assert json.loads((server.home / "config.json").read_text())["port"] == port


def test_what_only_the_environment_makes_usable_is_not_remembered(make_server: Make) -> None:
    server = make_server()
    config = {"username": "onegai", "password": "short"}
    server.write("config.json", config)
    server.environment = {"ONEGAI_PASSWORD": PASSWORD}
    server.start("--host", "0.0.0.0")
    assert json.loads((server.home / "config.json").read_text()) == config
    assert "host cannot be remembered: " in server.output.read_text()


def test_host_that_cannot_be_listened_on_is_not_remembered(make_server: Make) -> None:
    server = make_server()
    for host in ("no.such.host.invalid", ""):
        status, output = end(server, "--host", host)
        assert status == 2, output
        assert "host" in output
    server.start()
    assert "Only this machine" in server.output.read_text()


def test_second_server_of_a_home_says_where_the_first_is(make_server: Make) -> None:
    server = make_server().start()
    second = Server(server.home)
    process = second.spawn()
    assert process.wait(60) == 2
    assert server.process is not None
    assert f"{server.url} (pid {server.process.pid})" in second.output.read_text()
    assert server.get("/health").status == 200
    assert (server.home / "data" / "server.json").exists()


def test_lock_is_free_after_kill_9(make_server: Make) -> None:
    server = make_server().start()
    assert server.process is not None
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.start()
    assert server.stop() == 0
    assert not (server.home / "data" / "server.json").exists()


def test_taken_port_names_the_other_onegais_folder(make_server: Make) -> None:
    first, second = make_server().start(), make_server()
    status, output = end(second, "--port", str(first.port))
    assert status == 2
    assert f"the OneGAI of {first.home}" in output
    assert "--port" in output


def test_taken_port_names_a_stranger(make_server: Make) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        status, output = end(make_server(), "--port", str(stranger.getsockname()[1]))
    assert status == 2
    assert f"pid {os.getpid()} " in output


def test_port_that_a_connection_has_for_a_moment(make_server: Make) -> None:
    server = make_server()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        client = connection_to(stranger)
        accepted, _address = stranger.accept()
        server.port = client.getsockname()[1]
        server.process = server.spawn("--port", str(server.port))
        until(lambda: "waits until no connection has port" in server.output.read_text())
        accepted.close()  # the first to close is the one that keeps its port for a minute
        assert client.recv(1) == b""
        client.close()
        until(lambda: (server.home / "data" / "server.json").exists())
    assert server.get("/health").status == 200
    assert server.stop() == 0


def test_host_that_is_not_ours(make_server: Make) -> None:
    status, output = end(make_server(), "--host", "203.0.113.7")
    assert status == 2
    assert "cannot listen" in output


def test_wrong_password_is_slow_and_a_right_one_is_not(make_server: Make) -> None:
    server = make_server().start()
    begun = time.monotonic()
    assert server.get("/app/list", X_Api_Key="wrong", Authorization="").status == 401
    assert time.monotonic() - begun >= 1
    quickest = 60.0
    for _ in range(5):
        begun = time.monotonic()
        assert server.get("/app/list").status == 200
        quickest = min(quickest, time.monotonic() - begun)
    assert quickest < 0.9


def test_home_that_cannot_be_written(make_server: Make, tmp_path: Path) -> None:
    server = make_server()
    (server.home / "data").mkdir(exist_ok=True)
    (server.home / "data" / "logs").write_text("a file where a folder should be")
    status, output = end(server)
    assert status == 1
    assert "data/logs" in output
    assert "Traceback" not in output


def test_command_line_help_and_version() -> None:
    for arguments, words in ((["--help"], "serve"), (["--version"], "0.1.0")):
        shown = subprocess.run(
            [sys.executable, "-m", "onegai", *arguments], capture_output=True, text=True, check=True
        )
        assert words in shown.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "onegai", "srve"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "No such command" in wrong.stderr


def test_signal_before_the_server_is_up(make_server: Make) -> None:
    server = make_server()
    process = server.spawn()
    until(lambda: (server.home / "data" / "server.json").exists())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (0, 130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_func_files_are_loaded(make_server: Make, number: signal.Signals) -> None:
    server = make_server({"a": {"type": "inline"}})
    server.write(
        "func/a.py",
        "import pathlib, time\nhere = pathlib.Path(__file__).parent\n"
        "(here / 'loading').touch()\n"
        "while not (here / 'go').exists():\n    time.sleep(0.01)\n",
    )
    process = server.spawn()
    until(lambda: (server.home / "func" / "loading").exists())
    assert (server.home / "data" / "server.json").exists()
    process.send_signal(number)
    server.write("func/go", "")
    assert process.wait(60) == 130
    assert server.output.read_text() == "stopped\n"
    assert not (server.home / "data" / "server.json").exists()


def test_many_files_may_be_open_at_once(make_server: Make) -> None:
    server = make_server()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert server.process is not None
    given, _ = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert given == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))


def test_a_full_disk_for_the_log_shows_no_traceback(make_server: Make) -> None:
    server = make_server()
    server.write("data/logs/other", "")
    (server.home / "data" / "logs" / "onegai.log").symlink_to("/dev/full")
    server.start()
    assert server.stop() == 0
    assert "stopped" in server.output.read_text()
    assert "Traceback" not in server.output.read_text()


BEGUN = """
import asyncio
import time
from pathlib import Path

from onegai.handles.context import running_call


{kind} main(args: dict) -> None:
    Path(args["begun"]).touch()
    {rest}
"""


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("async def", "await asyncio.sleep(600)"),
        ("def", "while not running_call().loop.is_closed(): time.sleep(0.01)"),
    ],
)
def test_a_call_that_the_end_cuts_off_is_told_so(make_server: Make, kind: str, rest: str) -> None:
    server = make_server({"a": {"type": "inline"}})
    server.write("func/a.py", BEGUN.format(kind=kind, rest=rest))
    server.start()
    begun = server.home / "begun"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, "/api/a/main", {"begun": str(begun)})
        until(begun.exists)
        assert server.stop() == 0
        answer = call.result()
    assert (answer.status, answer.detail["code"]) == (503, "shutting_down")
    assert "exception" not in server.output.read_text()
