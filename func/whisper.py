"""whisper: writes down what is said (Whisper base, Japanese, English and 97 more languages)."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from onegai.sdk import service

whisper = service("whisper")


class Speech(BaseModel):
    audio: str = Field(
        min_length=1,
        description="a sound file (wav, mp3, ogg, flac, m4a, webm …) as base64 or data: URL",
    )
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
    heard = whisper.post("/main", json=args.model_dump()).json()
    return heard.pop("text"), heard
