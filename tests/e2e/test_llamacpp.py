"""llamacpp as it is shipped: from a release and a model to answers.

The release and Hugging Face are servers of this machine. The llama-server in the archive is the
same llama.cpp out of xllamacpp, with smollm's model: the routes and their answers are real.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness import FAKES, PASSWORD, Answer, Server, copy_recipes, free_port, new_server, until
from hub import Hub, hub

pytestmark = pytest.mark.timeout(600)

RELEASE = "llama-b11549"
SERVER = """#!/bin/sh
if [ "$1" = --version ]; then echo "version: 11549"; exit; fi
LD_LIBRARY_PATH={smollm}/lib exec {smollm}/venv/bin/python {fakes}/llama_server.py "$@"
"""
REPOSITORY = "ggml-org/gemma-4-12B-it-GGUF"
OTHER = "someone/other-GGUF"
GATED = "someone/gated-GGUF"
TOKEN = "hf_test_5b1f3e9a7c2d"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the shipped recipes, and smollm installed."""
    with new_server(tmp_path_factory.mktemp("llamacpp") / "home") as server:
        copy_recipes(server.home)
        server.environment = {"no_proxy": "*", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": ""}
        server.start()
        install(server, "smollm")
        server.stop()
        yield server


@pytest.fixture(scope="module")
def model(server: Server) -> bytes:
    [path] = (server.home / "apps/smollm/venv/lib").glob("python3*/site-packages/*/*.gguf")
    return path.read_bytes()


@pytest.fixture(scope="module")
def models(model: bytes) -> Iterator[Hub]:
    files = {
        REPOSITORY: {
            "README.md": b"# x",
            "gemma-4-12B-it-Q8_0.gguf": b"GGUF of another size",
            "gemma-4-12B-it-Q4_0.gguf": model,
        },
        OTHER: {
            "other-Q4_K_M-00001-of-00002.gguf": b"GGUF" + b"1" * 3_000_000,
            "other-Q4_K_M-00002-of-00002.gguf": b"GGUF" + b"2" * 2_000_000,
            "mmproj-other-BF16.gguf": b"GGUF eyes of more",
            "mmproj-other-F16.gguf": b"GGUF eyes",
            "mtp-other-Q8_0.gguf": b"GGUF guesses",
        },
        GATED: {"gated-Q4_0.gguf": b"GGUF for few"},
    }
    with hub(files) as served:
        served.tokens[GATED] = TOKEN
        yield served


@pytest.fixture(scope="module")
def releases(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a folder with an archive as the release's are."""
    folder = tmp_path_factory.mktemp("releases")
    script = SERVER.format(smollm=server.home / "apps/smollm", fakes=FAKES).encode()
    with tarfile.open(folder / f"{RELEASE}-bin-ubuntu-x64.tar.gz", "w:gz") as archive:
        for name, content, mode in (
            ("llama-server", script, 0o755),
            ("libllama.so", b"a library", 0o644),
        ):
            about = tarfile.TarInfo(f"{RELEASE}/{name}")
            about.size, about.mode = len(content), mode
            archive.addfile(about, io.BytesIO(content))
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def llamacpp(server: Server, models: Hub, releases: str) -> Server:
    """llamacpp is installed, with its usual model."""
    own = {"port": free_port(), "vram": 0, "disk": 0.1, "from": releases, "target": "cpu"}
    own["context"] = 2048
    settings = {"username": "onegai", "password": PASSWORD, "hf_token": TOKEN}
    server.write("config.json", {**settings, "apps": {"llamacpp": own}})
    server.environment |= {"HF_ENDPOINT": models.url, "ONEGAI_DOWNLOAD_PAUSE": "0.01"}
    server.start()
    install(server, "llamacpp")
    return server


def install(server: Server, app: str) -> None:
    answer = server.request("POST", "/app/install", {"app": app, "wait": True}, timeout=400)
    assert answer.status == 200, server.log(f"install-{app}")


def ask(server: Server, function: str = "main", **arguments: Any) -> Answer:
    return server.post(f"/api/llamacpp/{function}", arguments)


def settings(server: Server, **keys: Any) -> None:
    found = json.loads((server.home / "config.json").read_text())
    found["apps"]["llamacpp"] |= keys
    server.edit("config.json", found)


def test_from_the_release_to_an_answer(llamacpp: Server, models: Hub) -> None:
    folder = llamacpp.home / "apps/llamacpp"
    assert (folder / "target").read_text() == "cpu\n"
    assert sorted(path.name for path in (folder / "bin").iterdir()) == [
        "libllama.so",
        "llama-server",
    ]
    assert [path.name for path in folder.glob(f"models/{REPOSITORY}/*")] == [
        "gemma-4-12B-it-Q4_0.gguf"
    ]
    question = {"text": "What is the capital of France?", "system": "Answer in one sentence."}
    answer = ask(llamacpp, **question, max_tokens=20, temperature=0)
    assert answer.status == 200, llamacpp.log("llamacpp")
    assert "Paris" in answer.result
    assert answer.detail["model"] == "12b"
    assert answer.detail["usage"]["completion_tokens"] > 0


def test_a_stream_is_the_answer_piece_by_piece(llamacpp: Server) -> None:
    arguments = {"text": "Name three animals.", "max_tokens": 30, "temperature": 0, "seed": 1}
    whole = ask(llamacpp, **arguments).result
    with llamacpp.client() as client:
        events = list(client.stream("llamacpp", "stream", arguments))
    pieces = [event.data["result"] for event in events if event.event == "output"]
    assert len(pieces) > 5
    assert "".join(pieces) == whole
    assert events[-1].data["detail"]["usage"]["completion_tokens"] > 0


def test_another_model_than_the_one_that_runs(llamacpp: Server) -> None:
    assert ask(llamacpp, text="Hi", model="12b", max_tokens=1).status == 200
    answer = ask(llamacpp, text="Hi", model="e2b")
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    assert "config apps.llamacpp.model e2b" in answer.detail["hint"]


def test_models_are_listed_and_pulled_while_the_service_sleeps(
    llamacpp: Server, models: Hub
) -> None:
    llamacpp.post("/service/stop", {"app": "llamacpp"})
    found = {one["name"]: one for one in ask(llamacpp, "models").result}
    assert {name for name, one in found.items() if one["there"]} == {"12b"}
    assert found["12b"]["chosen"]
    assert {"e4b", "e2b", "26b"} < found.keys()
    with llamacpp.client() as client:
        events = list(client.stream("llamacpp", "pull", {"model": OTHER}))
    assert events[-1].data["result"]["file"] == f"{OTHER}/other-Q4_K_M-00001-of-00002.gguf"
    progress = [event.data for event in events if event.event == "progress"]
    told = [data["fraction"] for data in progress if "fraction" in data]
    assert told == sorted(told)
    assert told
    folder = llamacpp.home / "apps/llamacpp/models" / OTHER
    assert sorted(path.name for path in folder.iterdir()) == [
        "mmproj-other-F16.gguf",
        "other-Q4_K_M-00001-of-00002.gguf",
        "other-Q4_K_M-00002-of-00002.gguf",
    ]
    assert (folder / "mmproj-other-F16.gguf").read_bytes() == b"GGUF eyes"
    there = {one["name"]: one for one in ask(llamacpp, "models").result}[f"{OTHER}:Q4_K_M"]
    assert (there["there"], there["gb"]) == (True, 0.005)
    assert llamacpp.service("llamacpp")["state"] == "stopped"
    models.asked.clear()
    assert ask(llamacpp, "pull", model=f"{OTHER}:q4_k_m").status == 200
    assert models.ranges(".gguf") == []


def test_a_pull_that_nobody_waits_for_ends_and_is_gone_on_with(
    llamacpp: Server, models: Hub
) -> None:
    shutil.rmtree(llamacpp.home / "apps/llamacpp/models" / OTHER, ignore_errors=True)
    waiting = llamacpp.home / "apps/llamacpp/models/.downloads"
    models.cut, models.patience = 1 << 20, 60
    models.asked.clear()
    with llamacpp.reading(
        "/api/llamacpp/pull", {"model": OTHER}, Accept="text/event-stream"
    ) as answer:
        assert answer.status == 200
        until(lambda: [one for one in waiting.glob("*.gguf") if one.stat().st_size == 1 << 20])
    until(lambda: not _pulls(llamacpp), what="the end of the pull")
    models.cut = 1 << 62
    models.held.set()
    models.asked.clear()
    assert ask(llamacpp, "pull", model=OTHER).status == 200
    assert models.ranges("00001-of-00002.gguf") == ["bytes=1048576-"]
    whole = models.repositories[OTHER]["other-Q4_K_M-00001-of-00002.gguf"]
    folder = llamacpp.home / "apps/llamacpp/models" / OTHER
    assert (folder / "other-Q4_K_M-00001-of-00002.gguf").read_bytes() == whole


def _pulls(server: Server) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"llamacpp_models.py" in words and str(server.home).encode() in words:
            found.append(path.parent.name)
    return found


def test_a_damaged_file_is_fetched_again(llamacpp: Server, models: Hub) -> None:
    ask(llamacpp, "pull", model=OTHER)
    path = llamacpp.home / "apps/llamacpp/models" / OTHER / "mmproj-other-F16.gguf"
    path.write_bytes(b"cut")
    assert ask(llamacpp, "pull", model=OTHER).status == 200
    assert path.read_bytes() == b"GGUF eyes"


def test_a_token_opens_what_is_gated_and_goes_nowhere_else(llamacpp: Server, models: Hub) -> None:
    assert ask(llamacpp, "pull", model=GATED).status == 200
    shown = {path: token for path, token in models.shown.items() if GATED in path}
    assert {token for path, token in shown.items() if "storage" not in path} == {f"Bearer {TOKEN}"}
    assert [token for path, token in shown.items() if "storage" in path] == [""]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody/has-this", "has no nobody/has-this"),
        ("13b", "there is no model '13b'"),
        ("../../etc/passwd", "there is no model"),
        (f"{OTHER}:Q2_K", "it has no Q2_K, but Q4_K_M"),
        ("--help", "there is no model"),
    ],
)
def test_a_model_that_is_not_there(llamacpp: Server, name: str, reason: str) -> None:
    answer = ask(llamacpp, "pull", model=name)
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    assert reason in answer.result


def test_a_start_without_the_chosen_model_says_how_to_have_it(llamacpp: Server) -> None:
    settings(llamacpp, model="e4b")
    llamacpp.post("/service/stop", {"app": "llamacpp"})
    answer = ask(llamacpp, text="Hi")
    assert (answer.status, answer.detail["code"]) == (502, "exited_early")
    assert any("call llamacpp pull model=e4b" in line for line in answer.detail["log"])
    settings(llamacpp, model="12b")


def test_embeddings_where_the_server_has_them(llamacpp: Server) -> None:
    llamacpp.post("/service/stop", {"app": "llamacpp"})
    refused = ask(llamacpp, "embeddings", texts="hello")
    assert (refused.status, refused.detail["code"]) == (502, "error_answer")
    settings(llamacpp, options=["--embeddings", "--pooling", "mean"])
    llamacpp.post("/service/stop", {"app": "llamacpp"})
    answer = ask(llamacpp, "embeddings", texts=["hello", "goodbye"])
    assert answer.status == 200, llamacpp.log("llamacpp")
    assert [len(vector) for vector in answer.result["embeddings"]] == [576, 576]
    assert answer.result["dim"] == 576
    settings(llamacpp, options=[])
