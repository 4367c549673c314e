"""ComfyUI: workflows as functions, with inputs by name. docs/comfyui.md.

Of its own in config.json (apps.comfyui): workflows, a folder of workflows in API format; inputs.
"""

import asyncio
import copy
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from onegai.errors import BadArguments
from onegai.handles.websocket import WebSocket
from onegai.sdk import File, async_service, config, progress, without_service

comfyui = async_service("comfyui")

HOME = Path(__file__).resolve().parents[1]
FILES = ("images", "gifs", "video", "audio", "3d")
"""Kinds of outputs that are files."""
PATIENCE = 5
"""Seconds between two looks at what a workflow has made, at most."""

Json = dict[str, Any]


class Run(BaseModel):
    workflow: Json | str = Field(
        description="in API format (Export (API) of its page), or the name of one: see workflows"
    )
    inputs: Json = Field(
        default={},
        description='values by name: "6.text" (node and input), "Prompt.text" (its title), or '
        '"prompt" (a title, or an input that one node has)',
    )
    files: list[File] = Field(
        default=[], description="uploaded first; an input takes one by its name"
    )
    temporary: bool = Field(default=False, description="previews (PreviewImage) are given, too")


class Nothing(BaseModel):
    pass


async def main(args: Run) -> tuple[list[File], Json]:
    """Run a workflow. Gives the files that it makes; the detail has its other outputs by node."""
    graph = _graph(args.workflow)
    async with comfyui.lease():
        for name, value in {**_names(args.workflow), **args.inputs}.items():
            _set(graph, name, value)
        await _upload(graph, args.files)
        prompt = await _run(graph)
        outputs = await _outputs(prompt)
        files = [
            await _file(made)
            for output in outputs.values()
            for kind in FILES
            for made in output.get(kind) or ()
            if isinstance(made, dict) and (args.temporary or made.get("type") != "temp")
        ]
    rest = {
        node: {key: value for key, value in output.items() if key not in (*FILES, "animated")}
        for node, output in outputs.items()
    }
    told = {node: output for node, output in rest.items() if output}
    return files, {"prompt_id": prompt, "outputs": told}


async def raw(args: Run) -> File:
    """The first of the files that a workflow makes, as it is."""
    files, _ = await main(args)
    if not files:
        raise BadArguments(reason="the workflow makes no file", do="give it a SaveImage node")
    return files[0]


@without_service
async def workflows(args: Nothing) -> list[Json]:  # noqa: ARG001 - nothing to say
    """The workflows of the folder: each with its name, and the inputs that it can be given."""
    return await asyncio.to_thread(_workflows)


async def models(args: Nothing) -> dict[str, list[str]]:  # noqa: ARG001 - nothing to say
    """The files of models that there are, by the folder that they are in."""
    async with comfyui.lease():
        folders = (await comfyui.get("/models")).json()
        found = {folder: (await comfyui.get(f"/models/{folder}")).json() for folder in folders}
    return {folder: files for folder, files in found.items() if files}


# --- the workflow and its inputs


def _folder() -> Path:
    return HOME / str(config("comfyui").get("workflows") or "apps/comfyui/workflows")


def _workflows() -> list[Json]:
    found = []
    for path in sorted(_folder().rglob("*.json")):
        name = path.relative_to(_folder()).as_posix().removesuffix(".json")
        try:
            found.append({"name": name, "inputs": _inputs(_graph(name))})
        except BadArguments as error:
            found.append({"name": name, "problem": error.message})
    return found


def _graph(workflow: Json | str) -> Json:
    """A copy of the workflow that is meant. Raises BadArguments."""
    where = "the workflow"
    if isinstance(workflow, str):
        folder = _folder().resolve()
        path = (folder / f"{workflow}.json").resolve()
        where = f"{workflow}.json"
        if not path.is_relative_to(folder) or not path.is_file():
            do = f"put it, in API format, into {folder}; bash run.sh call comfyui workflows"
            raise BadArguments(reason=f"there is no workflow {workflow!r}", do=do)
        try:
            workflow = json.loads(path.read_text("utf-8-sig"))
        except ValueError as error:
            raise BadArguments(
                reason=f"{where} is not JSON: {error}", do="export it again"
            ) from None
    nodes = workflow.get("prompt", workflow) if isinstance(workflow, dict) else None
    if not isinstance(nodes, dict) or "nodes" in nodes or not nodes:
        do = "in ComfyUI's page: Workflow, Export (API)"
        raise BadArguments(reason=f"{where} is not in API format", do=do)
    for node, about in nodes.items():
        if not isinstance(about, dict) or not isinstance(about.get("class_type"), str):
            reason = f"{where}: node {node} has no class_type"
            raise BadArguments(reason=reason, do="in ComfyUI's page: Workflow, Export (API)")
    return copy.deepcopy(nodes)


