"""ollama as it is shipped: from a release to answers, with a server that speaks as Ollama does."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness import (
    FAKES,
    PASSWORD,
    ROOT,
    Answer,
    Server,
    copy_recipes,
    free_port,
    new_server,
    until,
)

pytestmark = pytest.mark.timeout(300)

PROGRAM = f'#!/bin/sh\nexec {sys.executable} {FAKES}/ollama.py "$@"\n'
PACK = """
import sys, zstandard
with open(sys.argv[1], "rb") as tar, open(sys.argv[2], "wb") as packed:
    zstandard.ZstdCompressor().copy_stream(tar, packed)
"""
CLIENT = """
import sys
from ollama import Client, ResponseError
client = Client(sys.argv[1])
steps = list(client.pull("gemma4:12b", stream=True))
assert steps[-1].status == "success", steps[-1]
assert any(step.completed and step.completed < step.total for step in steps)
assert "gemma4:12b" in [model.model for model in client.list().models]
messages = [{"role": "user", "content": "x"}]
words = [part.message.content for part in client.chat("gemma4:12b", messages, stream=True)]
assert "".join(words) == client.chat("gemma4:12b", messages).message.content
assert all(model.size_vram > 0 for model in client.ps().models)
assert "vision" in client.show("gemma4:12b").capabilities
assert len(client.embed("gemma4:12b", ["a", "b"]).embeddings) == 2
assert client.generate("gemma4:12b", keep_alive=0).done_reason == "unload"
assert "gemma4:12b" not in [model.model for model in client.ps().models]
try:
    client.chat("nothing", messages)
except ResponseError as error:
    assert error.status_code == 404
else:
    raise AssertionError("a model that is not there answers")
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


