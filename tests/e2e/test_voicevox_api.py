"""func/voicevox.py and func/aivisspeech.py, and somebody else's client, against a real engine.

It is run/run_openjtalk_engine.py, which has VOICEVOX's routes and one speaker, Mei.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import forked
import pytest
import sound
from harness import ROOT, Server, form, free_port, new_server, until

HELLO = "こんにちは、今日はとてもいい天気ですね。"
LONG = "".join(f"これは{number}番目の文で、まだ終わりではありません。" for number in range(24))


def engine(shipped: Server, **keys: Any) -> dict[str, Any]:
    """An entry that runs Open JTalk with VOICEVOX's routes; its dictionary is its own."""
    python = shipped.home / "apps/openjtalk_engine/venv/bin/python"
    command = f"{python} {ROOT}/run/run_openjtalk_engine.py --port {{port}} --data data"
    entry = {"type": "webapi", "port": free_port(), "exec": command, "ready": {"http": "/version"}}
    return {**entry, **keys}


@pytest.fixture(scope="module")
def voices(shipped: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose voicevox and aivisspeech are such engines, with the shipped functions."""
    services = {app: engine(shipped) for app in ("voicevox", "aivisspeech")}
    with new_server(tmp_path_factory.mktemp("voices") / "home", services) as server:
        for path in (ROOT / "func").glob("*voice*.py"):
            server.write(f"func/{path.name}", path.read_text())
        server.write("func/aivisspeech.py", (ROOT / "func/aivisspeech.py").read_text())
        settings = json.loads((server.home / "config.json").read_text())
        server.write("config.json", settings | {"apps": {"voicevox": {"speaker": "ｍｅｉ"}}})
        yield server.start()


def ask(server: Server, function: str, app: str = "voicevox", **arguments: Any) -> Any:
    answer = server.post(f"/api/{app}/{function}", arguments)
    assert answer.status == 200, answer.body
    return answer.result


def direct(server: Server, path: str, app: str = "voicevox") -> Any:
    """What the engine itself says, in JSON."""
    port = json.loads((server.home / "services.json").read_text())[app]["port"]
    with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return json.loads(answer.read())


def said(server: Server, app: str = "voicevox", **arguments: Any) -> sound.Sound:
    answer = server.post(f"/api/{app}/raw", arguments)
    assert answer.status == 200, answer.body
    return sound.read(answer.body)


def test_the_engine_is_named_as_itself(voices: Server) -> None:
    ask(voices, "speakers")
    assert "OneGAI" in direct(voices, "/version")
    assert "OneGAI" in direct(voices, "/engine_manifest")["brand_name"]
    assert [speaker["name"] for speaker in direct(voices, "/speakers")] == ["Mei"]


def test_the_configured_speaker_is_ready_when_the_service_is(voices: Server) -> None:
    voices.post("/service/start", {"app": "voicevox", "restart": True})
    assert direct(voices, "/is_initialized_speaker?speaker=0") is True


def test_what_it_says_is_heard(voices: Server, shipped: Server) -> None:
    spoken = voices.post("/api/voicevox/raw", {"text": HELLO, "speaker": "Mei"})
    assert spoken.headers["content-type"] == "audio/wav"
    body, kind = form(("audio", "voice.wav", spoken.body))
    heard = shipped.post("/api/whisper/main", body, Content_Type=kind)
    assert SequenceMatcher(None, heard.result, HELLO, autojunk=False).ratio() > 0.7


@pytest.mark.parametrize("speaker", [0, "0", "Mei", "mei", "ＭＥＩ", None])
def test_a_speaker_by_name_or_by_number(voices: Server, speaker: Any) -> None:
    assert said(voices, text="はい。", speaker=speaker).seconds > 0.2


def test_a_style_by_name(voices: Server) -> None:
    assert ask(voices, "load", speaker="Mei", style="ノーマル") == 0
    assert said(voices, text="はい。", style="ノーマル").seconds > 0.2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"speaker": "ずんだもん"}, "Mei"),
        ({"style": "ささやき"}, "ノーマル"),
        ({"preset": "x"}, ""),
    ],
)
def test_who_is_not_there(voices: Server, arguments: dict[str, Any], hint: str) -> None:
    answer = voices.post("/api/voicevox/raw", {"text": "はい", **arguments})
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    assert hint in answer.detail["hint"]


def test_what_the_engine_refuses_is_its_own_error(voices: Server) -> None:
    answer = voices.post("/api/voicevox/raw", {"text": "はい", "speaker": -1878365376})
    assert (answer.status, answer.detail["code"]) == (422, "error_answer")
    assert answer.detail["src"] == "voicevox"
    assert answer.detail["upstream_status"] == 422
    assert "-1878365376" in answer.result


def test_settings_of_the_voice(voices: Server) -> None:
    plain = said(voices, text=HELLO)
    quick = said(voices, text=HELLO, speed=2)
    assert 0.4 < quick.seconds / plain.seconds < 0.65
    assert said(voices, text=HELLO, volume=0.5).level == pytest.approx(plain.level / 2, rel=0.1)
    late = said(voices, text=HELLO, before=1.1, after=2.1)
    assert late.seconds == pytest.approx(plain.seconds + 3, abs=0.05)
    assert said(voices, text=HELLO, rate=24_000).rate == 24_000
    assert said(voices, text=HELLO, pitch=0.15) != plain
    aivis = said(voices, app="aivisspeech", text=HELLO, tempo_dynamics=1.5, intonation=2)
    assert aivis.seconds == plain.seconds


def test_a_long_text_is_said_as_one(voices: Server) -> None:
    assert len(LONG) > 500
    assert said(voices, text=LONG).seconds > len(LONG) / 12
    answer = voices.post("/api/voicevox/raw", {"text": "あ" * 10_001})
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
    answer = voices.post("/api/voicevox/query", {"text": LONG})
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")


def test_the_first_sentence_comes_before_the_others_are_made(voices: Server) -> None:
    begun = time.monotonic()
    with voices.reading("/api/voicevox/stream", {"text": LONG}) as answer:
        content = answer.read1()
        first = time.monotonic() - begun
        content += answer.read()
    assert first < (time.monotonic() - begun) / 3
    assert sound.read(content).seconds > len(LONG) / 12


def test_a_query_tells_how_it_is_said(voices: Server) -> None:
    query = ask(voices, "query", text="橋ですか？")
    [phrase] = query["accent_phrases"]
    assert [mora["text"] for mora in phrase["moras"]] == list("ハシデスカ")
    assert phrase["accent"] == 2
    assert phrase["is_interrogative"] is True
    assert ask(voices, "query", text="箸ですか？")["accent_phrases"][0]["accent"] == 1


def test_the_dictionary(voices: Server) -> None:
    def kana(text: str = "OneGAIを紹介します") -> str:
        return str(ask(voices, "query", text=text)["kana"]).replace("'", "").replace("_", "")

    assert ask(voices, "words") == []
    assert "オネガイ" not in kana()
    word = ask(voices, "add_word", surface="OneGAI", pronunciation="おねがい", accent=1)
    assert kana().startswith("オネガイ")
    [known] = ask(voices, "words")
    assert known["id"] == word
    assert (known["pronunciation"], known["accent"]) == ("オネガイ", 1)
    again = ask(voices, "add_word", surface="OneGAI", pronunciation="ワンジーエーアイ", accent=3)
    assert again == word
    assert kana().startswith("ワンジイエエアイ")
    voices.post("/service/start", {"app": "voicevox", "restart": True})
    assert kana().startswith("ワンジイエエアイ")
    assert ask(voices, "remove_word", word="onegai") == word
    assert ask(voices, "words") == []
    assert voices.post("/api/voicevox/remove_word", {"word": "x"}).status == 422
    refused = voices.post("/api/voicevox/add_word", {"surface": "x", "pronunciation": "eks"})
    assert (refused.status, refused.detail["src"]) == (422, "voicevox")


def test_presets(voices: Server) -> None:
    number = ask(voices, "add_preset", name="はやくち", speed=2.0)
    plain, quick = said(voices, text=HELLO), said(voices, text=HELLO, preset="はやくち")
    assert 0.4 < quick.seconds / plain.seconds < 0.65
    assert said(voices, text=HELLO, preset=number) == quick
    assert said(voices, text=HELLO, preset=number, speed=1).seconds == plain.seconds
    assert ask(voices, "add_preset", name="はやくち", speed=1.0) == number
    assert [one["speedScale"] for one in ask(voices, "presets")] == [1.0]
    assert ask(voices, "remove_preset", preset=str(number)) == number
    assert ask(voices, "presets") == []


def test_an_unknown_speaker_in_the_settings_is_told_at_the_start(voices: Server) -> None:
    settings = json.loads((voices.home / "config.json").read_text())
    voices.edit("config.json", settings | {"apps": {"aivisspeech": {"speaker": "Anneli"}}})
    try:
        voices.post("/service/stop", {"app": "aivisspeech"})
        answer = voices.post("/api/aivisspeech/raw", {"text": "はい"})
        assert answer.status == 422
        assert "apps.aivisspeech.speaker" in answer.result
        assert "Anneli" in answer.result
    finally:
        voices.edit("config.json", settings)


def problem(server: Server, app: str) -> str:
    """What is wrong with the app's files."""
    found = server.get("/service/status").result["problems"]
    return " ".join(one["reason"] for one in found if one["app"] == app)


def test_an_edit_of_what_both_share_is_in_use_at_once(voices: Server) -> None:
    path = voices.home / "func/_voicevox_api.py"
    before = path.read_text()
    assert "PIECE = 400" in before
    for app in ("voicevox", "aivisspeech"):
        assert ask(voices, "query", app, text=LONG[:300])["accent_phrases"]
    try:
        path.write_text(before.replace("PIECE = 400", "PIECE = 200"))
        for app in ("voicevox", "aivisspeech"):
            until(
                lambda path=f"/api/{app}/query": (
                    voices.post(path, {"text": LONG[:300]}).status == 422
                )
            )
        path.write_text("from onegai.sdk import nothing_of_that_name")
        until(lambda: problem(voices, "voicevox"))
        assert "nothing_of_that_name" in problem(voices, "voicevox")
        refused = voices.post("/api/voicevox/query", {"text": LONG[:300]})
        assert refused.detail["code"] == "bad_arguments", "the last good one is in use"
    finally:
        path.write_text(before)


# --- somebody else's client, from the registry -----------------------------------------------

CLIENT = """
import asyncio, sys
from vvclient import Client

async def main(url, path):
    async with Client(base_uri=url) as client:
        print(await client.fetch_engine_version(), await client.fetch_core_versions())
        await client.init_speaker(0, skip_reinit=True)
        assert await client.is_inited_speaker(0) is True
        query = await client.create_audio_query("こんにちは、よろしくお願いします。", speaker=0)
        with open(path, "wb") as file:
            file.write(await query.synthesis(speaker=0))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with voicevox-client."""
    uv = next(path for path in (ROOT / "data/tools/bin/uv", Path("/usr/bin/uv")) if path.exists())
    venv = tmp_path_factory.mktemp("client") / "venv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], check=True)
    lock = ROOT / "tests/voicevox_client.lock"
    install = ["pip", "install", "-q", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([uv, *install, "--python", venv / "bin/python", "-r", lock], check=True)
    return venv / "bin/python"


def test_a_client_from_the_registry(voices: Server, client_python: Path, tmp_path: Path) -> None:
    ask(voices, "speakers")
    port = json.loads((voices.home / "services.json").read_text())["voicevox"]["port"]
    wav = tmp_path / "hello.wav"
    done = forked.run(
        [str(client_python), "-c", CLIENT, f"http://127.0.0.1:{port}", str(wav)],
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "OneGAI" in done.stdout
    assert 1.5 < sound.read(wav.read_bytes()).seconds < 5
