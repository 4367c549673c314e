"""whisper: writes down what is said (Whisper base, Japanese, English and 97 more languages)."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

from onegai.sdk import File, progress, service

whisper = service("whisper")


class Speech(BaseModel):
    audio: File = Field(description="a sound file: wav, mp3, ogg, flac, m4a, webm …")
    language: str = Field(
        default="auto",
        pattern="^(auto|[a-z]{2,3})$",
        description="auto, or a code: ja, en … Saying it is quicker and surer",
    )
    task: Literal["transcribe", "translate"] = Field(
        default="transcribe", description="translate: into English"
    )
    vad: bool = Field(default=True, description="leave out what is not speech")


def main(args: Speech) -> tuple[str, dict[str, Any]]:
    """Write down what is said. The detail has language, duration and the segments' seconds."""
    facts, *segments = _heard(args)
    text = _space(facts).join(segment["text"] for segment in segments)
    return text, {**facts, "segments": segments}


def stream(args: Speech) -> Iterator[str]:
    """Write down what is said, part by part as it is heard."""
    heard = _heard(args)
    space = _space(next(heard))
    for number, segment in enumerate(heard):
        yield (space if number else "") + segment["text"]


def _heard(args: Speech) -> Iterator[dict[str, Any]]:
    """The language and the length, then each segment."""
    audio = base64.b64encode(args.audio.read()).decode()
    how = args.model_dump(exclude={"audio"})
    with whisper.lines("POST", "/segments", json={"audio": audio, **how}) as lines:
        facts = json.loads(next(lines))
        yield facts
        for line in lines:
            segment = json.loads(line)
            progress(segment["end"] / facts["duration"], segment["text"])
            yield segment


def _space(facts: dict[str, Any]) -> str:
    """What stands between two segments in this language."""
    return "" if facts["language"] in ("ja", "zh", "yue", "th", "lo", "my", "km") else " "
