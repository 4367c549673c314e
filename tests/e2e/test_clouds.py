"""The apps of clouds as they are shipped, against servers of this machine that speak so."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import command, environment
from harness import FAKES, PASSWORD, ROOT, Answer, Server, new_server, until
from manual import read_page

KEY = "sk-test-5b1f3e9a7c2d4e6f"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PICTURE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
APPS = ("openai", "anthropic", "gemini")
PATHS = {"openai": "/v1", "anthropic": "/claude/v1", "gemini": "/v1beta"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "How it is there",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the fakes."""
    said = tmp_path_factory.mktemp("cloud") / "said"
    with said.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, str(FAKES / "cloud.py"), "--port", "0"], stdout=out
        )
    try:
        until(lambda: "listening" in said.read_text(), what="the clouds")
        yield said.read_text().split()[-1]
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(cloud: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The entries and func files as they are shipped; only url is another."""
    shipped = json.loads((ROOT / "services.json").read_text())
    entries = {app: shipped[app] for app in APPS}
    with new_server(tmp_path_factory.mktemp("home") / "home", entries) as server:
        for app in APPS:
            shutil.copy(ROOT / "func" / f"{app}.py", server.write(f"func/{app}.py", ""))
        apps = {app: {"url": cloud + PATHS[app], "model": "tiny-chat"} for app in APPS}
        apps["openai"] |= {
            f"{kind}_model": "tiny-voice" for kind in ("speech", "transcribe", "image")
        }
        keys = {f"{app}_key": KEY for app in APPS}
        server.write("config.json", {"password": PASSWORD, "apps": apps, **keys})
        yield server.start()


def ask(server: Server, app: str, function: str = "main", **arguments: Any) -> Answer:
    return server.post(f"/api/{app}/{function}", arguments)


def streamed(server: Server, app: str, **arguments: Any) -> tuple[list[str], dict[str, Any]]:
    """The pieces of text, and the data of the last event with its name."""
    with server.client() as client:
        events = list(client.stream(app, "stream", arguments))
    pieces = [event.data["result"] for event in events if event.event == "output"]
    return pieces, {"event": events[-1].event, **events[-1].data}


@pytest.mark.parametrize("app", APPS)
def test_chat(server: Server, app: str) -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    given = {"text": "hello there", "system": "be kind", "history": said, "max_tokens": 50}
    answer = ask(server, app, **given)
    assert (answer.status, answer.result) == (200, "be kind hello there")
    usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    assert answer.detail == {"usage": usage, "finish": "stop", "model": "tiny-chat-2026"}
    pieces, done = streamed(server, app, **given)
    assert pieces == ["be ", "kind ", "hello ", "there"]
    assert (done["event"], done["detail"]) == ("done", answer.detail)
    assert ask(server, app, "stream", **given).body == b"be kind hello there"


@pytest.mark.parametrize("app", APPS)
def test_pictures(server: Server, app: str) -> None:
    answer = ask(server, app, text="look", images=[PICTURE, PICTURE])
    one = f" and {len(PNG)} bytes of image/png"
    assert answer.result == f"look{one}{one}"
    alone = ask(server, app, images=[PICTURE])
    assert alone.result == one.strip() or alone.result == one, alone.body


@pytest.mark.parametrize("app", APPS)
def test_tools(server: Server, app: str) -> None:
    given = {"text": "how is it?", "tools": [WEATHER], "tool_choice": "auto"}
    answer = ask(server, app, **given)
    assert (answer.result, answer.detail["finish"]) == ("", "tool_calls")
    [call] = answer.detail["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Kyoto"}
    pieces, done = streamed(server, app, **given)
    assert pieces == []
    [same] = done["detail"]["tool_calls"]
    assert json.loads(same["function"]["arguments"]) == {"city": "Kyoto"}
    assert {**same, "function": call["function"]} == call
    history = [
        {"role": "user", "content": "how is it?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "sun"}'},
    ]
    assert ask(server, app, history=history, tools=[WEATHER]).result == '{"sky": "sun"}'
    forced = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", "none", forced):
        assert ask(server, app, **{**given, "tool_choice": choice}).status == 200


@pytest.mark.parametrize("app", ["anthropic", "gemini"])
def test_calls_of_tools_that_are_none(server: Server, app: str) -> None:
    for call in ({"id": "1", "function": {"name": "f", "arguments": "{"}}, {"id": "1"}):
        for function in ("main", "stream"):
            said = [{"role": "assistant", "tool_calls": [call]}]
            answer = ask(server, app, function, text="a", history=said)
            assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    assert ask(server, app, text="a", tool_choice="perhaps").status == 422


@pytest.mark.parametrize("app", APPS)
def test_an_answer_that_is_cut_at_its_length(server: Server, app: str) -> None:
    answer = ask(server, app, text="one two three four", model="long", max_tokens=2)
    assert (answer.result, answer.detail["finish"]) == ("one two ", "length")
    pieces, done = streamed(server, app, text="one two three", model="long", max_tokens=2)
    assert (pieces, done["detail"]["finish"]) == (["one ", "two "], "length")


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(
    ("model", "code", "upstream"),
    [("torn", "unreachable", None), ("cut", "error_answer", 200), ("late", "error_answer", True)],
)
def test_streams_that_do_not_end_well(
    server: Server, app: str, model: str, code: str, upstream: int | bool | None
) -> None:
    pieces, end = streamed(server, app, text="one two three four", model=model)
    assert "".join(pieces) in "one two three four"
    assert pieces
    assert (end["event"], end["code"], end["status"]) == ("error", code, 502)
    if upstream is True:
        upstream = {"openai": 500, "anthropic": 529, "gemini": 503}[app]
    assert end.get("upstream_status") == upstream


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("function", ["main", "stream"])
def test_who_is_busy_is_asked_once_more(server: Server, app: str, function: str) -> None:
    busy = f"busy-{APPS.index(app)}.{['main', 'stream'].index(function)}"
    answer = ask(server, app, function, text="hello", model=busy)
    assert answer.status == 200, answer.body
    full = ask(server, app, function, text="hello", model="full")
    assert (full.status, full.detail["code"], full.headers["retry-after"]) == (
        502,
        "error_answer",
        "60",
    )
    assert full.detail["upstream_status"] == (529 if app == "anthropic" else 503)
    long = ask(server, app, function, text="hello", model=f"busy-9{busy[5:]}")
    assert (long.status, long.detail["upstream_status"]) == (502, 429)


@pytest.mark.parametrize("app", APPS)
def test_models(server: Server, app: str) -> None:
    chat_only = app == "gemini"
    assert ask(server, app, "models").result == ["tiny-chat", "tiny-voice"][: 1 if chat_only else 2]
    answer = ask(server, app, text="hello", model="no-model")
    assert (answer.status, answer.detail["upstream_status"]) == (502, 404)


@pytest.mark.parametrize("app", APPS)
def test_more_for_the_apps_own_request(server: Server, app: str) -> None:
    answer = ask(server, app, text="hello", options={"what": 1})
    assert (answer.status, answer.detail["upstream_status"]) == (422, 400)


def test_voice_ears_and_pictures(server: Server) -> None:
    sound = ask(server, "openai", "speech", text="hello", format="wav", voice="nova", speed=1.5)
    assert sound.headers["content-type"] == "audio/wav"
    assert sound.body.endswith(b"hellonova")
    audio = {"base64": base64.b64encode(b"12345").decode(), "name": "a.wav"}
    heard = ask(server, "openai", "transcribe", audio=audio, language="ja")
    assert heard.result == "a.wav has 5 bytes in ja"
    assert heard.detail == {"usage": {"type": "duration", "seconds": 1}}
    painted = ask(server, "openai", "image", text="a cat", size="1024x1024")
    assert painted.body == PNG
    assert painted.headers["content-type"] == "image/png"
    assert b"https://x/y.png" in ask(server, "openai", "image", text="a", quality="standard").body


def test_keys_and_models_that_are_missing_or_wrong(server: Server) -> None:
    config = json.loads((server.home / "config.json").read_text())
    wrong = {**config, "openai_key": "sk-wrong-0123456789"}
    wrong["apps"] = {**config["apps"], "anthropic": {**config["apps"]["anthropic"], "model": ""}}
    del wrong["gemini_key"]
    try:
        server.edit("config.json", wrong)
        for answer in (ask(server, "openai", text="a"), ask(server, "openai", "stream", text="a")):
            assert (answer.status, answer.detail["upstream_status"]) == (502, 401)
            assert "openai_key" in answer.detail["hint"]
            for part in (b"sk-wrong", b"456789", b"6789"):
                assert part not in answer.body
        answer = ask(server, "anthropic", text="a")
        assert (answer.status, answer.detail["code"]) == (409, "setting_missing")
        assert "apps.anthropic.model" in answer.detail["hint"]
        answer = ask(server, "gemini", text="a")
        assert (answer.status, answer.detail["code"]) == (409, "key_missing")
        assert "gemini_key" in answer.detail["hint"]
    finally:
        server.edit("config.json", config)


def test_the_manual(cloud: str, tmp_path: Path) -> None:
    """Its commands in their order, but with a model that there is, and the clouds of this test."""
    text = (ROOT / "docs" / "clouds.md").read_text()
    page = read_page(ROOT / "docs" / "clouds.md")
    shipped = json.loads((ROOT / "services.json").read_text())
    here = {shipped[app]["url"]: cloud + PATHS[app] for app in APPS}
    for app, row in zip(
        APPS, re.findall(r"^\| `\w+` \| `(\w+)` .*`(http\S+)` \|$", text, re.M), strict=True
    ):
        assert row == (f"{app}_key", shipped[app]["url"])
    local = {app: {"url": here[shipped[app]["url"]]} for app in APPS}
    page.services["my_llm"]["url"] = cloud + PATHS["openai"]
    with new_server(tmp_path / "home", {app: shipped[app] for app in APPS}) as server:
        for app in APPS:
            shutil.copy(ROOT / "func" / f"{app}.py", server.write(f"func/{app}.py", ""))
        server.write("func/my_llm.py", page.files["func/my_llm.py"])
        server.write("services.local.json", {**local, **page.services})
        server.start()
        said = _by_hand(server, "bash run.sh config openai_key -", f"{KEY}\n")
        assert KEY not in said
        for block in re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.M):
            for line in block.splitlines():
                if "openai_key" in line or "x-api-key" in line or "version" in line:
                    continue  # done, or tested below
                line = line.replace("http://127.0.0.1:11434/v1", cloud + PATHS["openai"])
                said = _by_hand(server, line.replace("MODEL", "tiny-chat"))
                assert said or "-o" in line, line
        assert (server.home / "hello.wav").read_bytes().endswith(b"Hello there.alloy")
        assert (server.home / "cat.png").read_bytes() == PNG
        for app in ("anthropic", "gemini"):
            _by_hand(server, f"bash run.sh config {app}_key -", f"{KEY}\n")
            _by_hand(server, f"bash run.sh config apps.{app}.model tiny-chat")
        for shown in page.exchanges:
            answer = server.request(shown.method, shown.path, shown.body)
            shown.check(answer.status, answer.headers["content-type"], answer.body)
        assert server.post("/api/my_llm/main", {"text": "hello", "model": "m"}).result == "hello"
        older = [line for line in text.splitlines() if "run.sh config apps.anthropic." in line]
        for line in older:
            _by_hand(server, line)
        refused = server.post("/api/anthropic/main", {"text": "hello"})
        assert refused.detail["upstream_status"] == 401  # as the fake has the newer one
        assert len(older) == 2


def _by_hand(server: Server, line: str, typed: str = "") -> str:
    """What a command of the manual prints; files that it names lie in the home."""
    assert line.startswith("bash run.sh "), line
    words = shlex.split(line.removeprefix("bash run.sh "))
    done = subprocess.run(
        command(words),
        cwd=server.home,
        env=environment(server, PYTHONPATH=str(ROOT)),
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_fakes_are_what_the_clients_of_these_clouds_expect(cloud: str) -> None:
    done = subprocess.run(
        [_python(), str(ROOT / "tests" / "clouds" / "clients.py"), cloud, KEY],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _python() -> str:
    """Of a venv with these clients, made once for the lock."""
    lock = ROOT / "tests" / "clouds" / "clients.lock"
    venvs = ROOT / "data" / "clouds"
    venvs.mkdir(parents=True, exist_ok=True)
    made = venvs / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    python, complete = made / "bin" / "python", made / "complete"
    with (venvs / ".lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(made, ignore_errors=True)
            uv = _uv()
            make = [uv, "venv", "--quiet", str(made)]
            fill = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python)]
            for command in (make, [*fill, str(lock)]):
                subprocess.run(command, check=True, timeout=280)
            complete.touch()
    return str(python)


def _uv() -> str:
    own: Path = ROOT / "data" / "tools" / "bin" / "uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("there is no uv, which makes the venv of the clients")
    return found
