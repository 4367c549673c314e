"""Open JTalk behind the routes of a VOICEVOX engine, for programs that speak to one.

``python run/run_openjtalk_engine.py --port N`` in the app's own venv. One speaker: Mei (CC BY 3.0,
MMDAgent project), style 0. The dictionary and the presets are kept in ``--data``. /version and
/engine_manifest say whose engine this is, and what of an AudioQuery it heeds: the voice has no
setting for intonation, nor for single moras.
"""

import argparse
import json
import re
import tempfile
import threading
import unicodedata
import uuid
from pathlib import Path
from typing import Annotated, Any

import pyopenjtalk
import uvicorn
from fastapi import FastAPI, HTTPException, Query, Response
from openjtalk_speech import KANA, RATE, AccentPhrase, AudioQuery, kana_of, phrases_of, sound_of
from pydantic import BaseModel

NAME = "OneGAI openjtalk"
VERSION = "OneGAI-openjtalk-1.0"
STYLE = 0
SPEAKER_UUID = "0d1b4a3c-6f0e-5b8e-9a53-6c1f6f4e2a10"
MAX_TEXT = 10_000
PRONUNCIATION = re.compile("[ァ-ヴー]+")


class Preset(BaseModel):
    id: int
    name: str
    speaker_uuid: str
    style_id: int
    speedScale: float  # noqa: N815
    pitchScale: float  # noqa: N815
    intonationScale: float  # noqa: N815
    volumeScale: float  # noqa: N815
    prePhonemeLength: float  # noqa: N815
    postPhonemeLength: float  # noqa: N815
    pauseLength: float | None = None  # noqa: N815
    pauseLengthScale: float = 1  # noqa: N815


class Kept:
    """JSON in a file of its own, written as a whole."""

    def __init__(self, path: Path, empty: Any) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.value = json.loads(path.read_text("utf-8")) if path.exists() else empty

    def write(self, value: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(value, ensure_ascii=False, indent=2), "utf-8")
        new.replace(self.path)
        self.value = value


class Dictionary:
    """The user's words, by UUID; in effect as soon as they are kept."""

    def __init__(self, path: Path) -> None:
        self._kept = Kept(path, {})
        self._apply(self._kept.value)

    @property
    def words(self) -> dict[str, Any]:
        return self._kept.value

    def put(self, word_id: str | None, word: dict[str, Any]) -> str:
        """A new one, or another instead of one that is there. Raises KeyError."""
        with self._kept.lock:
            if word_id is not None and word_id not in self.words:
                raise KeyError(word_id)
            word_id = word_id or str(uuid.uuid4())
            self._change({**self.words, word_id: word})
            return word_id

    def remove(self, word_id: str) -> None:
        """Raises KeyError."""
        with self._kept.lock:
            left = dict(self.words)
            del left[word_id]
            self._change(left)

    def _change(self, words: dict[str, Any]) -> None:
        self._apply(words)
        self._kept.write(words)

    def _apply(self, words: dict[str, Any]) -> None:
        if not words:
            pyopenjtalk.unset_user_dict()
            return
        with tempfile.TemporaryDirectory() as folder:
            table, compiled = Path(folder, "words.csv"), Path(folder, "words.dic")
            table.write_text("".join(map(_row, words.values())), "utf-8")
            pyopenjtalk.mecab_dict_index(str(table), str(compiled))
            entry = {"dic_path": str(compiled), "is_reading_protected": True}
            pyopenjtalk.update_global_jtalk_with_user_dict([entry])


def _row(word: dict[str, Any]) -> str:
    """A line of MeCab's table; the less a word costs, the sooner it is taken."""
    cost = 10_000 - 2000 * word["priority"]
    context = word["context_id"]
    kinds = [word["part_of_speech"], *(word[f"part_of_speech_detail_{n}"] for n in (1, 2, 3))]
    forms = [word["inflectional_type"], word["inflectional_form"], word["stem"]]
    accent = f"{word['accent_type']}/{word['mora_count']}"
    end = [word["yomi"], word["pronunciation"], accent, word["accent_associative_rule"]]
    return (
        ",".join(map(str, [word["surface"], context, context, cost, *kinds, *forms, *end])) + "\n"
    )


