"""whisper: writes down what is said (Whisper base, Japanese, English and 97 more languages)."""

import base64
from typing import Any, Literal

from pydantic import BaseModel, Field

from onegai.sdk import File, service

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
    audio = base64.b64encode(args.audio.read()).decode()
    how = args.model_dump(exclude={"audio"})
    heard = whisper.post("/main", json={"audio": audio, **how}).json()
    return heard.pop("text"), heard