def made_by_uv(folder: Path, lock: str) -> Path:
    """The Python of a new venv that has what is locked."""
    uv = next(path for path in (ROOT / "data/tools/bin/uv", Path("/usr/bin/uv")) if path.exists())
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    python = folder / "bin/python"
    install = ["pip", "install", "-q", "--require-hashes", "--no-deps", "--python", python]
    subprocess.run([uv, *install, "-r", ROOT / lock], check=True)
    return python


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a folder with an archive as the release's is."""
    folder = tmp_path_factory.mktemp("releases")
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name, content, mode in (
            ("bin/ollama", PROGRAM.encode(), 0o755),
            ("lib/ollama/libggml-base.so.0.0.0", b"a library", 0o644),
        ):
            about = tarfile.TarInfo(f"./{name}")
            about.size, about.mode = len(content), mode
            archive.addfile(about, io.BytesIO(content))
        link = tarfile.TarInfo("./lib/ollama/libggml-base.so")
        link.type, link.linkname = tarfile.SYMTYPE, "libggml-base.so.0.0.0"
        archive.addfile(link)
    python = made_by_uv(folder / "venv", "install/ollama.lock")
    packed = folder / "ollama-linux-amd64.tar.zst"
    subprocess.run([python, "-c", PACK, folder / "a.tar", packed], check=True)
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(releases: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with new_server(tmp_path_factory.mktemp("ollama") / "home") as server:
        copy_recipes(server.home)
        own = {"port": free_port(), "vram": 0, "disk": 0.1, "from": releases, "target": "amd64"}
        own["model"] = "e2b"
        settings = {"username": "onegai", "password": PASSWORD, "apps": {"ollama": own}}
        server.write("config.json", settings)
        server.environment = {"no_proxy": "*"}
        server.start()
        order = {"app": "ollama", "wait": True}
        answer = server.request("POST", "/app/install", order, timeout=200)
        assert answer.status == 200, server.log("install-ollama")
        yield server


def ask(server: Server, function: str = "main", **arguments: Any) -> Answer:
    return server.post(f"/api/ollama/{function}", arguments)


def url(server: Server) -> str:
    port = json.loads((server.home / "config.json").read_text())["apps"]["ollama"]["port"]
    return f"http://127.0.0.1:{port}"


def told(server: Server) -> list[Any]:
    with urllib.request.urlopen(f"{url(server)}/told") as answer:
        return json.load(answer)


def test_a_model_that_is_not_there_says_how_it_is_fetched(server: Server) -> None:
    folder = server.home / "apps/ollama"
    assert (folder / "bin/ollama").stat().st_mode & 0o111
    assert (folder / "lib/ollama/libggml-base.so").read_bytes() == b"a library"
    answer = ask(server, text="こんにちは")
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    assert "call ollama pull model=gemma4:e2b" in answer.detail["hint"]
    with server.client() as client:
        events = list(client.stream("ollama", "stream", {"text": "x"}))
    assert events[-1].data["code"] == "bad_arguments"


def test_a_pull_tells_how_far_it_is_and_can_be_asked_for_again(server: Server) -> None:
    with server.client() as client:
        client.stop("ollama")  # it forgets what other tests have pulled
    events = {"Accept": "text/event-stream"}
    with server.reading("/api/ollama/pull", {}, **events) as answer:
        come = re.compile(rb'"fraction": ?0\.[1-9]')
        until(lambda: come.search(answer.readline()), what="a first part")
    with server.client() as client:
        told = list(client.stream("ollama", "pull", {}))
    assert told[-1].data["result"] == {"model": "gemma4:e2b"}
    fractions = [event.data["fraction"] for event in told if "fraction" in event.data]
    assert all(0 <= fraction <= 1 for fraction in fractions)


def test_a_pull_of_what_there_is_not(server: Server) -> None:
    answer = ask(server, "pull", model="nothing:1b")
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    assert "file does not exist" in answer.result


def test_chat(server: Server) -> None:
    ask(server, "pull")
    answer = ask(server, text="こんにちは", system="短く", max_tokens=20)
    assert answer.result == "はい、何でも聞いてください。"
    assert answer.detail["usage"]["completion_tokens"] == 6
    asked = [given for path, given in told(server) if path == "/v1/chat/completions"][-1]
    assert asked["model"] == "gemma4:e2b"
    assert asked["messages"][0] == {"role": "system", "content": "短く"}
    with server.client() as client:
        events = list(client.stream("ollama", "stream", {"text": "x"}))
    words = [event.data["result"] for event in events if event.event == "output"]
    assert "".join(words) == answer.result
    assert len(words) > 3


def test_models_embeddings_and_what_a_model_is(server: Server) -> None:
    ask(server, "pull")
    ask(server, text="x")
    found = {one["name"]: one for one in ask(server, "models").result}
    assert found["gemma4:e2b"]["there"]
    assert found["gemma4:e2b"]["chosen"]
    assert found["gemma4:e2b"]["vram_gb"] == 5.14
    assert not found["26b"]["there"]
    assert ask(server, "show").result["capabilities"] == ["completion", "vision"]
    assert ask(server, "pull", model="all-minilm").status == 200
    vectors = ask(server, "embeddings", texts=["a", "bc"], model="all-minilm").result
    assert (vectors["dim"], len(vectors["embeddings"])) == (3, 2)


def test_unload_frees_the_gpu(server: Server) -> None:
    ask(server, "pull")
    ask(server, text="x")
    assert ask(server, "unload").result
    asked = [given for path, given in told(server) if path == "/api/generate"]
    assert {"model": "gemma4:e2b", "keep_alive": 0} in asked
    assert all(one["vram_gb"] == 0 for one in ask(server, "models").result)


def test_ollamas_own_package_reads_what_it_is_asked(server: Server, tmp_path: Path) -> None:
    ask(server, "models")
    python = made_by_uv(tmp_path / "venv", "tests/ollama_client.lock")
    subprocess.run([python, "-c", CLIENT, url(server)], check=True, timeout=60)
