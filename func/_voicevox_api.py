"""What VOICEVOX's engine and those that speak as it does have in common; no app by itself.

The functions of such an app are short, and ask an ``Engine``: see voicevox.py and aivisspeech.py.
Its routes call the number of a style ``speaker``: several styles belong to one speaker.
"""

import io
import re
import unicodedata
import wave
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from onegai.errors import BadArguments
from onegai.sdk import Handle, config, progress

MAX_TEXT = 10_000
PIECE = 400
"""Characters that are asked for at once: texts are part of an address, nine letters for each."""

Speaker = Annotated[
    int | str,
    Field(description="the name of a speaker, or the number of a style: /speakers has both"),
]
Seconds = Annotated[float, Field(ge=0, le=30)]


class Nothing(BaseModel):
    pass


class Speech(BaseModel):
    """What all of them heed. Those of some are in their own files, and in SCALES."""

    text: str = Field(min_length=1, max_length=MAX_TEXT, description="what to say, in Japanese")
    speaker: Speaker | None = Field(
        default=None,
        description="who says it: a name, or the number of a style. None: apps.{app}.speaker of "
        "config.json, else the first of /speakers",
    )
    style: str | None = Field(
        default=None, description="one of the speaker's styles, by name; None: the first one"
    )
    preset: int | str | None = Field(
        default=None, description="number or name of a preset; what else is said here wins over it"
    )
    speed: float | None = Field(default=None, ge=0.5, le=2)
    pitch: float | None = Field(default=None, ge=-0.15, le=0.15)
    volume: float | None = Field(default=None, ge=0, le=2)
    before: Seconds | None = Field(default=None, description="seconds of silence before it")
    after: Seconds | None = Field(default=None, description="seconds of silence after it")
    rate: int | None = Field(
        default=None, ge=8000, le=96_000, description="samples a second; None: the engine's own"
    )
    stereo: bool | None = None
    upspeak: bool = Field(default=True, description="the voice rises at the end of a question")


SCALES = {
    "speed": "speedScale",
    "pitch": "pitchScale",
    "intonation": "intonationScale",
    "volume": "volumeScale",
    "pause": "pauseLengthScale",
    "before": "prePhonemeLength",
    "after": "postPhonemeLength",
    "rate": "outputSamplingRate",
    "stereo": "outputStereo",
    "tempo_dynamics": "tempoDynamicsScale",
}
"""Fields of ``Speech`` and of those made from it, by what they are called in an AudioQuery."""


class Who(BaseModel):
    speaker: Speaker | None = None
    style: str | None = None


class Word(BaseModel):
    surface: str = Field(min_length=1, max_length=200, description="as it is written")
    pronunciation: str = Field(
        min_length=1, max_length=200, description="as it is said, in katakana or hiragana"
    )
    accent: int = Field(
        default=0, ge=0, description="after which mora the voice falls; 0: it does not"
    )
    kind: str = Field(
        default="PROPER_NOUN", description="PROPER_NOUN, COMMON_NOUN, VERB, ADJECTIVE, SUFFIX …"
    )
    priority: int = Field(default=5, ge=0, le=10, description="over the engine's own words")


class WordName(BaseModel):
    word: str = Field(description="its id, or as it is written")


class Preset(BaseModel):
    name: str = Field(min_length=1, max_length=200)
    speaker: Speaker | None = None
    style: str | None = None
    speed: float = Field(default=1, ge=0.5, le=2)
    pitch: float = Field(default=0, ge=-0.15, le=0.15)
    intonation: float = Field(default=1, ge=0, le=2)
    volume: float = Field(default=1, ge=0, le=2)
    pause: float = Field(default=1, ge=0, le=10)
    before: Seconds = 0.1
    after: Seconds = 0.1


class PresetName(BaseModel):
    preset: int | str = Field(description="its number, or its name")


