"""Speaks as Ollama does, by docs/api.md and docs/api/errors.mdx of its version 0.32.15.

/api/version /api/tags /api/ps /api/show /api/pull /api/chat /api/generate /api/embed and
/v1/chat/completions. Ollama's own Python package reads it (tests/e2e/test_ollama.py). Its library
has gemma4:e2b, in three layers, and "broken", whose pull fails.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpd

ANSWER = ["はい", "、", "何でも", "聞いて", "ください", "。"]
LAYERS = {"a": 7_000_000, "b": 12_000, "c": 500}
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "gemma4",
    "families": ["gemma4"],
    "parameter_size": "5.1B",
    "quantization_level": "Q4_K_M",
}
LIBRARY = ("gemma4:e2b", "gemma4:12b", "all-minilm:latest")


class Ollama:
    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.there: set[str] = set()
        self.loaded: set[str] = set()
        self.come: dict[str, int] = {}
        """Bytes of layers that a pull has brought, by digest."""
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, request: httpd.Request) -> httpd.Answer:
        route = (request.method, request.path)
        if route == ("GET", "/"):
            return httpd.Answer(b"Ollama is running")
        if route == ("GET", "/api/version"):
            return httpd.as_json({"version": "0.32.15"})
        if route == ("GET", "/api/tags"):
            return httpd.as_json({"models": [self.model(name) for name in sorted(self.there)]})
        if route == ("GET", "/api/ps"):
            more = {"expires_at": now(), "size_vram": 5_137_025_024}
            models = [{**self.model(name), **more} for name in sorted(self.loaded)]
            return httpd.as_json({"models": models})
        if route == ("GET", "/told"):  # not Ollama's
            return httpd.as_json(self.asked)
        given = json.loads(request.body or b"{}")
        self.asked.append((request.path, given))
        name = whole(given.get("model") or given.get("name") or "")
        if route == ("POST", "/api/pull"):
            return httpd.Answer(lines(self.pull(name)), "application/x-ndjson")
        if name not in self.there:
            said = f"model '{given.get('model')}' not found"
            if request.path.startswith("/v1/"):
                error = {"message": said, "type": "not_found_error", "param": None, "code": None}
                return httpd.as_json({"error": error}, 404)
            return httpd.as_json({"error": said}, 404)
        return self.of_a_model(request.path, name, given)

    def of_a_model(self, path: str, name: str, given: dict[str, Any]) -> httpd.Answer:
        stream = given.get("stream", not path.startswith("/v1/"))
        if path == "/api/show":
            about = {"general.architecture": "gemma4"}
            told = {
                "details": DETAILS,
                "model_info": about,
                "capabilities": ["completion", "vision"],
            }
            return httpd.as_json({"modelfile": f"FROM {name}", "template": "", **told})
        if given.get("keep_alive") == 0 and not (given.get("prompt") or given.get("messages")):
            self.loaded.discard(name)
            said = {"model": name, "created_at": now(), "response": ""}
            return httpd.as_json({**said, "done": True, "done_reason": "unload"})
        self.loaded.add(name)
        if path == "/api/embed":
            texts = given["input"] if isinstance(given["input"], list) else [given["input"]]
            vectors = [[float(len(text)), 0.5, -0.5] for text in texts]
            return httpd.as_json(
                {"model": name, "embeddings": vectors, "prompt_eval_count": len(texts)}
            )
        if path == "/api/chat":
            pieces = self.chat(name)
            if stream:
                return httpd.Answer(lines(pieces), "application/x-ndjson")
            *_, last = pieces
            return httpd.as_json({**last, "message": message("".join(ANSWER))})
        if path == "/v1/chat/completions":
            if stream:
                return httpd.Answer(self.chunks(name, given), "text/event-stream")
            choice = {"index": 0, "message": message("".join(ANSWER)), "finish_reason": "stop"}
            about = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": name}
            usage = {"prompt_tokens": 26, "completion_tokens": 6, "total_tokens": 32}
            return httpd.as_json({**about, "choices": [choice], "usage": usage})
        return httpd.as_json({"error": "not here"}, 404)

    def model(self, name: str) -> dict[str, Any]:
        digest = hashlib.sha256(name.encode()).hexdigest()
        about = {"name": name, "model": name, "modified_at": now(), "digest": digest}
        return {**about, "size": sum(LAYERS.values()), "details": DETAILS}

    def pull(self, name: str) -> Iterator[dict[str, Any]]:
        yield {"status": "pulling manifest"}
        if name not in LIBRARY:
            yield {"error": "pull model manifest: file does not exist"}
            return
        for layer, size in LAYERS.items():
            digest = "sha256:" + hashlib.sha256(f"{name} {layer}".encode()).hexdigest()
            told = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": size}
            yield told
            while self.come.get(digest, 0) < size:
                time.sleep(self.patience)
                self.come[digest] = min(self.come.get(digest, 0) + 1_000_000, size)
                yield {**told, "completed": self.come[digest]}
        for status in ("verifying sha256 digest", "writing manifest"):
            yield {"status": status}
        self.there.add(name)
        yield {"status": "success"}

    def chat(self, name: str) -> Iterator[dict[str, Any]]:
        for word in ANSWER:
            yield {"model": name, "created_at": now(), "message": message(word), "done": False}
        counts = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": 26}
        end = {"message": message(""), "done": True, "done_reason": "stop", "eval_count": 6}
        yield {"model": name, "created_at": now(), **end, **counts}

    def chunks(self, name: str, given: dict[str, Any]) -> Iterator[bytes]:
        about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": name}
        for word in ANSWER:
            choice = {"index": 0, "delta": message(word), "finish_reason": None}
            yield event({**about, "choices": [choice]})
        choice = {"index": 0, "delta": message(""), "finish_reason": "stop"}
        yield event({**about, "choices": [choice]})
        if (given.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 26, "completion_tokens": 6, "total_tokens": 32}
            yield event({**about, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def lines(values: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for value in values:
        yield json.dumps(value).encode() + b"\n"


def whole(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime())


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print("ollama version is 0.32.15")
        sys.exit()
    if sys.argv[1:] == ["serve"]:
        host, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
        httpd.serve(host, int(port), Ollama(0.02))
    options = httpd.options(__doc__).parse_args()
    httpd.serve(options.host, options.port, Ollama(0.02))
