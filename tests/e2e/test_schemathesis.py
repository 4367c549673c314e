"""Requests that schemathesis makes from /openapi.json, right ones and wrong ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PASSWORD, Server, new_server

FUNCS = {
    "shop": """
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from onegai.sdk import File


class Speech(BaseModel):
    # Else a text that is a number counts as one, which the schema cannot say.
    model_config = ConfigDict(strict=True)
    text: str = Field(max_length=20)
    speed: float = Field(default=1.0, ge=0.5, le=2)
    kind: Literal["a", "b"] = "a"


class Sound(BaseModel):
    model_config = ConfigDict(strict=True)
    audio: File
    count: int = 1


def main(args: Speech) -> str:
    return args.text


def hear(args: Sound) -> dict:
    return {"size": args.audio.size}
""",
    "plain": "async def main(args: dict): return args\ndef other(args): return b'x', 'audio/wav'\n",
}

CONFIG = """
# Texts that are neither URL, path nor base64 are refused, and a schema cannot tell them.
[[operations]]
include-path = "/api/shop/hear"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "403", "404", "422"]

# An ETag that is no longer the file's is as valid as any other (412). What the files may hold is
# said by schemas/, and is not repeated here (422). Without an ETag: RFC 6585 has a status for that.
[[operations]]
include-path-regex = "set_json$"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "403", "412", "422"]
[operations.checks.missing_required_header]
expected-statuses = ["428"]

[[operations]]
include-path = "/api/{app}"
[operations.parameters]
"path.app" = "shop"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    services = {app: {"type": "inline"} for app in FUNCS}
    with new_server(tmp_path / "home", services) as made:
        for app, source in FUNCS.items():
            made.write(f"func/{app}.py", source)
        yield made.start()


def test_every_answer_is_as_openapi_says(server: Server, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    ended = subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            *("run", f"{server.url}/openapi.json", "--auth", f"onegai:{PASSWORD}"),
            *("--phases", "coverage,fuzzing", "--max-examples", "5", "--generation-deterministic"),
            *("--request-timeout", "20"),
            # A wrong password is answered slowly, and tests/contract tries one on every route.
            *("--exclude-checks", "ignored_auth"),
            *("--no-shrink", "--continue-on-failure", "--warnings", "off", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "internal_error" not in server.log()
    assert "Traceback" not in server.log()
    assert server.get("/app/list").status == 200
