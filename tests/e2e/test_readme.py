"""What the README shows as an example of an own app works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness import PASSWORD, ROOT, Server, copy_recipes, free_port

Make = Callable[..., Server]


def example_files() -> dict[str, str]:
    """The files of "Adding your own app": each numbered paragraph names one, a block shows it."""
    text = (ROOT / "README.md").read_text().split("## Adding your own app", 1)[1]
    shown = re.findall(r"\*\*\d\.\*\* `([^`]+)`.*?```\w+\n(.*?)```", text, re.DOTALL)
    return dict(shown)


def test_own_app(make_server: Make) -> None:
    files = example_files()
    assert len(files) == 4
    server = make_server()
    copy_recipes(server.home)
    entry = json.loads(files.pop("services.local.json"))
    entry["banner"]["port"] = free_port()
    server.write("services.local.json", entry)
    for name, content in files.items():
        server.write(name, content)
    server.start()
    text = (ROOT / "README.md").read_text()
    calls = re.findall(r"(/app/install|/api/banner/raw) .*?-d '([^']+)'", text)
    assert [path for path, _ in calls] == ["/app/install", "/api/banner/raw"]
    for path, body in calls:
        answer = server.post(path, json.loads(body))
        assert answer.status in (200, 202), answer.body
    drawn = answer.body.decode()
    assert len(drawn.splitlines()) >= 5
    assert "___" in drawn
    assert server.post("/api/banner/main", {"text": "a"}).result.strip()
    assert server.post("/api/banner/main", {}).detail["errors"][0]["field"] == "text"


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
