"""Speaks as ComfyUI 0.3.64 does, whose answers and messages were written down while it ran.

/prompt /history /view /ws /queue /interrupt /free /object_info /upload/image /models /system_stats.
It knows EmptyImage, LoadImage, SaveImage, PreviewImage, and Slow, which takes its steps one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import time
import uuid
import zlib
from typing import Any

from aiohttp import web

INPUTS = {
    "EmptyImage": {"width": "INT", "height": "INT", "batch_size": "INT", "color": "INT"},
    "LoadImage": {"image": "IMAGEFILE"},
    "SaveImage": {"images": "IMAGE", "filename_prefix": "STRING"},
    "PreviewImage": {"images": "IMAGE"},
    "Slow": {"image": "IMAGE", "steps": "INT", "seconds": "FLOAT"},
}
OUTPUTS = ("SaveImage", "PreviewImage")


def png(width: int, height: int, color: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    row = b"\0" + color.to_bytes(3, "big") * width
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(row * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Interrupted(Exception):
    pass


class Comfy:
    def __init__(self) -> None:
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.waiting: list[list[Any]] = []
        self.running: list[list[Any]] = []
        self.history: dict[str, Any] = {}
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.asked: list[tuple[str, Any]] = []
        self.interrupted = False
        self.number = 0
        self.more = asyncio.Event()

    # --- routes

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = socket
        await self.send(sid, "status", {"status": self.info(), "sid": sid})
        async for _ in socket:
            pass
        self.sockets.pop(sid, None)
        return socket

    async def prompt(self, request: web.Request) -> web.Response:
        given = await request.json()
        graph = given.get("prompt")
        if graph is None:
            return refused("no_prompt", "No prompt provided", "No prompt provided", {})
        for node, about in graph.items():
            kind = about.get("class_type")
            if kind not in INPUTS:
                message = f"Cannot execute because node {kind} does not exist."
                return refused("invalid_prompt", message, f"Node ID '#{node}'", {})
        outputs = [node for node, about in graph.items() if about["class_type"] in OUTPUTS]
        if not outputs:
            return refused("prompt_no_outputs", "Prompt has no outputs", "", {})
        errors = self.problems(graph)
        if errors:
            first = next(iter(errors.values()))["errors"][0]
            return refused(
                "prompt_outputs_failed_validation",
                "Prompt outputs failed validation",
                first["details"],
                errors,
            )
        number, self.number = self.number, self.number + 1
        prompt_id = str(given.get("prompt_id") or uuid.uuid4())
        extra = {"client_id": given.get("client_id")}
        self.waiting.append([number, prompt_id, graph, extra, outputs])
        self.more.set()
        await self.status()
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": {}})

    def problems(self, graph: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for node, about in graph.items():
            for name, kind in INPUTS[about["class_type"]].items():
                error = None
                if name not in about["inputs"]:
                    error = ("required_input_missing", "Required input is missing", name)
                elif kind == "INT" and not isinstance(about["inputs"][name], int):
                    value = about["inputs"][name]
                    why = f"{name}, {value}, invalid literal for int() with base 10: {value!r}"
                    message = "Failed to convert an input value to a INT value"
                    error = ("invalid_input_type", message, why)
                elif kind == "IMAGEFILE" and self.uploaded(about["inputs"][name]) is None:
                    why = f"image - Invalid image file: {about['inputs'][name]}"
                    error = ("custom_validation_failed", "Custom validation failed for node", why)
                if error:
                    one = {"type": error[0], "message": error[1], "details": error[2]}
                    entry = found.setdefault(node, {"errors": [], "dependent_outputs": []})
                    entry["errors"].append({**one, "extra_info": {"input_name": name}})
                    entry["class_type"] = about["class_type"]
        return found

    def uploaded(self, name: str) -> bytes | None:
        subfolder, _, file = str(name).rpartition("/")
        return self.files.get((file, subfolder, "input"))

    async def one_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        found = self.history.get(prompt_id)
        return web.json_response({prompt_id: found} if found else {})

    async def view(self, request: web.Request) -> web.Response:
        query = request.query
        key = (query.get("filename", ""), query.get("subfolder", ""), query.get("type", "output"))
        if key not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[key], content_type="image/png")

    async def queue(self, _request: web.Request) -> web.Response:
        return web.json_response({"queue_running": self.running, "queue_pending": self.waiting})

    async def change_queue(self, request: web.Request) -> web.Response:
        given = await request.json()
        self.asked.append(("queue", given))
        gone = set(given.get("delete") or ())
        self.waiting = [item for item in self.waiting if item[1] not in gone]
        await self.status()
        return web.Response(status=200)

    async def interrupt(self, request: web.Request) -> web.Response:
        given = await request.json()
        self.asked.append(("interrupt", given))
        prompt_id = given.get("prompt_id")
        if not prompt_id or any(item[1] == prompt_id for item in self.running):
            self.interrupted = True
        return web.Response(status=200)

    async def free(self, request: web.Request) -> web.Response:
        self.asked.append(("free", await request.json()))
        return web.Response(status=200)

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        kind, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        self.files[image.filename, subfolder, kind] = image.file.read()
        return web.json_response({"name": image.filename, "subfolder": subfolder, "type": kind})

    async def object_info(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                kind: {"input": {"required": {name: [type_, {}] for name, type_ in names.items()}}}
                for kind, names in INPUTS.items()
            }
        )

    async def folders(self, _request: web.Request) -> web.Response:
        return web.json_response(["checkpoints", "loras"])

    async def models(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        return web.json_response(["tiny.safetensors"] if folder == "checkpoints" else [])

    async def stats(self, _request: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "0.3.64"}, "devices": []})

    async def told(self, _request: web.Request) -> web.Response:
        """Not ComfyUI's: what was asked of it."""
        return web.json_response(self.asked)

    # --- work

    def info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.waiting) + len(self.running)}}

    async def status(self) -> None:
        for sid in list(self.sockets):
            await self.send(sid, "status", {"status": self.info()})

    async def send(self, sid: str | None, kind: str, data: Any) -> None:
        socket = self.sockets.get(sid or "")
        if socket is not None and not socket.closed:
            await socket.send_json({"type": kind, "data": data})

    async def work(self) -> None:
        while True:
            await self.more.wait()
            if not self.waiting:
                self.more.clear()
                continue
            item = self.waiting.pop(0)
            self.running = [item]
            self.interrupted = False
            await self.run(item)
            self.running = []
            await self.status()
            await self.send(item[3]["client_id"], "executing", {"node": None, "prompt_id": item[1]})

    async def run(self, item: list[Any]) -> None:
        _, prompt_id, graph, extra, _ = item
        sid = extra["client_id"]

        async def say(kind: str, **data: Any) -> None:
            data |= {"prompt_id": prompt_id}
            if kind.startswith("execution"):
                data["timestamp"] = int(time.time() * 1000)
            await self.send(sid, kind, data)

        states: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        values: dict[str, list[bytes]] = {}
        end, node = "success", ""
        await say("execution_start")
        await say("execution_cached", nodes=[])
        try:
            for node in ordered(graph):
                about = graph[node]
                states[node] = {"value": 0.0, "max": 1.0, "state": "running", "node_id": node}
                await say("progress_state", nodes=states)
                await say("executing", node=node, display_node=node)
                made = await self.node(about, values, states[node], say, states, sid)
                values[node] = made
                states[node] |= {"value": states[node]["max"], "state": "finished"}
                if about["class_type"] in OUTPUTS:
                    outputs[node] = {"images": self.kept(about, made)}
                    await say("executed", node=node, display_node=node, output=outputs[node])
                await say("progress_state", nodes=states)
        except Interrupted:
            end = "error"
            await say("execution_interrupted", node_id=node, node_type=graph[node]["class_type"])
        except ValueError as error:
            end = "error"
            await say(
                "execution_error",
                node_id=node,
                node_type=graph[node]["class_type"],
                exception_message=f"{error}\n",
                exception_type="ValueError",
            )
        if end == "success":
            await say("execution_success")
            await asyncio.sleep(0.05)  # what is told first is written down only now
        self.history[prompt_id] = {
            "prompt": item,
            "outputs": outputs,
            "status": {"status_str": end, "completed": end == "success", "messages": []},
        }

    async def node(
        self,
        about: dict[str, Any],
        values: dict[str, list[bytes]],
        state: dict[str, Any],
        say: Any,
        states: dict[str, Any],
        sid: str,
    ) -> list[bytes]:
        given = about["inputs"]
        if about["class_type"] == "EmptyImage":
            picture = png(given["width"], given["height"], given["color"])
            return [picture] * given["batch_size"]
        if about["class_type"] == "LoadImage":
            return [self.uploaded(given["image"]) or b""]
        if about["class_type"] == "Slow":
            state["max"] = float(given["steps"])
            for step in range(given["steps"]):
                if self.interrupted:
                    raise Interrupted
                await asyncio.sleep(given["seconds"])
                state["value"] = float(step + 1)
                await say("progress_state", nodes=states)
                socket = self.sockets.get(sid)
                if socket is not None and not socket.closed:
                    await socket.send_bytes(struct.pack(">II", 1, 2) + png(1, 1, step))
            return values[given["image"][0]]
        if ".." in given.get("filename_prefix", ""):
            raise ValueError("Saving image outside the output folder is not allowed.")
        return values[given["images"][0]]

    def kept(self, about: dict[str, Any], pictures: list[bytes]) -> list[dict[str, str]]:
        kind = "output" if about["class_type"] == "SaveImage" else "temp"
        prefix = about["inputs"].get("filename_prefix", "preview")
        found = []
        for picture in pictures:
            key = (f"{prefix}_{len(self.files):05}_.png", "", kind)
            self.files[key] = picture
            found.append(dict(zip(("filename", "subfolder", "type"), key, strict=True)))
        return found