class Engine:
    """What the functions of an app ask of its service, which ``handle`` is for.

    Its methods raise BadArguments for what is not there, and AppError of the requests.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    # --- speech

    def speech(self, args: Speech) -> bytes:
        """A WAV: 16 bits. Longer texts than PIECE are asked for piece by piece."""
        pieces = list(self._pieces(args))
        return pieces[0] if len(pieces) == 1 else _joined(pieces)

    def stream(self, args: Speech) -> Iterator[bytes]:
        """A WAV that does not tell its length, each sentence as soon as it is made."""
        form: tuple[int, ...] | None = None
        for piece in self._pieces(args, each=True):
            with wave.open(io.BytesIO(piece)) as sound:
                samples = sound.readframes(sound.getnframes())
                if form is None:
                    form = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
                    yield _endless(*form) + samples
                else:
                    yield samples

    def query(self, args: Speech) -> dict[str, Any]:
        """How a text is going to be said: an AudioQuery."""
        if len(args.text) > PIECE:
            raise BadArguments(reason=f"text has more than {PIECE} characters", do="send a part")
        with self._handle.lease():
            preset = self._preset(args)
            return self._query(args.text, self._style_of(args, preset), preset, args)

    def _pieces(self, args: Speech, *, each: bool = False) -> Iterator[bytes]:
        """WAVs. ``each``: of every sentence its own, however short the text is."""
        texts = parts_of(args.text, 1 if each else PIECE)
        with self._handle.lease():
            preset = self._preset(args)
            style = self._style_of(args, preset)
            how = {"speaker": style, "enable_interrogative_upspeak": str(args.upspeak).lower()}
            for number, text in enumerate(texts, 1):
                query = self._query(text, style, preset, args)
                yield self._handle.post("/synthesis", params=how, json=query).content
                progress(number / len(texts), text)

    def _query(
        self, text: str, style: int, preset: Mapping[str, Any] | None, args: Speech
    ) -> dict[str, Any]:
        about = {"text": text, "speaker": style}
        query = self._handle.post("/audio_query", params=about).json()
        if preset is not None:
            query |= {key: preset[key] for key in query.keys() & preset.keys()}
        given = args.model_dump(include=SCALES.keys(), exclude_none=True)
        return {**query, **{SCALES[name]: value for name, value in given.items()}}

    def _style_of(self, args: Speech, preset: Mapping[str, Any] | None) -> int:
        if preset is not None and args.speaker is None and args.style is None:
            return int(preset["style_id"])
        return self.style(args.speaker, args.style)

    # --- speakers

    def speakers(self) -> list[dict[str, Any]]:
        """Who can speak: name, uuid, and the styles with name and number."""
        return [
            {
                "name": speaker["name"],
                "uuid": speaker["speaker_uuid"],
                "styles": [{"name": style["name"], "id": style["id"]} for style in _said(speaker)],
            }
            for speaker in self._handle.get("/speakers").json()
        ]

    def style(self, speaker: int | str | None, style: str | None = None) -> int:
        """The number of a style: of a speaker, of the configured one, of the first."""
        what = "speaker"
        if speaker is None:
            speaker = config(self._handle.app).get("speaker")
            what = f"speaker as apps.{self._handle.app}.speaker of config.json says:"
        if (number := _number(speaker)) is not None and style is None:
            return number
        speakers = [one for one in self.speakers() if one["styles"]]
        if speaker is None and speakers:
            found = speakers[0]
        else:
            found = _one(
                what,
                speaker if number is None else number,
                speakers,
                lambda one: (one["name"], one["uuid"], *(its["id"] for its in one["styles"])),
            )
        styles = found["styles"]
        if style is None:
            return int(styles[0]["id"])
        return int(_one("style", style, styles, lambda one: (one["name"],))["id"])

    def load(self, args: Who) -> int:
        """Make a style ready, since the first speech else takes ten seconds more. Its number."""
        style = self.style(args.speaker, args.style)
        self._handle.post("/initialize_speaker", params={"speaker": style, "skip_reinit": "true"})
        return style

    # --- the dictionary

    def words(self) -> list[dict[str, Any]]:
        """The words that were added."""
        return [
            {
                "id": word_id,
                "surface": word["surface"],
                "pronunciation": word["pronunciation"],
                "accent": word["accent_type"],
                "priority": word["priority"],
            }
            for word_id, word in self._handle.get("/user_dict").json().items()
        ]

    def add_word(self, word: Word) -> str:
        """Its id. One that is written in the same way is replaced."""
        about = {
            "surface": word.surface,
            "pronunciation": _katakana(word.pronunciation),
            "accent_type": word.accent,
            "word_type": word.kind,
            "priority": word.priority,
        }
        with self._handle.lease():
            same = [one["id"] for one in self.words() if _same(one["surface"], word.surface)]
            if not same:
                return str(self._handle.post("/user_dict_word", params=about).json())
            self._handle.put(f"/user_dict_word/{same[0]}", params=about)
            return str(same[0])

    def remove_word(self, name: WordName) -> str:
        """The id of the word that is gone."""
        with self._handle.lease():
            word = _one("word", name.word, self.words(), lambda one: (one["surface"], one["id"]))
            self._handle.delete(f"/user_dict_word/{word['id']}")
        return str(word["id"])

    # --- presets

    def presets(self) -> list[dict[str, Any]]:
        """The presets, as the engine has them."""
        return list(self._handle.get("/presets").json())

    def add_preset(self, args: Preset) -> int:
        """Its number. One of the same name is replaced."""
        with self._handle.lease():
            style, presets = self.style(args.speaker, args.style), self.presets()
            same = [one["id"] for one in presets if one["name"] == args.name]
            preset = {
                "id": same[0] if same else max((one["id"] for one in presets), default=0) + 1,
                "name": args.name,
                "speaker_uuid": self._owner(style),
                "style_id": style,
                **{SCALES[key]: value for key, value in args if key in SCALES},
            }
            route = "/update_preset" if same else "/add_preset"
            return int(self._handle.post(route, json=preset).json())

    def remove_preset(self, name: PresetName) -> int:
        """The number of the preset that is gone."""
        with self._handle.lease():
            preset = self._named_preset(name.preset)
            self._handle.post("/delete_preset", params={"id": preset["id"]})
        return int(preset["id"])

    def _preset(self, args: Speech) -> dict[str, Any] | None:
        return None if args.preset is None else self._named_preset(args.preset)

    def _named_preset(self, name: int | str) -> dict[str, Any]:
        return _one("preset", name, self.presets(), lambda one: (one["name"], one["id"]))

    def _owner(self, style: int) -> str:
        """The UUID of the speaker whose style it is."""
        for speaker in self.speakers():
            if any(one["id"] == style for one in speaker["styles"]):
                return str(speaker["uuid"])
        raise BadArguments(reason=f"no speaker has the style {style}", do="see /speakers")


def parts_of(text: str, length: int) -> list[str]:
    """A text, cut at the ends of sentences so that most parts have about so many characters.

    None has more than PIECE. What is only space is left out; there is one part at least.
    """
    sentences = re.findall(r"[^。！？!?\n]*[。！？!?\n]+[」』）)]*|[^。！？!?\n]+", text)
    parts: list[str] = []
    for sentence in (one for long in sentences for one in _cut(long.strip())):
        if parts and len(parts[-1]) + len(sentence) <= length:
            parts[-1] += sentence
        else:
            parts.append(sentence)
    return parts or [text]


def _cut(sentence: str) -> Iterator[str]:
    """One that is longer than PIECE is cut at its last comma before that, or just there."""
    while len(sentence) > PIECE:
        at = sentence.rfind("、", 0, PIECE) + 1 or PIECE
        yield sentence[:at]
        sentence = sentence[at:]
    if sentence:
        yield sentence


def _joined(pieces: list[bytes]) -> bytes:
    """WAVs of one kind, one after the other."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        for number, piece in enumerate(pieces):
            with wave.open(io.BytesIO(piece)) as sound:
                if number == 0:
                    out.setparams(sound.getparams())
                out.writeframes(sound.readframes(sound.getnframes()))
    return file.getvalue()