def word_of(
    surface: str, pronunciation: str, accent: int, kind: str, priority: int
) -> dict[str, Any]:
    """A noun. Raises ValueError."""
    surface = pyopenjtalk.OpenJTalk.normalize_for_mecab(JTALK, surface)
    if not surface or any(char in surface for char in ',"\r\n\0'):
        raise ValueError("surface is empty, or has a comma, a quote or a line break in it")
    if not PRONUNCIATION.fullmatch(pronunciation):
        raise ValueError("pronunciation must be katakana")
    if kind not in NOUNS:
        raise ValueError(f"word_type must be one of {', '.join(NOUNS)}: this engine has nouns only")
    moras = len(KANA.findall(pronunciation))
    if not 0 <= accent <= moras:
        raise ValueError(f"accent_type is {accent}, not between 0 and {moras}")
    context, detail = NOUNS[kind]
    return {
        "surface": surface,
        "priority": priority,
        "context_id": context,
        "part_of_speech": "名詞",
        "part_of_speech_detail_1": detail,
        "part_of_speech_detail_2": "一般" if kind == "PROPER_NOUN" else "*",
        "part_of_speech_detail_3": "*",
        "inflectional_type": "*",
        "inflectional_form": "*",
        "stem": "*",
        "yomi": pronunciation,
        "pronunciation": pronunciation,
        "accent_type": accent,
        "mora_count": moras,
        "accent_associative_rule": "*",
    }


NOUNS = {"PROPER_NOUN": (1348, "固有名詞"), "COMMON_NOUN": (1345, "一般")}
"""By word_type: the number of its context in naist-jdic, and its kind."""
JTALK = pyopenjtalk.OpenJTalk(dn_mecab=pyopenjtalk.OPEN_JTALK_DICT_DIR)


Style = Annotated[int, Query(alias="speaker")]
FEATURES = {
    "adjust_mora_pitch": False,
    "adjust_phoneme_length": False,
    "adjust_speed_scale": True,
    "adjust_pitch_scale": True,
    "adjust_intonation_scale": False,
    "adjust_volume_scale": True,
    "adjust_pause_length": False,
    "interrogative_upspeak": True,
    "synthesis_morphing": False,
    "sing": False,
    "manage_library": False,
}


def known(style: int) -> None:
    if style != STYLE:
        raise HTTPException(422, f"there is no style {style}: Mei has {STYLE} only")


