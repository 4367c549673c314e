"""data/ while a server works: nobody but its owner can read what people send, get and say."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

import pytest
from harness import Server, fake, form, until

Make = Callable[..., Server]

FUNC = """
from onegai.sdk import File
from pydantic import BaseModel


class Said(BaseModel):
    audio: File


def main(args: Said) -> File:
    return File(args.audio.read(), "copy.bin")
"""


def open_ones(server: Server) -> list[str]:
    found = []
    for inside, folders, files in os.walk(server.home / "data"):
        for name in (".", *folders, *files):
            mode = stat.S_IMODE(os.lstat(f"{inside}/{name}").st_mode)
            if mode & 0o077:
                found.append(f"{inside}/{name} {mode:o}")
    return found


def test_data_is_private_at_all_times(make_server: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server({"a": fake("ready"), "b": fake("ready")})
    server.write("func/a.py", FUNC)
    server.write("install/b.sh", "echo hello; exit 1\n")
    server.write("data/logs/earlier.log", "wide open")
    before = os.umask(0o022)
    try:
        server.start()
    finally:
        os.umask(before)
    server.post("/app/install", {"app": "b", "wait": True})
    assert server.log("install-b").startswith("hello\n")
    server.post("/service/start", {"app": "a"})
    body, kind = form(("audio", "talk.bin", b"x" * (4 << 20)))
    uploads = server.home / "data" / "uploads"

    def slowly() -> Iterator[bytes]:
        yield body[: 3 << 20]
        until(lambda: [path for path in uploads.rglob("*") if path.is_file()], what="a file")
        assert open_ones(server) == []
        yield body[3 << 20 :]

    headers = {"Content-Type": kind, "Prefer": "respond-async"}
    job = server.request("POST", "/api/a/main", slowly(), headers).result
    until(lambda: server.get(f"/job/{job['id']}").result["state"] == "done")
    assert server.get(f"/job/{job['id']}/result").status == 200
    assert list((server.home / "data" / "files").rglob("content"))
    assert open_ones(server) == []