def _endless(channels: int, width: int, rate: int) -> bytes:
    """The head of a WAV whose length is not known yet."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, width, rate, 0, "NONE", "not compressed"))
    head = bytearray(file.getvalue())
    head[4:8] = head[40:44] = b"\xff" * 4
    return bytes(head)


def _said(speaker: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The styles that speak; others sing."""
    return [style for style in speaker["styles"] if style.get("type", "talk") == "talk"]


def _one(
    what: str,
    name: Any,
    them: list[dict[str, Any]],
    names: Callable[[dict[str, Any]], tuple[Any, ...]],
) -> dict[str, Any]:
    """The one that has the name among its ``names``. Raises BadArguments, with those there are."""
    for one in them:
        if any(_same(name, other) for other in names(one)):
            return one
    there = ", ".join(names(one)[0] for one in them)
    hint = f"there is: {there[:1000]}" if them else "there is none yet"
    raise BadArguments(reason=f"there is no {what} {str(name)[:100]!r}", do=hint)


def _same(one: Any, other: Any) -> bool:
    return _plain(one) == _plain(other)


def _plain(name: Any) -> str:
    """What counts of a name: neither its case nor the width of its letters."""
    return unicodedata.normalize("NFKC", str(name)).strip().casefold()


def _number(speaker: Any) -> int | None:
    """The number of a style, if it is one."""
    if isinstance(speaker, int) and not isinstance(speaker, bool):
        return speaker
    text = str(speaker).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,10}", text) else None


def _katakana(text: str) -> str:
    return "".join(chr(ord(char) + 96) if "ぁ" <= char <= "ゖ" else char for char in text)
