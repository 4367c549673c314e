"""Forms of the clients: what the server reads of them, and files that cannot be sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from onegai.client import wire
from onegai.client.form import Form
from onegai.client.upload import PIECE, Upload
from onegai.errors import BadArguments, FileTooLarge
from onegai.files.file import File
from onegai.files.local import as_files
from onegai.files.workspace import Workspace
from onegai.server.routes.forms import as_arguments, read_parts

LONG = 3 * PIECE + 1


class Typed(BaseModel):
    text: str = ""
    number: float = 0
    numbers: list[int] = []
    file: File | None = None
    files: list[File] = []


ANYTHING: dict[str, Any] = {"type": "object", "additionalProperties": True}
TYPED = Typed.model_json_schema()


def body_of(request: wire.Request[Any]) -> bytes:
    """All that is sent, as long as it was said to be."""
    assert isinstance(request.content, Form)
    upload = Upload(request.content)
    body = b"".join(upload.pieces())
    assert len(body) == upload.size
    return body


async def understood(
    arguments: dict[str, Any], schema: dict[str, Any], workspace: Workspace
) -> dict[str, Any]:
    """What the server makes of what a client sends; files as their names and contents."""
    request = wire.answer("a", "main", arguments)
    messages = [{"type": "http.request", "body": body_of(request), "more_body": False}]
    headers = [(b"content-type", request.headers["Content-Type"].encode())]

    async def receive() -> dict[str, Any]:
        return messages.pop()

    parts = await read_parts(Request({"type": "http", "headers": headers}, receive), workspace, 999)
    found = as_arguments(parts, schema)
    return {key: seen(value) for key, value in found.items()}


def seen(value: Any) -> Any:
    if isinstance(value, list):
        return [seen(one) for one in value]
    return (value.name, value.read()) if isinstance(value, File) else value


@pytest.mark.parametrize("schema", [ANYTHING, TYPED])
@pytest.mark.parametrize(
    "value",
    [
        *(
            1,
            1.5,
            -0.0,
            10**30,
            True,
            None,
            "",
            "1",
            "null",
            '"1"',
            "[1]",
            '{"job": "x"}',
            " x\r\n",
        ),
        *("ね😀", "--x\r\n", [], [1], ["1"], [[1]], [{"a": [None]}], {}, {"x": "1", "ね": 2}),
    ],
)
async def test_every_value_arrives_as_it_is(
    tmp_path: Path, schema: dict[str, Any], value: Any
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    keys = ("text", "number", "numbers", "file", "unknown")
    arguments: dict[str, Any] = dict.fromkeys(keys, value)
    with Workspace(tmp_path / "uploads") as workspace:
        found = await understood({**arguments, "files": [path, path]}, schema, workspace)
    assert repr(found) == repr({**arguments, "files": [("a.txt", b"content")] * 2})


@pytest.mark.parametrize(
    "name", ["ね こ.wav", 'a"b;c=d.wav', "a\\b", "it's.wav", "%22.txt", "file", "a\udcff.wav"]
)
@pytest.mark.parametrize("content", [b"", b"\r\n--", b"x" * LONG])
async def test_files_arrive_with_their_names(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with Workspace(tmp_path / "uploads") as workspace:
        found = await understood({'a "key"': path}, ANYTHING, workspace)
    shown = os.fsencode(name).decode("utf-8", "replace").rpartition("\\")[2]
    assert found == {'a "key"': (shown, content)}


async def test_line_breaks_in_names_are_no_headers(tmp_path: Path) -> None:
    path = tmp_path / "a\r\nb\n.txt"
    path.write_bytes(b"x")
    with Workspace(tmp_path / "uploads") as workspace:
        found = await understood({"k\r\nX: y": path}, ANYTHING, workspace)
    assert found == {"k%0D%0AX: y": ("a%0D%0Ab%0A.txt", b"x")}


async def test_lists_with_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    mixed = [{"job": "1"}, path, "data:,b"]
    with Workspace(tmp_path / "uploads") as workspace:
        assert await understood({"files": mixed}, TYPED, workspace) == {
            "files": [{"job": "1"}, ("a", b"x"), "data:,b"]
        }
        assert await understood({"files": [path]}, TYPED, workspace) == {"files": [("a", b"x")]}
        assert await understood({"files": (path,)}, TYPED, workspace) == {"files": [("a", b"x")]}


def test_a_server_that_has_answered_reads_no_more() -> None:
    request = wire.answer("a", "main", {"x": Path("a.wav")}, "signed")
    assert request.headers["Connection"] == "close"
    assert (request.path, request.method) == ("/api/a/main?files=signed", "POST")
    job = wire.submit("a", "main", {"x": Path("a.wav")})
    assert (job.headers["Connection"], job.headers["Prefer"]) == ("close", "respond-async")


def test_without_files_it_is_json() -> None:
    request = wire.submit("a", "main", {"x": "a.wav", "l": ["b"]})
    assert request.content == b'{"x": "a.wav", "l": ["b"]}'
    assert request.headers["Content-Type"] == "application/json"


def bad_files(folder: Path) -> dict[str, Path]:
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    return {
        "No such file": folder / "none",
        "is a folder": folder / "folder",
        "no ordinary file": folder / "pipe",
        "embedded null": Path("a\0b"),
        "home directory": Path("~nobody-has-this-name/x"),
    }


def test_files_that_cannot_be_sent(tmp_path: Path) -> None:
    for reason, path in bad_files(tmp_path).items():
        request = wire.answer("a", "main", {"audio": path})
        assert isinstance(request.content, Form)
        with pytest.raises(BadArguments, match=f"audio: .*{reason}") as here:
            Upload(request.content)
        with pytest.raises(BadArguments, match=reason) as in_process:
            as_files({"audio": path}, 100)
        assert here.value.detail == in_process.value.detail
        assert here.value.detail["errors"][0]["field"] == "audio"


def test_a_file_that_changes_while_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * LONG)
    request = wire.answer("a", "main", {"audio": path})
    assert isinstance(request.content, Form)
    upload = Upload(request.content)
    path.write_bytes(b"x" * LONG * 2)
    assert sum(map(len, upload.pieces())) == upload.size
    path.write_bytes(b"x" * (LONG - 1))
    with pytest.raises(BadArguments, match=r"audio: .*/a has become shorter"):
        list(upload.pieces())
    path.unlink()
    with pytest.raises(BadArguments, match=r"audio: cannot read .*/a: No such file"):
        list(upload.pieces())


def test_files_for_the_engine_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a.txt")
    home = Path("~/a.txt")
    found = as_files({"f": home, "l": [home, "x"], "n": 1}, 5)
    assert (found["f"].path, found["l"][1], found["n"]) == (tmp_path / "a.txt", "x", 1)
    with pytest.raises(FileTooLarge):
        as_files({"f": home}, 4)
    with Workspace(tmp_path / "uploads") as workspace:
        kept = as_files({"f": tmp_path / "link"}, 5, workspace)["f"]
        (tmp_path / "a.txt").unlink()
        assert (kept.name, kept.read()) == ("link", b"12345")
        zero = as_files({"f": Path("/proc/self/comm")}, 5, workspace)["f"]
        assert zero.read()  # on another file system it is copied
