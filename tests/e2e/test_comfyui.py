"""comfyui's func file, against a server that speaks as ComfyUI does.

Where COMFYUI_DIR is a folder with a real one in app/ and its venv, most of this asks that one.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PASSWORD, ROOT, Answer, Server, fake, free_port, new_server, until

REAL = os.environ.get("COMFYUI_DIR", "")
only_fake = pytest.mark.skipif(bool(REAL), reason="ComfyUI has no node that waits")

CANVAS = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255},
        "_meta": {"title": "Canvas"},
    },
    "2": {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "x"},
        "_meta": {"title": "Save Image"},
    },
}
SLOW = {
    **CANVAS,
    "3": {"class_type": "Slow", "inputs": {"image": ["1", 0], "steps": 4, "seconds": 0.02}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "slow"}},
}
LOAD = {
    "7": {
        "class_type": "LoadImage",
        "inputs": {"image": "example.png"},
        "_meta": {"title": "Load Image"},
    },
    "9": {
        "class_type": "SaveImage",
        "inputs": {"images": ["7", 0], "filename_prefix": "loaded"},
        "_meta": {"title": "Save"},
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shipped = json.loads((ROOT / "services.json").read_text())["comfyui"]
    entry = {**shipped, **fake("comfyui"), "vram": 0, "type": "webapi"}
    if REAL:
        program = f"{REAL}/venv/bin/python {REAL}/app/main.py --cpu --listen 127.0.0.1"
        entry["exec"] = f"{program} --port {{port}} --disable-auto-launch --disable-api-nodes"
    with new_server(tmp_path_factory.mktemp("comfyui") / "home", {"comfyui": entry}) as server:
        for name in ("comfyui.py", "_pulling.py"):
            shutil.copy(ROOT / "func" / name, server.write(f"func/{name}", ""))
        folder = server.home / "flows"
        folder.mkdir()
        (folder / "canvas.json").write_text(json.dumps(CANVAS))
        (folder / "page.json").write_text(json.dumps({"nodes": [], "links": []}))
        own = {"workflows": "flows", "inputs": {"canvas": {"Canvas.color": 0x112233}}}
        server.write(
            "config.json",
            {"username": "onegai", "password": PASSWORD, "apps": {"comfyui": own}},
        )
        yield server.start()


def ask(server: Server, function: str = "main", **arguments: Any) -> Answer:
    return server.post(f"/api/comfyui/{function}", arguments)


def told(server: Server) -> list[Any]:
    port = json.loads((server.home / "services.json").read_text())["comfyui"]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/told") as answer:
        return json.load(answer)


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def test_a_workflow_gives_its_pictures(server: Server) -> None:
    inputs = {"Canvas.width": 96, "batch_size": 2, "2.filename_prefix": "two"}
    answer = ask(server, workflow=CANVAS, inputs=inputs)
    assert answer.status == 200, server.log("comfyui")
    assert [file["media_type"] for file in answer.result] == ["image/png"] * 2
    assert all(file["name"].startswith("two_") for file in answer.result)
    assert size(server.get(answer.result[0]["url"]).body) == (96, 32)
    assert answer.detail["outputs"] == {}


def test_the_same_again_is_given_again(server: Server) -> None:
    for _ in "12":  # ComfyUI itself does nothing the second time
        picture = ask(server, "raw", workflow=CANVAS, inputs={"Canvas.height": 48})
        assert (picture.headers["content-type"], size(picture.body)) == ("image/png", (64, 48))


def test_workflows_of_the_folder(server: Server) -> None:
    found = {one["name"]: one for one in ask(server, "workflows").result}
    assert found.keys() == {"canvas", "page"}
    assert found["canvas"]["inputs"] == {
        "Canvas.width": 64,
        "Canvas.height": 32,
        "Canvas.batch_size": 1,
        "Canvas.color": 255,
        "Save Image.filename_prefix": "x",
    }
    assert "API format" in found["page"]["problem"]
    picture = ask(server, "raw", workflow="canvas", inputs={"width": 8})
    assert size(picture.body) == (8, 32)


@pytest.mark.parametrize("name", ["nothing", "../flows/canvas", "/etc/passwd", "page"])
def test_a_workflow_that_is_none(server: Server, name: str) -> None:
    answer = ask(server, workflow=name)
    if name == "../flows/canvas":  # it is in the folder after all
        assert answer.status == 200
    else:
        assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")


@pytest.mark.parametrize("name", ["prompt", "Canvas.images", "3.width", "Canvas", "images"])
def test_an_input_that_is_none_says_which_there_are(server: Server, name: str) -> None:
    answer = ask(server, workflow=CANVAS, inputs={name: 1})
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    assert "Canvas.width" in answer.detail["hint"]


def test_a_refused_value_names_its_node(server: Server) -> None:
    answer = ask(server, workflow=CANVAS, inputs={"Canvas.width": "wide"})
    assert (answer.status, answer.detail["code"]) == (422, "error_answer")
    assert "Canvas (node 1)" in answer.result
    assert "wide" in answer.result


def test_an_unknown_node_is_named(server: Server) -> None:
    graph = {**CANVAS, "1": {**CANVAS["1"], "class_type": "NoSuchNode"}}
    answer = ask(server, workflow=graph)
    assert (answer.status, answer.detail["code"]) == (422, "error_answer")
    assert "NoSuchNode" in answer.result


def test_a_node_that_fails_is_named(server: Server) -> None:
    answer = ask(server, workflow=CANVAS, inputs={"filename_prefix": "x/../../../y"})
    assert (answer.status, answer.detail["code"]) == (502, "error_answer")
    assert "Save Image (node 2)" in answer.result


def test_a_picture_is_uploaded(server: Server) -> None:
    picture = ask(server, "raw", workflow=CANVAS, inputs={"width": 24}).body
    files = [{"base64": base64.b64encode(picture).decode(), "name": "my cat.png"}]
    inputs = {"Load Image.image": "my cat.png"}
    answer = ask(server, "raw", workflow=LOAD, inputs=inputs, files=files)
    assert answer.status == 200, answer.body
    assert size(answer.body) == (24, 32)
    refused = ask(server, workflow=LOAD, files=files)
    assert (refused.status, refused.detail["code"]) == (422, "bad_arguments")


def test_previews_are_given_if_they_are_wanted(server: Server) -> None:
    graph = {**CANVAS, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    assert ask(server, workflow=graph).result == []
    assert len(ask(server, workflow=graph, temporary=True).result) == 1
    assert ask(server, "raw", workflow=graph).status == 422


def test_models_by_folder(server: Server) -> None:
    found = ask(server, "models").result
    assert found["configs" if REAL else "checkpoints"]
    assert "loras" not in found


def events_of(server: Server, graph: dict[str, Any]) -> list[Any]:
    with server.client() as client:
        return list(client.stream("comfyui", "main", {"workflow": graph}))


def test_progress_names_the_nodes(server: Server) -> None:
    inputs = {**CANVAS["1"]["inputs"], "color": 77}
    events = events_of(server, {**CANVAS, "1": {**CANVAS["1"], "inputs": inputs}})
    progress = [event.data for event in events if event.event == "progress"]
    assert progress
    assert {data["text"] for data in progress} <= {"Canvas", "Save Image"}
    fractions = [data["fraction"] for data in progress if "fraction" in data]
    assert fractions == sorted(fractions)


@only_fake
def test_steps_are_told_while_previews_pass_by(server: Server) -> None:
    events = events_of(server, SLOW)
    texts = [event.data["text"] for event in events if event.event == "progress"]
    assert any(text.startswith("Slow, ") and text.endswith(" of 4") for text in texts)
    assert events[-1].event == "done"


@only_fake
def test_who_leaves_interrupts_what_runs_and_unqueues_what_waits(server: Server) -> None:
    long = {**SLOW, "3": {**SLOW["3"], "inputs": {**SLOW["3"]["inputs"], "steps": 100_000}}}
    events = {"Accept": "text/event-stream"}
    with server.reading("/api/comfyui/main", {"workflow": long}, **events) as first:
        until(lambda: b"of 100000" in first.readline() or None, what="a step")
        before = len(told(server))
        with server.reading("/api/comfyui/main", {"workflow": CANVAS}, **events) as second:
            until(lambda: b"running" in second.readline() or None, what="the second call")
            until(lambda: _queued(server) == 1, what="its place in the queue")
        until(lambda: _queued(server) == 0, what="its end")
        asked = told(server)[before:]
        assert [kind for kind, _ in asked] == ["queue"]
    until(lambda: [kind for kind, _ in told(server)][-1:] == ["interrupt"], what="an interrupt")
    assert ask(server, workflow=CANVAS).status == 200
    until(lambda: server.service("comfyui")["leases"] == 0)


def _queued(server: Server) -> int:
    port = json.loads((server.home / "services.json").read_text())["comfyui"]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/queue") as answer:
        return len(json.load(answer)["queue_pending"])


def test_it_frees_its_memory_for_another_app(tmp_path: Path) -> None:
    shipped = json.loads((ROOT / "services.json").read_text())["comfyui"]
    other = fake("ready", vram=8, port=free_port())
    entry = {**shipped, **fake("comfyui"), "vram": 8}
    with new_server(tmp_path / "home", {"comfyui": entry, "other": other}) as server:
        server.environment = {"ONEGAI_FAKE_GPU": "12"}
        shutil.copy(ROOT / "func/comfyui.py", server.write("func/comfyui.py", ""))
        server.start()
        assert ask(server, workflow=CANVAS).status == 200
        server.post("/service/start", {"app": "other"})
        asked = [entry for entry in told(server) if entry[0] == "free"]
        assert asked == [["free", {"unload_models": True, "free_memory": True}]]
        assert server.service("comfyui")["state"] == "parked"