def _names(workflow: Json | str) -> Json:
    """Values that config.json has for this workflow: apps.comfyui.inputs."""
    values = config("comfyui").get("inputs")
    own = (
        values.get(workflow) if isinstance(values, Mapping) and isinstance(workflow, str) else None
    )
    return dict(own) if isinstance(own, Mapping) else {}


def _inputs(graph: Json) -> Json:
    """What can be set, by the name that says it, with its value."""
    return {
        f"{_title(graph, node) or node}.{name}": value
        for node, about in graph.items()
        for name, value in about.get("inputs", {}).items()
        if not _is_link(value)
    }


def _title(graph: Json, node: str) -> str:
    """Its title, if no other node has it, and it is none that says nothing."""
    title = str((graph[node].get("_meta") or {}).get("title") or "")
    same = [1 for about in graph.values() if (about.get("_meta") or {}).get("title") == title]
    return title if title and len(same) == 1 else ""


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _set(graph: Json, name: str, value: Any) -> None:
    """Give an input its value. Raises BadArguments, with the names that there are."""
    node, _, key = name.rpartition(".")
    places = [
        (one, key)
        for one, about in graph.items()
        if node and _called(graph, one, node) and key in about.get("inputs", {})
    ]
    if not places:  # a title alone: its only input that is no link, or text
        for one, about in graph.items():
            own = [key for key, old in about.get("inputs", {}).items() if not _is_link(old)]
            if _called(graph, one, name) and own:
                fits = own if len(own) == 1 else [key for key in own if key in ("text", "value")]
                places += [(one, key) for key in fits or own[:0]]
    if not places:
        places = [
            (one, name)
            for one, about in graph.items()
            if name in about.get("inputs", {}) and not _is_link(about["inputs"][name])
        ]
    if len(places) != 1:
        there = ", ".join(_inputs(graph))
        why = "is in several nodes" if places else "is none of its inputs"
        raise BadArguments(reason=f"inputs: {name!r} {why}", do=f"there is: {there[:1000]}")
    [(one, key)] = places
    graph[one]["inputs"][key] = value


def _called(graph: Json, node: str, name: str) -> bool:
    return name == node or name.casefold() == _title(graph, node).casefold() != ""


async def _upload(graph: Json, files: list[File]) -> None:
    """Have the files there, under names of their own, and the inputs that name them say so."""
    for file in files:
        own = uuid.uuid4().hex[:12] + "-" + re.sub(r"[^\w.-]", "_", file.name)
        content = (own, await asyncio.to_thread(file.read), file.media_type)
        fields = {"type": "input", "subfolder": "onegai"}
        sent = await comfyui.post("/upload/image", files={"image": content}, data=fields)
        there = sent.json()
        path = "/".join(filter(None, (there.get("subfolder"), there["name"])))
        used = False
        for about in graph.values():
            for key, value in about.get("inputs", {}).items():
                if value == file.name:
                    about["inputs"][key] = path
                    used = True
        if not used:
            do = f'say which: "inputs": {{"Load Image.image": "{file.name}"}}'
            raise BadArguments(reason=f"files: no input is {file.name!r}", do=do)


# --- running it


async def _run(graph: Json) -> str:
    """Have it done, and tell how far it is. Gives the prompt's id; raises ErrorAnswer."""
    client = uuid.uuid4().hex
    async with comfyui.websocket(f"/ws?clientId={client}") as socket:
        answer = await comfyui.post(
            "/prompt", json={"prompt": graph, "client_id": client}, check=False
        )
        if not answer.ok:
            answer = _named(answer, graph)
            answer.checked()
        prompt, cached = answer.json()["prompt_id"], 0
        try:
            async with aclosing(_events(socket, prompt)) as events:
                async for kind, data in events:
                    if kind == "execution_cached":
                        cached = len(data.get("nodes") or ())
                    _tell(graph, cached, kind, data)
                    if kind == "execution_error":
                        raise answer.error(_failure(graph, data))
                    if kind == "execution_interrupted":
                        raise answer.error("it was interrupted")
        except BaseException:
            await asyncio.shield(_cancel(prompt))
            raise
    return prompt


