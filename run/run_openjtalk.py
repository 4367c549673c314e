"""Japanese classic voice: Open JTalk with the Mei voice (CC BY 3.0, MMDAgent), 48 kHz.

Served by ``python onegai/runner run/run_openjtalk.py --port N`` in the app's own venv.
"""

import contextlib
import io
import wave
from typing import TypedDict

import numpy as np

with contextlib.redirect_stdout(io.StringIO()):  # it prints what onnxruntime would add: one word
    import pyopenjtalk

MAX_TEXT = 10_000


class _Text(TypedDict):
    text: str


class Speech(_Text, total=False):
    """What to say; speed 0.5 to 2.0; half_tone -24 to 24 raises or lowers the voice."""

    speed: float
    half_tone: float


def load(args: dict) -> None:  # noqa: ARG001 - called with args
    """Read dictionary and voice by saying a word."""
    pyopenjtalk.tts("はい")


def raw(args: Speech) -> bytes:
    """Say a text. A 16-bit mono WAV."""
    text, speed, half_tone = (
        args["text"].strip(),
        args.get("speed", 1.0),
        args.get("half_tone", 0.0),
    )
    if not text:
        raise ValueError("text is empty")
    if len(text) > MAX_TEXT:
        raise ValueError(f"text has {len(text):,} characters, more than {MAX_TEXT:,}")
    if not 0.5 <= speed <= 2.0:
        raise ValueError(f"speed is {speed:g}, not between 0.5 and 2.0")
    if not -24 <= half_tone <= 24:
        raise ValueError(f"half_tone is {half_tone:g}, not between -24 and 24")
    audio, sample_rate = pyopenjtalk.tts(text, speed=speed, half_tone=half_tone)
    if not audio.size:
        raise ValueError("nothing in the text can be spoken")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(np.clip(audio, -32768, 32767).astype("<i2").tobytes())
    return file.getvalue()