def ordered(graph: dict[str, Any]) -> list[str]:
    """Nodes, each behind those that it needs."""
    found: list[str] = []

    def add(node: str) -> None:
        for value in graph[node]["inputs"].values():
            if isinstance(value, list):
                add(value[0])
        if node not in found:
            found.append(node)

    for node in graph:
        if graph[node]["class_type"] in OUTPUTS:
            add(node)
    return found


def refused(kind: str, message: str, details: str, errors: dict[str, Any]) -> web.Response:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return web.json_response({"error": error, "node_errors": errors}, status=400)


async def main(port: int) -> None:
    comfy = Comfy()
    app = web.Application()
    app.add_routes(
        [
            web.get("/ws", comfy.ws),
            web.post("/prompt", comfy.prompt),
            web.get("/history/{prompt_id}", comfy.one_history),
            web.get("/view", comfy.view),
            web.get("/queue", comfy.queue),
            web.post("/queue", comfy.change_queue),
            web.post("/interrupt", comfy.interrupt),
            web.post("/free", comfy.free),
            web.post("/upload/image", comfy.upload),
            web.get("/object_info", comfy.object_info),
            web.get("/models", comfy.folders),
            web.get("/models/{folder}", comfy.models),
            web.get("/system_stats", comfy.stats),
            web.get("/told", comfy.told),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await comfy.work()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(main(parser.parse_args().port))
