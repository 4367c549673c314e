"""Looking into a WAV, and making one, without any library beyond the standard one."""

from __future__ import annotations

import array
import base64
import io
import math
import wave
from dataclasses import dataclass


@dataclass(frozen=True)
class Sound:
    """A mono 16-bit WAV: its rate in Hz, its length in seconds, its level (RMS, 0 to 1)."""

    rate: int
    seconds: float
    level: float
    voiced: float
    """The share of 20 ms frames that are louder than a twentieth of the loudest."""


def read(content: bytes) -> Sound:
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        rate = file.getframerate()
        samples = array.array("h", file.readframes(file.getnframes()))
    frame = rate // 50
    levels = [_rms(samples[at : at + frame]) for at in range(0, len(samples), frame)]
    loud = max(levels, default=0.0)
    voiced = sum(level > loud / 20 for level in levels) / max(len(levels), 1)
    return Sound(rate, len(samples) / rate, _rms(samples) / 32768, voiced)


def joined(contents: list[bytes]) -> bytes:
    """One WAV of the same with all their sound, and a length in its head."""
    whole = io.BytesIO()
    with wave.open(whole, "wb") as out:
        for number, content in enumerate(contents):
            with wave.open(io.BytesIO(content)) as part:
                if number == 0:
                    out.setparams(part.getparams()._replace(nframes=0))
                out.writeframes(part.readframes(part.getnframes()))
    return whole.getvalue()


def silence(seconds: float) -> str:
    """A silent mono 16-bit WAV of 16 kHz, as base64."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(2 * round(seconds * 16000)))
    return base64.b64encode(content.getvalue()).decode()


def _rms(samples: array.array[int]) -> float:
    return math.sqrt(sum(value * value for value in samples) / max(len(samples), 1))
