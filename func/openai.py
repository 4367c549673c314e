"""OpenAI, or any server that is compatible: chat, voice, ears and pictures. Needs openai_key.

Of its own in config.json (apps.openai): model, speech_model, transcribe_model, image_model, voice.
"""

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal

from pydantic import BaseModel, Field

from onegai.sdk import File, config, service
from onegai.sdk.chat import Chat, OpenAI, answer, model_of, patiently, pieces

openai = service("openai")

DIALECT = OpenAI(max_tokens="max_completion_tokens")


class Nothing(BaseModel):
    pass


class Speech(BaseModel):
    text: str = Field(min_length=1, max_length=100_000, description="what to say")
    voice: str | None = Field(default=None, description="without it apps.openai.voice, or alloy")
    format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    instructions: str | None = Field(default=None, description="how to say it")
    speed: float | None = Field(default=None, ge=0.25, le=4)
    model: str | None = Field(default=None, description="another than apps.openai.speech_model")


class Sound(BaseModel):
    audio: File = Field(description="what is to be heard")
    language: str | None = Field(default=None, description="en, ja …; without it, it is guessed")
    prompt: str | None = Field(default=None, description="words that may come in it")
    model: str | None = Field(default=None, description="another than apps.openai.transcribe_model")


class Picture(BaseModel):
    text: str = Field(min_length=1, max_length=32_000, description="what is to be seen")
    size: str | None = Field(default=None, description="like 1024x1024")
    quality: str | None = Field(
        default=None, description="low, medium, high …, as the model has it"
    )
    options: dict[str, Any] = Field(default={}, description="more, as the model has it")
    model: str | None = Field(default=None, description="another than apps.openai.image_model")


def main(args: Chat) -> tuple[str, dict[str, Any]]:
    """Answer a text. The detail has the tokens it took, why it ended, and the tools it calls."""
    return answer(openai, DIALECT, args)


def stream(args: Chat) -> Iterator[str]:
    """Answer a text, word by word as the model finds them."""
    return (yield from pieces(openai, DIALECT, args))


def speech(args: Speech) -> Iterator[bytes]:
    """Speak a text; the sound comes as it is made."""
    body = {
        "model": model_of("openai", args.model, "speech_model"),
        "input": args.text,
        "voice": args.voice or config("openai").get("voice", "alloy"),
        "response_format": args.format,
        **args.model_dump(include={"instructions", "speed"}, exclude_none=True),
    }
    with ExitStack() as stack:
        yield from patiently(
            "openai",
            lambda: stack.enter_context(openai.stream("POST", "/audio/speech", json=body)),
        )


def transcribe(args: Sound) -> tuple[str, dict[str, Any]]:
    """Write down what is said in a sound. The detail has what else the model tells."""
    fields = {
        "model": model_of("openai", args.model, "transcribe_model"),
        **args.model_dump(include={"language", "prompt"}, exclude_none=True),
    }
    file = (args.audio.name, args.audio.read(), args.audio.media_type)
    heard = patiently(
        "openai",
        lambda: openai.post("/audio/transcriptions", data=fields, files={"file": file}).json(),
    )
    return heard.pop("text"), heard


def image(args: Picture) -> File | str:
    """Paint a picture. A server that only tells where it lies gives that URL."""
    body = {
        "model": model_of("openai", args.model, "image_model"),
        "prompt": args.text,
        **args.model_dump(include={"size", "quality"}, exclude_none=True),
        **args.options,
    }
    made = patiently("openai", lambda: openai.post("/images/generations", json=body).json())
    first = made["data"][0]
    if data := first.get("b64_json"):
        return File(base64.b64decode(data))
    return str(first["url"])


def models(args: Nothing) -> list[str]:  # noqa: ARG001 - nothing to say
    """The models that there are, by the names that apps.openai.model can have."""
    return sorted(one["id"] for one in openai.get("/models").json()["data"])
