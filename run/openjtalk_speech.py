"""A text as an AudioQuery of VOICEVOX's, and that as sound: Open JTalk, for its engine."""

import io
import re
import wave
from typing import Any

import numpy as np
import pyopenjtalk
import soxr
from pydantic import BaseModel, Field

RATE = 48_000
MAX_MORAS = 20_000
MORA_SECONDS, CONSONANT_SECONDS, PAUSE_SECONDS = 0.09, 0.05, 0.3
"""What a query tells of its lengths: typical ones, the voice has its own."""
SILENT = 100
"""Of 32,768: what is below at both ends is cut, and ``pre`` and ``postPhonemeLength`` put there."""
LONG_VOWELS = {"a": "ア", "i": "イ", "u": "ウ", "e": "エ", "o": "オ"}
VOICELESS = ("A", "I", "U", "E", "O")
KANA = re.compile("[ァ-ヴー][ァィゥェォャュョヮ]?’?")


class Mora(BaseModel):
    text: str
    consonant: str | None = None
    consonant_length: float | None = None
    vowel: str
    vowel_length: float
    pitch: float


class AccentPhrase(BaseModel):
    moras: list[Mora]
    accent: int = Field(description="after which mora the voice falls; all of them: it does not")
    pause_mora: Mora | None = None
    is_interrogative: bool = False


class AudioQuery(BaseModel):
    accent_phrases: list[AccentPhrase]
    speedScale: float = Field(ge=0.2, le=5)  # noqa: N815 - as the routes have it
    pitchScale: float = Field(ge=-2, le=2)  # noqa: N815
    intonationScale: float  # noqa: N815
    volumeScale: float = Field(ge=0, le=10)  # noqa: N815
    prePhonemeLength: float = Field(ge=0, le=60)  # noqa: N815
    postPhonemeLength: float = Field(ge=0, le=60)  # noqa: N815
    pauseLength: float | None = None  # noqa: N815
    pauseLengthScale: float = 1  # noqa: N815
    outputSamplingRate: int = Field(ge=8000, le=192_000)  # noqa: N815
    outputStereo: bool  # noqa: N815
    kana: str | None = None


def phrases_of(text: str) -> list[AccentPhrase]:
    """How a text is said. Nothing for one without words."""
    phrases: list[AccentPhrase] = []
    group: list[dict[str, Any]] = []

    def end() -> None:
        if group and (moras := moras_of(group)):
            accent = min(group[0]["acc"] or len(moras), len(moras))
            phrases.append(AccentPhrase(moras=moras, accent=accent))
        group.clear()

    for node in pyopenjtalk.run_frontend(text):
        if node["pos"] == "記号" and not node["mora_size"]:
            end()
            if phrases and node["pron"] == "？":
                phrases[-1].is_interrogative = True
            if phrases:
                phrases[-1].pause_mora = pause()
            continue
        if node["chain_flag"] != 1:
            end()
        group.append(node)
    end()
    if phrases:
        phrases[-1].pause_mora = None
    return phrases


def moras_of(nodes: list[dict[str, Any]]) -> list[Mora]:
    """The moras of one phrase: their kana from the nodes, their sounds from the labels."""
    kana = [part.rstrip("’") for node in nodes for part in KANA.findall(node["pron"])]
    sounds: list[list[str]] = []
    last = ""
    for label in pyopenjtalk.make_label(nodes)[1:-1]:
        sound = label[label.index("-") + 1 : label.index("+")]
        place = label[label.index("/A:") : label.index("/B:")]
        if place != last:
            sounds.append([])
        sounds[-1].append(sound)
        last = place
    moras = []
    for text, parts in zip(kana, sounds, strict=False):
        vowel = parts[-1]
        voiced = vowel.islower() or vowel == "N"
        moras.append(
            Mora(
                text=LONG_VOWELS.get(vowel.lower(), text) if text == "ー" else text,
                consonant=parts[0] if len(parts) > 1 else None,
                consonant_length=CONSONANT_SECONDS if len(parts) > 1 else None,
                vowel=vowel,
                vowel_length=MORA_SECONDS,
                pitch=5.5 if voiced and vowel != "cl" else 0.0,
            )
        )
    return moras


def pause() -> Mora:
    return Mora(text="、", vowel="pau", vowel_length=PAUSE_SECONDS, pitch=0)


def kana_of(phrases: list[AccentPhrase]) -> str:
    """As VOICEVOX writes it: ' after accents, / or 、 between phrases, _ before the voiceless."""
    text = ""
    for number, phrase in enumerate(phrases):
        for place, mora in enumerate(phrase.moras, 1):
            text += ("_" if mora.vowel in VOICELESS else "") + mora.text
            text += "'" if place == phrase.accent else ""
        text += "？" if phrase.is_interrogative else ""
        if number + 1 < len(phrases):
            text += "、" if phrase.pause_mora else "/"
    return text


def sound_of(query: AudioQuery, upspeak: bool) -> bytes:
    """A WAV of 16 bits. Raises ValueError."""
    nodes = []
    for phrase in query.accent_phrases:
        nodes += _nodes(phrase, upspeak)
    if sum(node["mora_size"] for node in nodes) > MAX_MORAS:
        raise ValueError(f"there are more than {MAX_MORAS:,} moras")
    labels = pyopenjtalk.make_label(nodes) if nodes else []
    samples, _rate = pyopenjtalk.synthesize(labels, query.speedScale, 12 * query.pitchScale)
    loud = np.flatnonzero(np.abs(samples) > SILENT)
    samples = samples[loud[0] : loud[-1] + 1] if loud.size else samples[:0]
    before, after = (
        np.zeros(round(RATE * seconds / query.speedScale))
        for seconds in (query.prePhonemeLength, query.postPhonemeLength)
    )
    samples = np.concatenate([before, samples * query.volumeScale, after])
    if query.outputSamplingRate != RATE:
        samples = soxr.resample(samples, RATE, query.outputSamplingRate)
    pcm = np.clip(samples, -32768, 32767).astype("<i2")
    channels = 2 if query.outputStereo else 1
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, 2, query.outputSamplingRate, 0, "NONE", "not compressed"))
        out.writeframes(np.repeat(pcm, channels).tobytes())
    return file.getvalue()


def _nodes(phrase: AccentPhrase, upspeak: bool) -> list[dict[str, Any]]:
    kana = [mora.text for mora in phrase.moras]
    for text in kana:
        if not KANA.fullmatch(text):
            raise ValueError(f"{text!r} is no mora in katakana")
    if not kana:
        return []
    if not 1 <= phrase.accent <= len(kana):
        raise ValueError(f"accent is {phrase.accent}, not between 1 and {len(kana)}")
    marks = ["’" if mora.vowel in VOICELESS else "" for mora in phrase.moras]
    pron = "".join(text + mark for text, mark in zip(kana, marks, strict=True))
    nodes = [_node("名詞", pron, phrase.accent, len(kana))]
    if phrase.is_interrogative and upspeak:
        nodes.append(_node("記号", "？", 0, 0))
    elif phrase.pause_mora is not None:
        nodes.append(_node("記号", "、", 0, 0))
    return nodes


def _node(pos: str, pron: str, accent: int, moras: int) -> dict[str, Any]:
    unknown = dict.fromkeys(("pos_group2", "pos_group3", "ctype", "cform", "chain_rule"), "*")
    names = dict.fromkeys(("string", "orig", "read", "pron"), pron)
    kind = {"pos": pos, "pos_group1": "一般" if moras else "読点", **unknown}
    return {**kind, **names, "acc": accent, "mora_size": moras, "chain_flag": 0}
