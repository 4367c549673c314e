"""Open JTalk: a classic Japanese voice (Mei, CC BY 3.0, MMDAgent project)."""

from pydantic import BaseModel, Field

from onegai.sdk import service

openjtalk = service("openjtalk")


class Speech(BaseModel):
    text: str = Field(min_length=1, max_length=10_000, description="what to say, in Japanese")
    speed: float = Field(default=1.0, ge=0.5, le=2.0)
    half_tone: float = Field(default=0.0, ge=-24, le=24, description="raises or lowers the voice")


def raw(args: Speech) -> bytes:
    """Say a text. Gives a WAV: 48 kHz, mono, 16 bit."""
    return openjtalk.post("/raw", json=args.model_dump()).content
