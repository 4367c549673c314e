"""English neural voice: hibari, 24 kHz, voice "heart".

Served by ``python onegai/runner run/run_hibari.py --port N`` in the app's own venv.
"""

import io
import struct
import wave
from collections.abc import Iterator
from typing import TypedDict

import numpy as np
from hibari import SAMPLE_RATE, Hibari

MAX_TEXT = 10_000
_UNKNOWN = 0xFFFFFFFF  # the size of a WAV whose end is not known yet

_voice: dict[str, Hibari] = {}


class _Text(TypedDict):
    text: str


class Speech(_Text, total=False):
    """What to say; speed 0.5 to 2.0; the same seed gives the same bytes."""

    speed: float
    seed: int | None


def load(args: dict) -> None:  # noqa: ARG001 - called with args
    """Load the model and say something, so that the first call is as quick as the others."""
    _voice["heart"] = Hibari()
    _voice["heart"]("Ready. This sentence is long enough for what the first of its length costs.")


def raw(args: Speech) -> bytes:
    """Say a text. A 16-bit mono WAV."""
    audio = _voice["heart"](**_checked(args))
    if not audio.size:
        raise ValueError("nothing in the text can be spoken")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(_pcm(audio))
    return file.getvalue()


def stream(args: Speech) -> Iterator[bytes]:
    """Say a text, each sentence when it is ready. A WAV whose header does not tell its length."""
    sentences = _voice["heart"].stream(**_checked(args))
    yield _endless_header() + _pcm(next(sentences, np.zeros(0, np.float32)))
    for audio in sentences:
        yield _pcm(audio)


def _checked(args: Speech) -> dict:
    text, speed = args["text"].strip(), args.get("speed", 1.0)
    if not text:
        raise ValueError("text is empty")
    if len(text) > MAX_TEXT:
        raise ValueError(f"text has {len(text):,} characters, more than {MAX_TEXT:,}")
    if not 0.5 <= speed <= 2.0:
        raise ValueError(f"speed is {speed:g}, not between 0.5 and 2.0")
    return {"text": text, "speed": speed, "seed": args.get("seed")}


def _pcm(audio: np.ndarray) -> bytes:
    return (np.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def _endless_header() -> bytes:
    head = struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE")
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16)
    return head + form + struct.pack("<4sI", b"data", _UNKNOWN)
