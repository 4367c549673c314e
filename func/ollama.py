"""Ollama: chat models that are fetched by name, on the GPU or without one. docs/llms.md.

Of its own in config.json (apps.ollama): model; version, target, from.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from func._pulling import Nothing, Pull, how_far
from onegai.errors import BadArguments, ErrorAnswer
from onegai.sdk import config, progress, service
from onegai.sdk.chat import Chat, OpenAI, answer, pieces

ollama = service("ollama")

NAMES = {"12b": "gemma4:12b", "e4b": "gemma4:e4b", "e2b": "gemma4:e2b", "26b": "gemma4:26b"}
"""Gemma 4 speaks Japanese, sees, and is under Apache-2.0. The first is the usual one."""
DIALECT = OpenAI("/v1/chat/completions")


class Texts(BaseModel):
    texts: str | list[str] = Field(description="one or more")
    model: str = Field(min_length=1, description="a model of embeddings, such as embeddinggemma")


def main(args: Chat) -> tuple[str, dict[str, Any]]:
    """Answer a text. The detail has the tokens it took, why it ended, and the tools it calls."""
    model = _model(args.model)
    with _told(model):
        return answer(ollama, DIALECT, args, model)


def stream(args: Chat) -> Iterator[str]:
    """Answer a text, word by word as the model finds them."""
    model = _model(args.model)
    with _told(model):
        return (yield from pieces(ollama, DIALECT, args, model))


def embeddings(args: Texts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Vectors of texts."""
    model = _model(args.model)
    with _told(model):
        found = ollama.post("/api/embed", json={"model": model, "input": args.texts}).json()
    vectors = found["embeddings"]
    usage = {"usage": {"prompt_tokens": found.get("prompt_eval_count", 0)}, "model": model}
    return {"dim": len(vectors[0]), "embeddings": vectors}, usage


def models(args: Nothing) -> list[dict[str, Any]]:  # noqa: ARG001 - nothing to say
    """The models that are there, and those that can be pulled by a short name."""
    with ollama.lease():
        there = {one["name"]: one for one in ollama.get("/api/tags").json()["models"]}
        loaded = {one["name"]: one for one in ollama.get("/api/ps").json()["models"]}
    chosen = _model(None)
    found = [
        {
            "name": name,
            "gb": round(one["size"] / 1e9, 2),
            "there": True,
            "vram_gb": round(loaded[name].get("size_vram", 0) / 1e9, 2) if name in loaded else 0,
            "chosen": name == _whole(chosen),
        }
        for name, one in there.items()
    ]
    return found + [
        {"name": name, "gb": None, "there": False, "vram_gb": 0, "chosen": full == chosen}
        for name, full in NAMES.items()
        if full not in there
    ]


def pull(args: Pull) -> dict[str, Any]:
    """Fetch a model, or the rest of one. Then it can be used at once."""
    model = _model(args.model or None)
    done: dict[str, tuple[int, int]] = {}
    with ollama.lines("POST", "/api/pull", json={"model": model}) as lines:
        status = ""
        for line in filter(str.strip, lines):
            told = json.loads(line)
            if "error" in told:
                reason = f"{model}: {told['error']}"
                raise BadArguments(reason=reason, do="see https://ollama.com/library for names")
            status = told.get("status", "")
            if digest := told.get("digest"):
                done[digest] = (told.get("completed", 0), told.get("total", 0))
                have, whole = (sum(values) for values in zip(*done.values(), strict=True))
                progress(*how_far(have, whole, model))
            else:
                progress(text=f"{model}: {status}")
    if status != "success":
        raise RuntimeError(f"its pull of {model} ended before it was complete: {status}")
    return {"model": model}


def show(args: Pull) -> dict[str, Any]:
    """What a model is: its details, and what it can do (vision, tools, thinking …)."""
    model = _model(args.model or None)
    with _told(model):
        found = ollama.post("/api/show", json={"model": model}).json()
    about = {key: found[key] for key in ("details", "capabilities", "parameters") if key in found}
    return {"model": model, **about}


def unload(args: Nothing) -> list[str]:  # noqa: ARG001 - nothing to say
    """Free what the models have of the GPU; the next call loads its model again."""
    with ollama.lease():
        names = [one["name"] for one in ollama.get("/api/ps").json()["models"]]
        for name in names:
            ollama.post("/api/generate", json={"model": name, "keep_alive": 0})
    return names


def _model(wanted: str | None) -> str:
    name = str(wanted or config("ollama").get("model") or "12b")
    return NAMES.get(name.lower(), name)


def _whole(name: str) -> str:
    """As Ollama lists it."""
    return name if ":" in name else f"{name}:latest"


class _told:  # noqa: N801 - used as a function
    """Says how a model that is not there is fetched. Raises BadArguments for Ollama's 404."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ErrorAnswer) and error.upstream_status == 404:
            reason = f"ollama has no model {self.model!r}"
            do = f"bash run.sh call ollama pull model={self.model}"
            raise BadArguments(reason=reason, do=do) from None
