"""hibari: an English neural voice."""

from collections.abc import Iterator

from pydantic import BaseModel, Field

from onegai.sdk import service

hibari = service("hibari")


class Speech(BaseModel):
    text: str = Field(min_length=1, max_length=10_000, description="what to say, in English")
    speed: float = Field(default=1.0, ge=0.5, le=2.0)
    seed: int | None = Field(default=None, description="the same seed gives the same bytes")


def raw(args: Speech) -> bytes:
    """Say a text. Gives a WAV: 24 kHz, mono, 16 bit."""
    return hibari.post("/raw", json=args.model_dump()).content


def stream(args: Speech) -> Iterator[bytes]:
    """Say a text, each sentence when it is made. A WAV that does not tell its length."""
    with hibari.stream("POST", "/stream", json=args.model_dump()) as pieces:
        yield from pieces
