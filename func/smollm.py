"""SmolLM2 135M: a chat model small enough for any CPU. English only."""

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
    messages = [
        {"role": "system", "content": args.system},
        *(message.model_dump() for message in args.history),
        {"role": "user", "content": args.text},
    ]
    body = {
        "model": MODEL,
        "messages": messages,
        "max_tokens": args.max_tokens,
        "temperature": args.temperature,
        "repeat_penalty": args.repeat_penalty,
    }
    if args.seed is not None:
        body["seed"] = args.seed
    answer = smollm.post("/v1/chat/completions", json=body).json()
    return answer["choices"][0]["message"]["content"].strip(), {"usage": answer["usage"]}
