"""Speech to text: Whisper base (99 languages) on CTranslate2, int8 on the CPU.

Served by ``python onegai/runner run/run_whisper.py --port N`` in apps/whisper, whose venv and model
folder it uses.
"""

import base64
import binascii
import io
from collections.abc import Iterator
from typing import Any, Literal, TypedDict

import av
import numpy as np
from faster_whisper import WhisperModel

RATE = 16_000
MAX_SECONDS = 3 * 3600
"""Of sound. A few bytes can hold hours of it, and each hour takes 300 MB while it is looked at."""

_ears: dict[str, WhisperModel] = {}


class _Audio(TypedDict):
    audio: str


class Speech(_Audio, total=False):
    """A sound file as base64 or data: URL; language "auto" or a code such as "ja".

    task "translate" gives English; vad False looks for speech in silence and noise too.
    """

    language: str
    task: Literal["transcribe", "translate"]
    vad: bool


def load(args: dict) -> None:  # noqa: ARG001 - called with args
    """Load the model and listen to a second of silence, so that the first call is quick."""
    _ears["base"] = WhisperModel("model", device="cpu", compute_type="int8", local_files_only=True)
    list(_ears["base"].transcribe(np.zeros(RATE, np.float32), language="en", vad_filter=True)[0])


def segments(args: Speech) -> Iterator[dict[str, Any]]:
    """Write down what is said, part by part as it is heard; the language and the length come first.

    Times are seconds from the beginning.
    """
    sound = _decoded(_content(args["audio"]))
    language = args.get("language", "auto")
    heard, info = _ears["base"].transcribe(
        sound,
        language=None if language == "auto" else language,
        task=args.get("task", "transcribe"),
        vad_filter=args.get("vad", True),
        condition_on_previous_text=False,
    )
    seconds = round(len(sound) / RATE, 2)
    yield {"language": info.language, "duration": seconds}
    for one in heard:
        end = min(round(one.end, 2), seconds)  # Whisper counts on into the padding
        yield {"start": round(one.start, 2), "end": end, "text": one.text.strip()}


def _content(audio: str) -> bytes:
    """The bytes of a file given as base64 or as a data: URL. ValueError if it is neither."""
    text = audio.strip()
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError("audio is a data: URL without base64 content")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("audio is neither base64 nor a data: URL") from error
    if not content:
        raise ValueError("audio is empty")
    return content


def _decoded(content: bytes) -> np.ndarray:
    """The first sound track, mono, 16 kHz, -1 to 1. ValueError if there is none."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pieces, length = [], 0
    try:
        # The whitelist: a playlist must not make it read other files, or the network.
        with av.open(io.BytesIO(content), options={"protocol_whitelist": "none"}) as file:
            if not file.streams.audio:
                raise ValueError("there is no sound in the file")
            for frame in _frames(file):
                for part in resampler.resample(frame):
                    pieces.append(part.to_ndarray()[0])
                    length += part.samples
                if length > MAX_SECONDS * RATE:
                    raise ValueError(f"there are more than {MAX_SECONDS // 3600} hours of sound")
    except av.FFmpegError as error:
        raise ValueError("audio is not a sound file that can be read") from error
    if not length:
        raise ValueError("there is no sound in the file")
    return np.concatenate(pieces).astype(np.float32) / 32768.0


def _frames(file: Any) -> Any:
    """The frames of the first sound track, then None; those that are damaged are left out."""
    for packet in file.demux(file.streams.audio[0]):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue
    yield None
