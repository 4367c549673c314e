"""The apps of examples/: taken over by one command, installed, and called by what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from difflib import SequenceMatcher

import forked
import pytest
import sound
from harness import PASSWORD, ROOT, Server, form, free_port

TEXT = "The train to London leaves at noon."
PAGES = ("hibari_page", "whisper_page")


@pytest.mark.timeout(900)
def test_pages_speak_and_listen(shipped: Server) -> None:
    """In one test, so that one worker alone installs them."""
    for app in PAGES:
        take(shipped, app)
    entries = json.loads((shipped.home / "services.local.json").read_text())
    for app in PAGES:  # others may run the same
        entries[app]["port"] = free_port()
    shipped.edit("services.local.json", entries)
    with shipped.client() as client:
        for app in PAGES:
            list(client.follow(client.install(app)))
    a_sentence_goes_around(shipped)
    it_speaks_twice_as_fast(shipped)
    it_says_what_is_wrong(shipped)
    for app in PAGES:
        its_own_test_passes(shipped, app)


def take(server: Server, app: str) -> None:
    """As README.md says, but into the server's home."""
    done = forked.run(
        [sys.executable, "-m", "onegai", "new", app, "--from", f"examples/{app}"],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(server.home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"install {app}" in done.stdout


def a_sentence_goes_around(server: Server) -> None:
    spoken = server.post("/api/hibari_page/speak", {"text": TEXT})
    assert spoken.status == 200, spoken.body
    body, kind = form(("audio", "voice.wav", spoken.body), ("language", None, b"en"))
    heard = server.post("/api/whisper_page/listen", body, Content_Type=kind)
    assert heard.status == 200, heard.body
    likeness = SequenceMatcher(None, heard.result.lower(), TEXT.lower(), autojunk=False).ratio()
    assert likeness > 0.9, heard.result


def it_speaks_twice_as_fast(server: Server) -> None:
    plain, quick = (
        sound.read(server.post("/api/hibari_page/speak", {"text": TEXT, "speed": speed}).body)
        for speed in (1.0, 2.0)
    )
    assert 0.35 < quick.seconds / plain.seconds < 0.7


def it_says_what_is_wrong(server: Server) -> None:
    refused = server.post("/api/hibari_page/speak", {"text": TEXT, "speed": 9})
    assert refused.detail["code"] == "bad_arguments"
    empty = server.post("/api/hibari_page/speak", {"text": " "})
    assert (empty.detail["code"], empty.detail["src"]) == ("error_answer", "hibari_page")
    assert "nothing to say" in empty.result


def its_own_test_passes(server: Server, app: str) -> None:
    keys = {"URL": server.url, "USERNAME": "onegai", "PASSWORD": PASSWORD, "PYTHON": sys.executable}
    environment = {f"ONEGAI_{key}": value for key, value in keys.items()}
    done = subprocess.run(
        ["bash", ROOT / "examples" / app / "tests" / f"test_{app}.sh"],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},  # it lies in another folder
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
