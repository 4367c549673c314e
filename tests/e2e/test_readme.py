"""What the README shows works as it stands there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness import ROOT, Server
from manual import read_page


def test_func_file_is_the_manual_s() -> None:
    """The manual's is run by test_manual.py."""
    text = (ROOT / "README.md").read_text().split("## Adding your own app", 1)[1]
    shown = text.split("```python\n", 1)[1].split("```")[0]
    assert read_page(ROOT / "docs" / "plugins.md").files["func/banner.py"].endswith(shown)


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
