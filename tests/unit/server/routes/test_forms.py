"""Forms as arguments: what becomes of texts, lists and files, and a disk that is full."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request

from onegai.errors import BadMultipart, BodyTooLarge, DiskFull
from onegai.files.file import File
from onegai.files.workspace import Workspace
from onegai.server.routes.forms import Exact, Part, as_arguments, read_parts

BODY = (
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nfile\r\n'
    b'--x\r\nContent-Disposition: form-data; name="t"\r\n\r\ntext\r\n--x--\r\n'
)


class Inner(BaseModel):
    size: int = 1


class Args(BaseModel):
    text: str = ""
    maybe: str | None = None
    number: int = 0
    flag: bool = False
    choice: Literal["1", "2"] = "1"
    numbers: list[int] = []
    inner: Inner = Inner()
    anything: Any = None
    file: File | None = None
    files: list[File] = []


@pytest.mark.parametrize(
    ("parts", "arguments"),
    [
        ([("text", "1")], {"text": "1"}),
        ([("maybe", "null")], {"maybe": "null"}),
        ([("number", "1")], {"number": 1}),
        ([("number", "one")], {"number": "one"}),
        ([("flag", "true")], {"flag": True}),
        ([("flag", "yes")], {"flag": "yes"}),
        ([("choice", "1")], {"choice": "1"}),
        ([("numbers", "1"), ("numbers", "2")], {"numbers": [1, 2]}),
        ([("numbers", "1")], {"numbers": [1]}),
        ([("numbers", "[1, 2]")], {"numbers": [1, 2]}),
        ([("inner", '{"size": 2}')], {"inner": {"size": 2}}),
        ([("inner", "[" * 9000)], {"inner": "[" * 9000}),
        ([("anything", "1")], {"anything": "1"}),
        ([("unknown", "1")], {"unknown": "1"}),
        ([("file", "1")], {"file": "1"}),
        ([("file", '{"job": "x"}')], {"file": {"job": "x"}}),
        ([("files", "data:,a")], {"files": ["data:,a"]}),
        ([("files", '{"job": "x"}'), ("files", "y")], {"files": [{"job": "x"}, "y"]}),
        ([("text", Exact(1))], {"text": 1}),
        ([("number", Exact("1"))], {"number": "1"}),
        ([("anything", Exact(1))], {"anything": 1}),
        ([("numbers", Exact(1))], {"numbers": 1}),
        ([("numbers", Exact("[1]"))], {"numbers": "[1]"}),
        ([("numbers", Exact([1]))], {"numbers": [1]}),
        ([("numbers", Exact([1])), ("numbers", "2")], {"numbers": [[1], 2]}),
        ([("file", Exact('{"job": "x"}'))], {"file": '{"job": "x"}'}),
        ([], {}),
    ],
)
def test_texts(parts: list[Part], arguments: dict[str, Any]) -> None:
    assert as_arguments(parts, Args.model_json_schema()) == arguments


def request(*pieces: bytes, kind: str = "multipart/form-data; boundary=x") -> Request:
    """One that ends with its pieces; a client that leaves where the last is empty."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"}
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    return Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    with Workspace(tmp_path) as made:
        yield made


def json_part(content: bytes, kind: bytes = b"application/json") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="n"\r\nContent-Type: ' + kind
    return head + b"\r\n\r\n" + content + b"\r\n--x--\r\n"


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON; charset=utf-8"])
async def test_a_part_that_is_json(workspace: Workspace, kind: bytes) -> None:
    parts = await read_parts(request(json_part(b' {"a": [1, "1"]}\n', kind)), workspace, 100)
    assert parts == [("n", Exact({"a": [1, "1"]}))]


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"[1,", b"NaN", b"\xff", b'"a" b', b"[" * 99_000, b"1" * 9999]
)
async def test_a_part_that_is_no_json(workspace: Workspace, content: bytes) -> None:
    with pytest.raises(BadMultipart, match=r"the part n is no JSON: ."):
        await read_parts(request(json_part(content)), workspace, 100_000)


async def test_too_much_json(workspace: Workspace) -> None:
    with pytest.raises(BodyTooLarge):
        await read_parts(request(json_part(b"[1, 2]")), workspace, 5)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_pieces_of_any_size(workspace: Workspace, size: int) -> None:
    pieces = [BODY[at : at + size] for at in range(0, len(BODY), size)]
    (file_name, file), text = await read_parts(request(*pieces), workspace, 100)
    assert isinstance(file, File)
    assert (file_name, file.name, file.read(), text) == ("f", "a.txt", b"file", ("t", "text"))
    assert file.path.is_relative_to(workspace.folder)


async def test_too_much_text(workspace: Workspace) -> None:
    with pytest.raises(BodyTooLarge):
        await read_parts(request(BODY), workspace, 3)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=" + "y" * 10_000]
)
async def test_no_such_boundary(workspace: Workspace, kind: str) -> None:
    with pytest.raises(BadMultipart):
        await read_parts(request(BODY, kind=kind), workspace, 100)


async def test_a_client_that_leaves(workspace: Workspace) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    with pytest.raises(ClientDisconnect):
        await read_parts(Request({"type": "http", "headers": headers}, receive), workspace, 100)


class Full(Workspace):
    def new(self, name: str) -> Path:
        return Path("/dev/full")


async def test_a_full_disk(tmp_path: Path) -> None:
    body = BODY.replace(b"file\r\n", b"y" * (1 << 20) + b"\r\n")
    with pytest.raises(DiskFull):
        await read_parts(request(body), Full(tmp_path), 100)
    with pytest.raises(DiskFull):
        await read_parts(request(BODY), Full(tmp_path), 100)