def checked(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise HTTPException(422, f"text has {len(text):,} characters, more than {MAX_TEXT:,}")
    return unicodedata.normalize("NFC", text)


def query_of(text: str) -> AudioQuery:
    phrases = phrases_of(checked(text))
    return AudioQuery(
        accent_phrases=phrases,
        speedScale=1,
        pitchScale=0,
        intonationScale=1,
        volumeScale=1,
        prePhonemeLength=0.1,
        postPhonemeLength=0.1,
        outputSamplingRate=RATE,
        outputStereo=False,
        kana=kana_of(phrases),
    )


loaded = threading.Event()
"""Dictionary and voice are in memory: that takes a second, of the first speech or beforehand."""


def about_routes(app: FastAPI) -> None:
    @app.get("/version")
    def version() -> str:
        return VERSION

    @app.get("/core_versions")
    def core_versions() -> list[str]:
        return [VERSION]

    @app.get("/engine_manifest")
    def engine_manifest() -> dict[str, Any]:
        features = {name: {"type": "bool", "value": has} for name, has in FEATURES.items()}
        about = {"name": NAME, "brand_name": NAME, "version": VERSION, "uuid": SPEAKER_UUID}
        return {**about, "default_sampling_rate": RATE, "supported_features": features}

    @app.get("/supported_devices")
    def supported_devices() -> dict[str, bool]:
        return {"cpu": True, "cuda": False, "dml": False}

    @app.get("/speakers")
    def speakers() -> list[dict[str, Any]]:
        style = {"name": "ノーマル", "id": STYLE, "type": "talk"}
        features = {"permitted_synthesis_morphing": "NOTHING"}
        who = {"name": "Mei", "speaker_uuid": SPEAKER_UUID, "version": VERSION}
        return [{**who, "styles": [style], "supported_features": features}]


def voice_routes(app: FastAPI) -> None:
    @app.post("/initialize_speaker", status_code=204)
    def initialize_speaker(style_id: Style, skip_reinit: bool = False) -> None:
        known(style_id)
        if not (skip_reinit and loaded.is_set()):
            pyopenjtalk.tts("はい")
            loaded.set()

    @app.get("/is_initialized_speaker")
    def is_initialized_speaker(style_id: Style) -> bool:
        known(style_id)
        return loaded.is_set()

    @app.post("/audio_query")
    def audio_query(text: str, style_id: Style) -> AudioQuery:
        known(style_id)
        return query_of(text)

    @app.post("/accent_phrases")
    def accent_phrases(text: str, style_id: Style) -> list[AccentPhrase]:
        known(style_id)
        return phrases_of(checked(text))

    @app.post("/synthesis", response_class=Response)
    def synthesis(
        query: AudioQuery, style_id: Style, enable_interrogative_upspeak: bool = True
    ) -> Response:
        known(style_id)
        loaded.set()
        try:
            return Response(sound_of(query, enable_interrogative_upspeak), media_type="audio/wav")
        except ValueError as error:
            raise HTTPException(422, str(error)) from None


def word_routes(app: FastAPI, dictionary: Dictionary) -> None:
    @app.get("/user_dict")
    def user_dict() -> dict[str, Any]:
        return dictionary.words

    def keep(word_id: str | None, word: tuple[str, str, int, str, int]) -> str:
        try:
            return dictionary.put(word_id, word_of(*word))
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        except KeyError:
            raise HTTPException(422, f"there is no word {word_id}") from None

    @app.post("/user_dict_word")
    def add_word(
        surface: str,
        pronunciation: str,
        accent_type: int,
        word_type: str = "PROPER_NOUN",
        priority: Annotated[int, Query(ge=0, le=10)] = 5,
    ) -> str:
        return keep(None, (surface, pronunciation, accent_type, word_type, priority))

    @app.put("/user_dict_word/{word_uuid}", status_code=204)
    def change_word(
        word_uuid: str,
        surface: str,
        pronunciation: str,
        accent_type: int,
        word_type: str = "PROPER_NOUN",
        priority: Annotated[int, Query(ge=0, le=10)] = 5,
    ) -> None:
        keep(word_uuid, (surface, pronunciation, accent_type, word_type, priority))

    @app.delete("/user_dict_word/{word_uuid}", status_code=204)
    def delete_word(word_uuid: str) -> None:
        try:
            dictionary.remove(word_uuid)
        except KeyError:
            raise HTTPException(422, f"there is no word {word_uuid}") from None


def preset_routes(app: FastAPI, kept: Kept) -> None:
    def others(preset_id: int) -> list[dict[str, Any]]:
        """Raises HTTPException if there is none of that number."""
        left = [preset for preset in kept.value if preset["id"] != preset_id]
        if len(left) == len(kept.value):
            raise HTTPException(422, f"there is no preset {preset_id}")
        return left

    @app.get("/presets")
    def presets() -> list[Preset]:
        return kept.value

    @app.post("/add_preset")
    def add_preset(preset: Preset) -> int:
        known(preset.style_id)
        with kept.lock:
            taken = {other["id"] for other in kept.value}
            if preset.id in taken or preset.id < 0:
                preset.id = max(taken, default=-1) + 1
            kept.write([*kept.value, preset.model_dump()])
        return preset.id

    @app.post("/update_preset")
    def update_preset(preset: Preset) -> int:
        known(preset.style_id)
        with kept.lock:
            kept.write([*others(preset.id), preset.model_dump()])
        return preset.id

    @app.post("/delete_preset", status_code=204)
    def delete_preset(preset_id: Annotated[int, Query(alias="id")]) -> None:
        with kept.lock:
            kept.write(others(preset_id))

    @app.post("/audio_query_from_preset")
    def audio_query_from_preset(text: str, preset_id: int) -> AudioQuery:
        preset = next((one for one in kept.value if one["id"] == preset_id), None)
        if preset is None:
            raise HTTPException(422, f"there is no preset {preset_id}")
        scales = {key: value for key, value in preset.items() if key in AudioQuery.model_fields}
        return query_of(text).model_copy(update=scales)


def main() -> None:
    parser = argparse.ArgumentParser(prog="run_openjtalk_engine", description=NAME)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data", type=Path, default=Path("data"), help="dictionary and presets")
    options = parser.parse_args()
    app = FastAPI(title=NAME, version=VERSION)
    about_routes(app)
    voice_routes(app)
    word_routes(app, Dictionary(options.data / "dictionary.json"))
    preset_routes(app, Kept(options.data / "presets.json", []))
    print(f"{NAME}: listening on {options.host} port {options.port}", flush=True)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
