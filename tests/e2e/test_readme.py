"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import sound
from harness import PASSWORD, ROOT, Server
from manual import read_page

Make = Callable[..., Server]


def test_func_file_is_the_manual_s() -> None:
    """The manual's is run by test_manual.py."""
    text = (ROOT / "README.md").read_text().split("## Adding your own app", 1)[1]
    shown = text.split("```python\n", 1)[1].split("```")[0]
    assert read_page(ROOT / "docs" / "plugins.md").files["func/banner.py"].endswith(shown)


def test_asyncio_example(make_server: Make) -> None:
    text = (ROOT / "README.md").read_text()
    code = text.split("`AsyncClient` has", 1)[1].split("```python\n", 1)[1].split("```")[0]
    server = make_server({"smollm": {"type": "inline"}})
    server.write("func/smollm.py", "def main(args): return args['text'].upper()")
    script = code.replace("http://127.0.0.1:58080", server.start().url)
    script = script.replace("the password", PASSWORD)
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"],
        cwd=server.home,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("['WHO ARE YOU?', 'WHAT IS THE SEA?']\n", "")


def test_python_example(shipped: Server, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    code = text.split("with `venv/bin/python`:", 1)[1].split("```python\n", 1)[1].split("```")[0]
    (tmp_path / "config.json").write_text((shipped.home / "config.json").read_text())
    script = code.replace("http://127.0.0.1:58080", shipped.url)
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert (tmp_path / "answer.wav").read_bytes().startswith(b"RIFF")


def test_curl_examples(shipped: Server, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    section = text.split("## Calling an app", 1)[1].split("\n## ", 1)[0]
    commands = [line for line in section.splitlines() if line.startswith("curl ")]
    assert len(commands) == 5
    answers = []
    for command in commands:
        here = command.replace("http://127.0.0.1:58080", shipped.url)
        here = here.replace("data/curlrc", str(shipped.home / "data" / "curlrc"))
        here = here.replace(" -o hello.wav", "").replace("ffplay -nodisp -autoexit -", "cat")
        done = subprocess.run(
            ["bash", "-c", here], cwd=tmp_path, capture_output=True, timeout=60, check=True
        )
        answers.append(done.stdout)
    enveloped, wav, words, endless_wav, events = answers
    assert json.loads(enveloped)["status"] == 0
    assert sound.read(wav).seconds > 0.3
    assert len(words.split()) > 3
    assert sound.read(endless_wav).seconds > 1
    assert events.startswith(b"id: 1\nevent: ")
    assert b"\nevent: output\ndata: " in events
    assert b"\nevent: done\ndata: " in events


def test_example_script(shipped: Server, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "cli.py")]
    environment = {**os.environ, "ONEGAI_HOME": str(shipped.home)}
    for arguments in (["Hello!"], ["--server", shipped.url, PASSWORD, "Hello!"]):
        done = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "spoken in answer.wav" in done.stdout
        assert (tmp_path / "answer.wav").read_bytes().startswith(b"RIFF")
        (tmp_path / "answer.wav").unlink()
