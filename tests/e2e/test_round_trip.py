"""Text to a voice, the voice to whisper: what comes back is the text."""

from __future__ import annotations

import base64
import os
import sys
import unicodedata
from difflib import SequenceMatcher
from pathlib import Path

import forked
import pytest
from harness import ROOT, Server, form

JAPANESE = (
    "こんにちは、今日はとてもいい天気ですね。",
    "すみません、駅はどこですか。",
)
ENGLISH = ("The train to London leaves at noon.", "I would like a cup of coffee, please.")


def letters(text: str) -> str:
    """What is left to compare: lower-case letters and digits, full-width ones made plain."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).lower() if char.isalnum())


def likeness(text: str, other: str) -> float:
    """0 to 1: whisper may write a word in kanji, a number in digits."""
    return SequenceMatcher(None, letters(text), letters(other), autojunk=False).ratio()


@pytest.mark.parametrize(
    ("voice", "options", "language", "texts"),
    [
        ("hibari", {"seed": 1}, "en", ENGLISH),
        ("openjtalk", {}, "ja", JAPANESE),
        ("kokoroja", {}, "ja", JAPANESE),
    ],
)
def test_what_a_voice_says_is_heard(
    shipped: Server,
    voice: str,
    options: dict[str, int],
    language: str,
    texts: tuple[str, str],
) -> None:
    for text, other in (texts, texts[::-1]):
        spoken = shipped.post(f"/api/{voice}/raw", {"text": text, **options})
        assert spoken.status == 200, spoken.body
        body, kind = form(("audio", "voice.wav", spoken.body))
        heard = shipped.post("/api/whisper/main", body, Content_Type=kind)
        assert heard.status == 200, heard.body
        assert heard.detail["language"] == language
        assert heard.detail["segments"][-1]["end"] <= heard.detail["duration"]
        if language == "en":
            assert letters(heard.result) == letters(text)
        assert likeness(heard.result, text) >= 0.7
        assert likeness(heard.result, other) < 0.5


def test_the_command_sends_a_sound_file(shipped: Server, tmp_path: Path) -> None:
    spoken = shipped.post("/api/hibari/raw", {"text": ENGLISH[0], "seed": 1})
    (tmp_path / "voice.wav").write_bytes(spoken.body)
    heard = forked.run(
        [sys.executable, "-m", "onegai", "call", "whisper", f"audio=@{tmp_path / 'voice.wav'}"],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(shipped.home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert letters(heard.stdout) == letters(ENGLISH[0])


def test_ears_take_the_result_of_a_job(shipped: Server) -> None:
    spoken = shipped.post(
        "/api/hibari/raw", {"text": ENGLISH[0], "seed": 1}, Prefer="respond-async"
    )
    shipped.get(f"{spoken.headers['location']}/events")
    heard = shipped.post("/api/whisper/main", {"audio": {"job": spoken.result["id"]}})
    assert letters(heard.result) == letters(ENGLISH[0])


def test_ears_take_a_data_url_and_translate(shipped: Server) -> None:
    spoken = shipped.post("/api/kokoroja/raw", {"text": "私はコーヒーが好きです。"})
    audio = "data:audio/wav;base64," + base64.b64encode(spoken.body).decode()
    asked = {"audio": audio, "language": "ja", "task": "translate"}
    assert "coffee" in shipped.post("/api/whisper/main", asked).result.lower()
