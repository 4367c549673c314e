"""What docs/ shows works as it stands there: every function, request, script and file."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import picture
from gradio_apps import LOCKS
from harness import PASSWORD, ROOT, Server, copy_recipes, free_port
from manual import Page, promised_output, read_page

Make = Callable[..., Server]


def home_of(page: Page, server: Server) -> Server:
    """A home with the page's files, entries on free ports, and settings."""
    copy_recipes(server.home)
    for entry in page.services.values():
        if "port" in entry:
            entry["port"] = free_port()
    server.write("services.local.json", page.services)
    config = {"username": "onegai", "password": PASSWORD, **page.config}
    server.write("config.json", config)
    for name, content in page.files.items():
        server.write(name, content)
    return server


def follow(page: Page, server: Server) -> None:
    """Send every request of the page, in order."""
    for shown in page.exchanges:
        answer = server.request(shown.method, shown.path, shown.body)
        shown.check(answer.status, answer.headers["content-type"], answer.body)


def test_functions(make_server: Make) -> None:
    page = read_page(ROOT / "docs" / "functions.md")
    assert list(page.services) == ["tone"]
    assert len(page.exchanges) > 25
    server = home_of(page, make_server()).start()
    assert [p["file"] for p in server.get("/service/status").result["problems"]] == []
    follow(page, server)
    client = page.files["read_story.py"].replace("http://127.0.0.1:58080", server.url)
    assert run_script(server, client.replace("PASSWORD", PASSWORD)) == ["so it ends "]
    [script] = page.scripts
    assert len(promised_output(script)) == script.count("print(")
    assert run_script(server, script) == promised_output(script)  # beside the server
    server.stop()
    assert run_script(server, script) == promised_output(script)  # without one


def run_script(server: Server, script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=server.home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ONEGAI_HOME": str(server.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_own_app(make_server: Make) -> None:
    page = read_page(ROOT / "docs" / "plugins.md")
    assert {Path(name).parts[0] for name in page.files} == set("install run func api tests".split())
    server = home_of(page, make_server()).start()
    follow(page, server)
    drawn = server.post("/api/banner/raw", {"text": "Onegai"}).body.decode()
    assert len(drawn.splitlines()) >= 5
    assert "___" in drawn
    assert server.get("/api/banner/show?text=Onegai").body.decode() == drawn
    assert server.get("/service/status").result["problems"] == []
    done = subprocess.run(
        ["bash", "tests/test_banner.sh"],
        cwd=server.home,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ONEGAI_URL": server.url,
            "ONEGAI_USERNAME": "onegai",
            "ONEGAI_PASSWORD": PASSWORD,
            "ONEGAI_PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrapping_a_server(make_server: Make) -> None:
    path = ROOT / "docs" / "wrapping.md"
    page = read_page(path)
    assert list(page.files) == ["run/run_greeter.py"]
    assert len(page.exchanges) == 4
    server = home_of(page, make_server()).start()
    told = [run_command(server, words) for words in commands_of(path)]
    assert "createGreeting" not in told[1]
    assert "Greet somebody." in told[1]
    assert json.loads(told[2]) == {"text": "こんにちは, Onegai"}
    follow(page, server)
    assert server.get("/service/status").result["problems"] == []


def commands_of(path: Path) -> list[list[str]]:
    """What ``bash run.sh`` is given in the blocks of a page that are no scripts."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if block[:2] != "#!"]
    return [shlex.split(line.removeprefix("bash run.sh ")) for line in lines]


def run_command(server: Server, words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "onegai", *words],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": str(server.home)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gradio_app(make_server: Make) -> None:
    path = ROOT / "docs" / "gradio.md"
    page = read_page(path)
    assert list(page.files) == ["run/run_letters.py", "install/letters.sh"]
    assert len(page.exchanges) == 5
    server = home_of(page, make_server())
    server.write("install/letters.lock", LOCKS["6.31.0"].read_text())
    face, mirrored = server.home / "face.png", server.home / "mirrored.png"
    face.write_bytes(picture.png(3, 2))
    server.start()
    here = {"@face.png": f"@{face}", "mirrored.png": str(mirrored)}
    told = []
    for words in commands_of(path):
        if "letters" not in words:  # test_examples runs these
            continue
        for shown, there in here.items():
            words = [word.replace(shown, there) for word in words]
        told.append(run_command(server, words))
    _install, _start, functions, counted, spelt, _mirror = told
    assert all(f"call letters {name}" in functions for name in ("count", "spell", "mirror"))
    assert counted.split() == ["8"]
    assert "O n e g a i" in spelt
    assert picture.rows(mirrored.read_bytes()) == [
        row[::-1] for row in picture.rows(face.read_bytes())
    ]
    follow(page, server)
