"""kokoroja: a Japanese neural voice with five speakers (Kokoro-82M)."""

from typing import Literal

from pydantic import BaseModel, Field

from onegai.sdk import service

kokoroja = service("kokoroja")

Voice = Literal["jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo"]


class Speech(BaseModel):
    text: str = Field(
        min_length=1,
        max_length=10_000,
        description="what to say, in Japanese; English words sound best in katakana",
    )
    voice: Voice = Field(default="jf_alpha", description="who says it; jf: a woman, jm: a man")
    speed: float = Field(default=1.0, ge=0.5, le=2.0)


class Nothing(BaseModel):
    pass


def raw(args: Speech) -> bytes:
    """Say a text. Gives a WAV: 24 kHz, mono, 16 bit."""
    return kokoroja.post("/raw", json=args.model_dump()).content


def voices(args: Nothing) -> list[str]:  # noqa: ARG001 - called with args
    """The names of the voices, the default one first."""
    return kokoroja.post("/voices", json={}).json()
