"""SmolLM2 135M: a chat model small enough for any CPU. English only."""

import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

from onegai.sdk import service

smollm = service("smollm")

MODEL = "smollm2-135m-instruct"


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class Chat(BaseModel):
    text: str = Field(min_length=1, max_length=10_000, description="what to say to it")
    system: str = Field(
        default="You are a friendly assistant. Answer in one or two short sentences.",
        description="how it should behave",
    )
    history: list[Message] = Field(default=[], description="what was said before, oldest first")
    max_tokens: int = Field(default=120, ge=1, le=2000)
    temperature: float = Field(default=0.4, ge=0, le=2)
    repeat_penalty: float = Field(default=1.1, ge=1, le=2, description="above 1: fewer repetitions")
    seed: int | None = Field(default=None, description="the same seed gives the same answer")


def main(args: Chat) -> tuple[str, dict[str, Any]]:
    """Answer a text. The result is the answer, the detail how many tokens it took."""
    answer = smollm.post("/v1/chat/completions", json=_asked(args)).json()
    return answer["choices"][0]["message"]["content"].strip(), {"usage": answer["usage"]}


def stream(args: Chat) -> Iterator[str]:
    """Answer a text, word by word as the model finds them."""
    asked = {**_asked(args), "stream": True}
    with smollm.lines("POST", "/v1/chat/completions", json=asked) as lines:
        for line in lines:
            if line.startswith("data: {"):
                [choice] = json.loads(line.removeprefix("data: "))["choices"]
                if word := choice["delta"].get("content"):
                    yield word


def _asked(args: Chat) -> dict[str, Any]:
    body = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": args.system},
            *(message.model_dump() for message in args.history),
            {"role": "user", "content": args.text},
        ],
        "max_tokens": args.max_tokens,
        "temperature": args.temperature,
        "repeat_penalty": args.repeat_penalty,
    }
    return body if args.seed is None else {**body, "seed": args.seed}