async def _events(socket: WebSocket, prompt: str) -> AsyncIterator[tuple[str, Json]]:
    """What happens to this prompt, up to its end; previews as ("preview", {"image": bytes})."""
    while True:
        message = await socket.receive()
        if isinstance(message, bytes):  # of the one that runs: a type, a format, a picture
            yield "preview", {"image": message[8:]}
            continue
        kind, data = message.get("type"), message.get("data") or {}
        if kind == "status":
            yield kind, data
        elif data.get("prompt_id") == prompt:
            yield kind, data
            ended = kind == "executing" and data.get("node") is None
            if ended or kind in ("execution_success", "execution_error", "execution_interrupted"):
                return


def _tell(graph: Json, cached: int, kind: str, data: Json) -> None:
    if kind == "progress_state":
        states = data.get("nodes") or {}
        done = cached + sum(_share(state) for state in states.values())
        running = [one for one, state in states.items() if state.get("state") == "running"]
        if running:
            node = running[-1]
            step = states[node]
            value, most = step.get("value") or 0, step.get("max") or 0
            steps = f", {value:g} of {most:g}" if most > 1 else ""
            progress(done / max(len(graph), 1), _node(graph, node) + steps, node=node)
    elif kind == "executing" and data.get("node"):
        progress(text=_node(graph, data["node"]), node=data["node"])
    elif kind == "progress":  # of versions that have no progress_state
        progress(text=f"{data.get('value')} of {data.get('max')}", node=data.get("node"))


def _share(state: Json) -> float:
    if state.get("state") == "finished":
        return 1.0
    most = state.get("max") or 0
    return min((state.get("value") or 0) / most, 1.0) if most else 0.0


def _node(graph: Json, node: str) -> str:
    about = graph.get(node) or {}
    title = (about.get("_meta") or {}).get("title")
    return str(title or about.get("class_type") or f"node {node}")


def _failure(graph: Json, data: Json) -> str:
    node = str(data.get("node_id"))
    said = str(data.get("exception_message") or data.get("exception_type") or "it failed")
    return f"{_node(graph, node)} (node {node}): {said.strip()[:1000]}"


def _named(answer: Any, graph: Json) -> Any:
    """A refusal, whose reason says which node it is about."""
    try:
        said = answer.json()
    except Exception:  # noqa: BLE001 - then it is told as it is
        return answer
    reasons = [
        f"{_node(graph, node)} (node {node}): {error.get('message')}: {error.get('details')}"
        for node, about in (said.get("node_errors") or {}).items()
        for error in about.get("errors") or ()
    ]
    if not reasons and isinstance(said.get("error"), dict):
        error = said["error"]
        reasons = [" ".join(filter(None, (error.get("message"), error.get("details"))))]
    if reasons:
        raise answer.error("; ".join(reasons)[:2000])
    return answer


async def _outputs(prompt: str) -> Json:
    """What it has made, by node. It is told of the end a moment before that is written down."""
    pause = 0.01
    while True:
        answer = await comfyui.get(f"/history/{prompt}")
        if found := answer.json().get(prompt):
            outputs: Json = found["outputs"]
            return outputs
        if pause > PATIENCE:
            raise answer.error("it knows nothing of what it has done")
        await asyncio.sleep(pause)
        pause *= 2


async def _cancel(prompt: str) -> None:
    """Nobody wants it any more: out of the queue, or ended if it runs."""
    with suppress(Exception):
        await comfyui.post("/queue", json={"delete": [prompt]}, timeout=5)
        running = (await comfyui.get("/queue", timeout=5)).json()["queue_running"]
        if any(item[1] == prompt for item in running):  # older ones interrupt whatever runs
            await comfyui.post("/interrupt", json={"prompt_id": prompt}, timeout=5)


async def _file(made: Json) -> File:
    where = {key: made.get(key) or "" for key in ("filename", "subfolder", "type")}
    answer = await comfyui.get("/view", params=where)
    return File(answer.content, where["filename"])
