"""llama.cpp: a chat model on the own GPU, or without one. docs/llms.md.

Of its own in config.json (apps.llamacpp): model, context, options; version, target, from.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from func._pulling import Nothing, Pull, how_far
from onegai.errors import BadArguments
from onegai.sdk import config, progress, service, without_service
from onegai.sdk.chat import Chat, OpenAI, answer, pieces

llamacpp = service("llamacpp")

HOME = Path(__file__).resolve().parents[1]
MODELS = HOME / "apps" / "llamacpp" / "models"
USUAL = "12b"
DIALECT = OpenAI("/v1/chat/completions")


class Texts(BaseModel):
    texts: str | list[str] = Field(description="one or more")


def main(args: Chat) -> tuple[str, dict[str, Any]]:
    """Answer a text. The detail has the tokens it took, why it ended, and the tools it calls."""
    return answer(llamacpp, DIALECT, args, _model(args.model))


def stream(args: Chat) -> Iterator[str]:
    """Answer a text, word by word as the model finds them."""
    return (yield from pieces(llamacpp, DIALECT, args, _model(args.model)))


def embeddings(args: Texts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Vectors of texts, where the server was started with --embeddings and such a model."""
    body = {"model": _chosen(), "input": args.texts}
    found = llamacpp.post("/v1/embeddings", json=body).json()
    vectors = [one["embedding"] for one in sorted(found["data"], key=lambda one: one["index"])]
    usage = {"usage": found.get("usage", {}), "model": found.get("model", "")}
    return {"dim": len(vectors[0]), "embeddings": vectors}, usage


@without_service
async def models(args: Nothing) -> list[dict[str, Any]]:  # noqa: ARG001 - nothing to say
    """The models that are there, and those that can be pulled by a short name."""
    program = await _program("list", str(MODELS))
    said, _ = await program.communicate()
    chosen = _chosen()
    return [{**one, "chosen": one["name"] == chosen} for one in json.loads(said)]


@without_service
async def pull(args: Pull) -> dict[str, Any]:
    """Fetch a model, or the rest of one; the service need not run. Then: apps.llamacpp.model."""
    model = args.model or _chosen()
    program = await _program("pull", model, str(MODELS), str(HOME / "config.json"))
    assert program.stdout
    assert program.stderr
    try:
        file = await _followed(program.stdout)
        why = (await program.stderr.read()).decode(errors="replace").strip().rpartition("\n")[2]
        status = await program.wait()
    finally:
        with suppress(ProcessLookupError):
            program.kill()  # nobody wants it any more; what has come stays, and is gone on with
        await program.wait()
    if status == 2:
        raise BadArguments(reason=why, do="bash run.sh call llamacpp models lists those by name")
    if status != 0:
        raise RuntimeError(why.removeprefix("error: "))
    return {"model": model, "file": file}


async def _followed(lines: asyncio.StreamReader) -> str:
    """Tell how far it is. Gives the model's file, from the folder of models."""
    sizes: dict[str, int] = {}
    file, there, before = "", "", 0
    async for line in lines:
        word, _, rest = line.decode(errors="replace").strip().partition(" ")
        if word == "plan":
            sizes = dict(json.loads(rest))
        elif word == "file":
            before += sizes.get(file, 0)
            file = json.loads(rest)
            progress(*how_far(before, sum(sizes.values()), file))
        elif word == "there":
            there = json.loads(rest)
        elif percent := re.search(r"\((\d+) %\)", rest):
            done = before + sizes.get(file, 0) * int(percent[1]) / 100
            progress(*how_far(done, sum(sizes.values()), file))
        else:
            progress(text=f"{word} {rest}")
    return there


async def _program(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(HOME / "install" / "llamacpp_models.py"),
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if words[0] == "pull" else None,
        env={**os.environ, "ONEGAI_DOWNLOAD_REPORT": "0.5"},
    )


def _chosen() -> str:
    return str(config("llamacpp").get("model") or USUAL)


def _model(wanted: str | None) -> str:
    """Its server has one model, as long as it runs. Raises BadArguments for another one."""
    if wanted is None:
        return _chosen()
    there = [one["id"] for one in llamacpp.get("/v1/models").json()["data"]]
    if wanted not in there:
        raise BadArguments(
            reason=f"llamacpp runs with {', '.join(there)}, not with {wanted!r}",
            do=f"bash run.sh config apps.llamacpp.model {wanted}; bash run.sh restart llamacpp",
        )
    return wanted
