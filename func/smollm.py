"""SmolLM2 135M: a chat model small enough for any CPU. English only."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

from onegai.sdk import service
from onegai.sdk.chat import OpenAI, Talk, answer, pieces

smollm = service("smollm")

MODEL = "smollm2-135m-instruct"
DIALECT = OpenAI("/v1/chat/completions")


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class Chat(Talk):
    text: str = Field(min_length=1, max_length=10_000, description="what to say to it")
    system: str = Field(
        default="You are a friendly assistant. Answer in one or two short sentences.",
        description="how it should behave",
    )
    history: list[Message] = Field(default=[], description="what was said before, oldest first")
    max_tokens: int = Field(default=120, ge=1, le=2000)
    temperature: float = Field(default=0.4, ge=0, le=2)
    repeat_penalty: float = Field(default=1.1, ge=1, le=2, description="above 1: fewer repetitions")

    def wanted(self) -> dict[str, Any]:
        return {**super().wanted(), "repeat_penalty": self.repeat_penalty}


def main(args: Chat) -> tuple[str, dict[str, Any]]:
    """Answer a text. The result is the answer, the detail how many tokens it took."""
    text, detail = answer(smollm, DIALECT, args, MODEL)
    return text.strip(), {"usage": detail["usage"]}


def stream(args: Chat) -> Iterator[str]:
    """Answer a text, word by word as the model finds them."""
    yield from pieces(smollm, DIALECT, args, MODEL)
