"""Files in and out of calls, with a real server: every form, and every kind of bad one."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import PASSWORD, Answer, Server, fake, form, new_server, until

WAV = b"RIFF\x24\0\0\0WAVEfmt "
MIB = 1 << 20
LIMIT = 3 * MIB

FUNC = """
import hashlib
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from onegai.sdk import File

gate = Path(__file__).parent / "open"


class Inner(BaseModel):
    file: File


class Args(BaseModel):
    audio: File
    more: list[File] = []
    inner: Inner | None = None
    text: str = ""
    times: int = 1


def about(file):
    content = file.read()
    return {
        "name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "sha": hashlib.sha256(content).hexdigest(),
        "path": str(file.path),
        "same": file.path.read_bytes() == content and file.open().read() == content,
    }


def main(args: Args) -> dict:
    return {
        "audio": about(args.audio),
        "more": [about(file) for file in args.more],
        "inner": about(args.inner.file) if args.inner else None,
        "text": args.text,
        "times": args.times,
    }


class Two(BaseModel):
    either: File | int = 0


async def either(args: Two) -> object:
    return about(args.either) if isinstance(args.either, File) else args.either


def anything(args: dict) -> dict:
    return {key: about(one) if isinstance(one, File) else one for key, one in args.items()}


def wav(args: dict) -> bytes:
    return b"RIFF\\x24\\0\\0\\0WAVEfmt "


class Speech(BaseModel):
    wav: bytes
    score: float


def nested(args: dict) -> tuple:
    return {
        "bytes": wav({}),
        "list": [File(b"<svg/>", "a b/../ü.svg"), Path(__file__), Path("/no/such/file")],
        "model": Speech(wav=wav({}), score=float("nan")),
    }, {"page": File(b"<script>", "x.html")}


def page(args: dict) -> tuple:
    return b"<script>alert(1)</script>", "text/html"


def large(args: dict) -> bytes:
    return bytes(args["size"])


def text(args: dict) -> str:
    return "ね"


def fails(args: dict) -> str:
    raise ValueError("on purpose")


def waits(args: dict) -> str:
    while not gate.exists():
        time.sleep(0.01)
    return "done"


def inside(args: dict) -> str:
    from func import files

    return files.main({"audio": args["path"]})["audio"]["name"]
"""

EARS = """
from pydantic import BaseModel
from onegai.sdk import File


class Sound(BaseModel):
    audio: File


def main(args: Sound) -> int:
    return args.audio.size
"""


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """A socket on all addresses of this machine, to which nothing may connect."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as made:
        made.setblocking(False)
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("files")
    roots = folder / "roots"
    roots.mkdir()
    (roots / "a.wav").write_bytes(WAV)
    (roots / "folder").mkdir()
    (folder / "secret.txt").write_text("secret")
    (roots / "link").symlink_to(folder / "secret.txt")
    (roots / "inside").symlink_to(roots / "a.wav")
    (roots / "large").write_bytes(bytes(LIMIT + 1))
    os.mkfifo(roots / "pipe")
    (folder / "rootslike").mkdir()
    (folder / "rootslike" / "a.wav").write_bytes(WAV)
    services = {"files": {"type": "inline"}, "ears": fake("ready")}
    with new_server(folder / "home", services) as made:
        made.write("func/ears.py", EARS)
        made.write("func/files.py", FUNC)
        made.write("func/__init__.py", "")
        made.write(
            "config.json",
            {
                "username": "onegai",
                "password": PASSWORD,
                "max_upload": LIMIT,
                "max_json": MIB,
                "file_roots": [str(roots)],
            },
        )
        yield made.start()


@pytest.fixture
def roots(server: Server) -> Path:
    return server.home.parent / "roots"


def send_form(server: Server, path: str, *parts: tuple[str, str | None, bytes]) -> Answer:
    body, kind = form(*parts)
    return server.post(path, body, Content_Type=kind)


def uploads(server: Server) -> list[Path]:
    """Whatever lies there; some of it may be going just now."""
    found = os.walk(server.home / "data" / "uploads")
    return [Path(folder, name) for folder, dirs, files in found for name in (*dirs, *files)]


def heard(server: Server, audio: Any, **more: Any) -> dict[str, Any]:
    answer = server.post("/api/files/main", {"audio": audio, **more})
    assert answer.status == 200, answer.body
    until(lambda: uploads(server) == [], what="an empty folder of uploads")
    return dict(answer.result)


# --- in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "name", "media_type", "content"),
    [
        ({"base64": base64.b64encode(WAV).decode(), "name": "v.wav"}, "v.wav", "audio/wav", WAV),
        ({"base64": base64.b64encode(WAV).decode()}, "file.wav", "audio/wav", WAV),
        ({"base64": "aGk=", "name": "../../x/y.csv"}, "y.csv", "text/csv", b"hi"),
        ({"base64": "aGk=", "name": ".."}, "file", "application/octet-stream", b"hi"),
        ({"base64": "", "name": "empty.txt"}, "empty.txt", "text/plain", b""),
        (base64.b64encode(WAV).decode(), "file.wav", "audio/wav", WAV),
        (base64.encodebytes(WAV * 400).decode(), "file.wav", "audio/wav", WAV * 400),
        ("/" * 6000, "file", "application/octet-stream", base64.b64decode("/" * 6000)),
        (
            "data:audio/x-mine;base64," + base64.b64encode(WAV).decode(),
            "file.wav",
            "audio/wav",
            WAV,
        ),
        ("DATA:text/csv;charset=utf-8,a%2Cb", "file.csv", "text/csv", b"a,b"),
        ("data:,a%20b", "file.txt", "text/plain", b"a b"),
    ],
)
def test_files_in_json(
    server: Server, audio: Any, name: str, media_type: str, content: bytes
) -> None:
    found = heard(server, audio)["audio"]
    assert (found["name"], found["media_type"], found["size"], found["sha"], found["same"]) == (
        name,
        media_type,
        len(content),
        hashlib.sha256(content).hexdigest(),
        True,
    )


def test_files_in_lists_and_models_and_unions(server: Server, roots: Path) -> None:
    found = heard(
        server,
        str(roots / "a.wav"),
        more=["data:,1", {"base64": "aGk="}, str(roots / "inside")],
        inner={"file": "data:,in"},
    )
    assert [one["size"] for one in found["more"]] == [1, 2, len(WAV)]
    assert found["inner"]["size"] == 2
    assert server.post("/api/files/either", {"either": 5}).result == 5
    assert server.post("/api/files/either", {"either": "data:,abc"}).result["size"] == 3


def test_a_path_below_file_roots_is_used_where_it_lies(server: Server, roots: Path) -> None:
    for name in ("a.wav", "inside", "folder/../a.wav", "./a.wav"):
        found = heard(server, f"{roots}/{name}")["audio"]
        assert (found["path"], found["name"]) == (str(roots / "a.wav"), "a.wav")
    assert (roots / "a.wav").read_bytes() == WAV


def test_a_form(server: Server) -> None:
    answer = send_form(
        server,
        "/api/files/main",
        ("audio", "ねこ.wav", WAV),
        ("more", "1.txt", b"one"),
        ("more", "2.bin", bytes(2 * MIB)),
        ("text", None, b"123"),
        ("times", None, b"3"),
        ("inner", None, b'{"file": {"base64": "aGk="}}'),
    )
    assert answer.status == 200, answer.body
    found = answer.result
    assert (found["audio"]["name"], found["audio"]["media_type"]) == ("ねこ.wav", "audio/wav")
    assert [(one["name"], one["size"]) for one in found["more"]] == [
        ("1.txt", 3),
        ("2.bin", 2 * MIB),
    ]
    assert found["more"][1]["media_type"] == "application/x-given"
    assert found["audio"]["path"].startswith(str(server.home / "data" / "uploads"))
    assert (found["text"], found["times"], found["inner"]["size"]) == ("123", 3, 2)
    until(lambda: uploads(server) == [], what="an empty folder of uploads")


def test_a_list_of_one_and_a_text_part_for_a_file(server: Server, roots: Path) -> None:
    one = ("more", "1.txt", b"one")
    path = ("audio", None, str(roots / "a.wav").encode())
    found = send_form(server, "/api/files/main", path, one).result
    assert (found["audio"]["size"], len(found["more"])) == (len(WAV), 1)
    found = send_form(server, "/api/files/main", ("audio", None, b'{"base64": "aGk="}')).result
    assert found["audio"]["size"] == 2
    # What a browser sends for a file field in which nothing was chosen.
    unchosen = send_form(server, "/api/files/main", ("audio", "", b""))
    assert (unchosen.status, unchosen.detail["errors"][0]["field"]) == (422, "audio")


def test_a_function_of_any_dict_gets_the_parts_as_they_came(server: Server) -> None:
    parts = (("f", "a.wav", WAV), ("n", None, b"3"), ("l", None, b"1"), ("l", None, b"2"))
    found = send_form(server, "/api/files/anything", *parts).result
    assert (found["n"], found["l"], found["f"]["media_type"]) == ("3", ["1", "2"], "audio/wav")
    value = {"x": {"base64": "aGk="}, "y": "data:,a"}
    assert server.post("/api/files/anything", value).result == value


def test_a_func_file_that_passes_a_text_on_opens_no_more_than_its_caller(
    server: Server, roots: Path
) -> None:
    inside = "/api/files/inside"
    assert server.post(inside, {"path": str(roots / "a.wav")}).result == "a.wav"
    assert server.post(inside, {"path": "/etc/passwd"}).detail["code"] == "path_refused"


@pytest.mark.parametrize(
    ("audio", "status", "code", "words"),
    [
        ("{roots}/../secret.txt", 403, "path_refused", "file_roots"),
        ("{roots}/link", 403, "path_refused", "file_roots"),
        ("{roots}/folder/../../secret.txt", 403, "path_refused", "file_roots"),
        ("{roots}like/a.wav", 403, "path_refused", "file_roots"),
        ("/etc/passwd", 403, "path_refused", "/etc/passwd"),
        ("/no/such/file", 403, "path_refused", "file_roots"),
        ("/", 403, "path_refused", "file_roots"),
        ("/proc/self/environ", 403, "path_refused", "file_roots"),
        ("{roots}/missing.wav", 422, "bad_arguments", "No such file"),
        ("{roots}/folder", 422, "bad_arguments", "is a folder"),
        ("{roots}/pipe", 422, "bad_arguments", "no ordinary file"),
        ("{roots}/a.wav/x", 422, "bad_arguments", "Not a directory"),
        ("{roots}/a\0b", 422, "bad_arguments", "no such path"),
        ("{roots}/large", 413, "file_too_large", "3.0 MiB"),
        ("../secret.txt", 422, "bad_arguments", "neither"),
        ("a.wav", 422, "bad_arguments", "neither"),
        ("file:///etc/passwd", 422, "bad_arguments", "neither"),
        ("ftp://example.org/a", 422, "bad_arguments", "neither"),
        ("", 422, "bad_arguments", "empty"),
        ("data:audio/wav;base64", 422, "bad_arguments", "no comma"),
        ("data:;base64,ab!", 422, "bad_arguments", "base64"),
        ("data:;base64,abcde", 422, "bad_arguments", "base64"),
        ({"base64": "ab!c"}, 422, "bad_arguments", "base64"),
        ({"base64": "abcde", "name": "x"}, 422, "bad_arguments", "base64"),
        ({"base64": 5}, 422, "bad_arguments", "strings"),
        ({"base64": "aGk=", "path": "/etc/passwd"}, 422, "bad_arguments", "no file"),
        ({"name": "x"}, 422, "bad_arguments", "no file"),
        ({}, 422, "bad_arguments", "no file"),
        (5, 422, "bad_arguments", "no file"),
        (["data:,a"], 422, "bad_arguments", "no file"),
        (None, 422, "bad_arguments", "no file"),
        ({"job": "none"}, 404, "unknown_job", "'none'"),
        ("http://", 422, "bad_arguments", "no host"),
        ("http://[::1", 422, "bad_arguments", "no URL"),
        ("http://a:99999/", 422, "bad_arguments", "no URL"),
        ("http://me:secret@example.org/a", 422, "bad_arguments", "password"),
        ("http://nosuch.invalid/a", 422, "bad_arguments", "not known"),
    ],
)
def test_bad_files_in_json(
    server: Server, roots: Path, audio: Any, status: int, code: str, words: str
) -> None:
    if isinstance(audio, str):
        audio = audio.replace("{roots}", str(roots))
    answer = server.post("/api/files/main", {"audio": "data:,ok", "more": [audio]})
    assert (answer.status, answer.detail["code"]) == (status, code), answer.body
    assert words in answer.result
    assert b"secret" not in answer.body.replace(b"secret.txt", b"")
    assert answer.detail["hint"]
    if code == "bad_arguments":
        assert [error["field"] for error in answer.detail["errors"]] == ["more.0"]
    elif code != "unknown_job":
        assert answer.result.startswith("more.0: ")
    until(lambda: uploads(server) == [], what="an empty folder of uploads")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "{own name}",
        "{own address}",
        "①②⑦.⓪.⓪.①",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_addresses_of_this_machine_are_refused(
    server: Server, listener: socket.socket, host: str
) -> None:
    host = host.replace("{own name}", socket.gethostname()).replace("{own address}", own_address())
    url = f"http://{host}:{listener.getsockname()[1]}/x"
    answer = server.post("/api/files/main", {"audio": url})
    if (answer.status, answer.detail["code"]) != (403, "address_refused"):
        # A name that this machine does not resolve at all is not fetched from either.
        assert (answer.status, "not known" in answer.result) == (422, True), answer.body
    else:
        assert answer.result.startswith("audio: ")
    with pytest.raises(BlockingIOError):
        listener.accept()


def own_address() -> str:
    """One that other machines could use; loopback where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_files_are_there_before_the_service_is_started(server: Server) -> None:
    answer = server.post("/api/ears/main", {"audio": "/etc/passwd"})
    assert (answer.status, server.service("ears")["state"]) == (403, "stopped")
    answer = server.post("/api/ears/main", {"audio": "data:,abc"})
    assert (answer.result, server.service("ears")["state"]) == (3, "ready")


# --- forms that are wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("multipart/form-data", b"--x\r\n", "no boundary"),
        ("multipart/form-data; boundary=", b"--x\r\n", "no boundary"),
        ("multipart/form-data; boundary=x", b"", "no end"),
        ("multipart/form-data; boundary=x", b"hello", ""),
        ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\nc\r\n--x--\r\n", "no name"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\nabc',
            "no end",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 1100 + b"--x--\r\n",
            "1000 parts",
        ),
    ],
)
def test_bad_forms(server: Server, kind: str, body: bytes, words: str) -> None:
    answer = server.post("/api/files/main", body, Content_Type=kind)
    assert (answer.status, answer.detail["code"]) == (400, "bad_multipart"), answer.body
    assert words in answer.result
    until(lambda: uploads(server) == [], what="an empty folder of uploads")


def test_forms_elsewhere_are_refused(server: Server) -> None:
    body, kind = form(("app", None, b"files"))
    answer = server.post("/app/install", body, Content_Type=kind)
    assert (answer.status, answer.detail["code"]) == (415, "wrong_content_type")
    answer = server.post("/api/none/main", body, Content_Type=kind)
    assert (answer.status, answer.detail["code"]) == (404, "unknown_app")


def test_too_large(server: Server) -> None:
    answer = send_form(server, "/api/files/main", ("audio", "x", bytes(LIMIT + 1)))
    assert (answer.status, answer.detail["code"]) == (413, "file_too_large")
    assert "3.0 MiB" in answer.result
    assert "max_upload" in answer.detail["hint"]
    body, kind = form(("audio", "x", bytes(LIMIT + 1)))
    pieces = (body[at : at + MIB] for at in range(0, len(body), MIB))
    answer = server.post("/api/files/main", pieces, Content_Type=kind)  # its length is not told
    assert (answer.status, answer.detail["code"]) == (413, "file_too_large")
    answer = send_form(server, "/api/files/main", ("text", None, b"x" * (MIB + 1)))
    assert (answer.status, answer.detail["code"]) == (413, "body_too_large")
    until(lambda: uploads(server) == [], what="an empty folder of uploads")
    assert send_form(server, "/api/files/main", ("audio", "x", bytes(LIMIT - 999))).status == 200


def test_an_upload_that_is_announced_too_large_is_not_asked_for(server: Server) -> None:
    token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
    head = (
        f"POST /api/files/main HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n"
        f"Content-Length: {LIMIT * 1000}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_in_the_middle_leaves_nothing(server: Server) -> None:
    body, kind = form(("audio", "x.wav", bytes(2 * MIB)))
    token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
    head = (
        f"POST /api/files/main HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + body[: 3 * MIB // 2])
        until(lambda: any(path.is_file() for path in uploads(server)), what="the upload's file")
    until(lambda: uploads(server) == [], what="an empty folder of uploads")
    assert "Traceback" not in server.log()


def test_memory_does_not_grow_with_the_upload(make_server: Callable[..., Server]) -> None:
    server = make_server({"files": {"type": "inline"}})
    server.write("func/files.py", FUNC.replace("about(one)", "one.size"))
    server.start()

    def peak() -> int:
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) >> 10

    assert send_form(server, "/api/files/anything", ("f", "x", b"small")).status == 200
    before = peak()
    size = 200 * MIB
    body, kind = form(("f", "x", b"|"))
    first, last = body.split(b"|")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
    headers = {
        "Authorization": f"Basic {token}",
        "Content-Type": kind,
        "Content-Length": str(len(first) + size + len(last)),
    }
    pieces = [first, *[bytes(MIB)] * 200, last]
    connection.request("POST", "/api/files/anything", iter(pieces), headers)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["result"]) == (200, {"f": size})
    connection.close()
    assert peak() - before < 40
    until(lambda: uploads(server) == [], what="an empty folder of uploads")


# --- out ---------------------------------------------------------------------------------------


def test_files_in_a_result(server: Server) -> None:
    answer = server.post("/api/files/nested", {})
    assert answer.status == 200, answer.body
    first = answer.result["bytes"]
    assert (first["name"], first["media_type"], first["size"]) == ("file.wav", "audio/wav", 16)
    assert set(first) == {"name", "media_type", "size", "url"}
    assert answer.result["list"][2] == "/no/such/file"
    assert answer.result["model"]["wav"]["size"] == 16
    assert answer.result["model"]["score"] is None
    svg, source, page = *answer.result["list"][:2], answer.detail["page"]
    assert (svg["name"], source["name"]) == ("ü.svg", "files.py")
    for entry, content, disposition in (
        (first, WAV, "inline"),
        (svg, b"<svg/>", "attachment"),
        (source, FUNC.encode(), "attachment"),
        (page, b"<script>", "attachment"),
    ):
        got = server.get(entry["url"])
        assert (got.status, got.body) == (200, content)
        assert got.headers["content-type"].partition(";")[0] == entry["media_type"]
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in got.headers["content-security-policy"]
        assert got.headers["content-disposition"].startswith(disposition)


def test_bytes_of_files_in_a_result(server: Server) -> None:
    first = server.post("/api/files/nested?files=base64", {}).result["bytes"]
    assert base64.b64decode(first["base64"]) == WAV
    again = heard(server, {"base64": first["base64"], "name": first["name"]})
    assert again["audio"]["size"] == first["size"]
    answer = server.post("/api/files/nested?files=all", {})
    assert (answer.status, answer.detail["code"]) == (422, "bad_request")


def test_ranges_and_heads(server: Server) -> None:
    url = server.post("/api/files/nested", {}).result["bytes"]["url"]
    part = server.get(url, Range="bytes=8-11")
    assert (part.status, part.body, part.headers["content-range"]) == (
        206,
        b"WAVE",
        "bytes 8-11/16",
    )
    assert server.get(url, Range="bytes=99-").status == 416
    head = server.request("HEAD", url)
    assert (head.status, head.headers["content-length"], head.body) == (200, "16", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/file/none/x",
        "/file/{id}/other.wav",
        "/file/{id}/..",
        "/file/{id}/../content",
        "/file/{id}/content",
        "/file/{id}/about.json",
        "/file/{id}/..%2f..%2f..%2fconfig.json",
        "/file/..%2f..%2f/config.json",
        "/file/../../config.json",
        "/file/%2e%2e/config.json",
        "/file/{id}",
        "/file/",
    ],
)
def test_no_other_file_is_served(server: Server, path: str) -> None:
    url = server.post("/api/files/nested", {}).result["bytes"]["url"]
    answer = server.get(path.replace("{id}", url.split("/")[2]))
    assert answer.status == 404
    assert answer.detail["code"] in ("unknown_file", "unknown_route")


def test_files_want_the_password_or_a_right_signature(server: Server) -> None:
    url = server.post("/api/files/nested", {}).result["bytes"]["url"]
    assert server.request("GET", url, auth=False).status == 401
    signed = server.post("/api/files/nested?files=signed", {}).result["bytes"]["url"]
    for headers in ({}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        got = server.request("GET", signed, headers=headers, auth=False)
        assert (got.status, got.body) == (200, WAV)
    part = server.request("GET", signed, headers={"Range": "bytes=0-3"}, auth=False)
    assert (part.status, part.body) == (206, b"RIFF")
    assert server.request("HEAD", signed, auth=False).status == 200
    query = signed.partition("?")[2]
    later = query.replace("expires=1", "expires=2")
    assert later != query
    for forged in (
        f"{url}?{query}",
        f"{signed.partition('?')[0]}?{later}",
        f"{signed[:-4]}0000",
        f"{url}?signature=&expires=",
        f"{url}?signature=x&expires=x",
        f"{url}?signature=x",
        f"{signed}&expires=99999999999",
    ):
        for auth in (True, False):
            got = server.request("GET", forged, auth=auth)
            assert (got.status, got.detail["code"]) == (403, "signature_refused"), forged
            assert "expired" in got.result
    assert server.request("POST", signed, auth=False).status == 401
    for other in ("/app/list", "/service/status", "/", "/job"):
        assert server.request("GET", f"{other}?{query}", auth=False).status == 401


# --- calls as jobs -------------------------------------------------------------------------------


def submitted(server: Server, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
    answer = server.post(path, {} if body is None else body, Prefer="respond-async", **headers)
    assert answer.status == 202, answer.body
    assert answer.headers["location"] == f"/job/{answer.result['id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    return dict(answer.result)


def ended(server: Server, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
    job = submitted(server, path, body, **headers)
    server.get(f"/job/{job['id']}/events")
    return dict(server.get(f"/job/{job['id']}").result)


@pytest.mark.parametrize("function", ["wav", "text", "nested", "page", "anything", "main", "raw"])
def test_a_jobs_result_is_what_the_answer_would_have_been(server: Server, function: str) -> None:
    path = f"/api/files/{function}"
    arguments = {"audio": "data:,a"}
    direct = server.post(path, arguments)
    job = ended(server, path, arguments)
    assert (job["kind"], job["app"], job["function"], job["state"]) == (
        "call",
        "files",
        function,
        "done",
    )
    got = server.get(job["result_url"])
    assert (got.status, got.headers["content-type"]) == (200, direct.headers["content-type"])
    if direct.headers["content-type"] == "application/json" and function != "raw":
        assert set(got.json) == set(direct.json)
        assert shape(got.json) == shape(direct.json)
    elif function != "raw":
        assert got.body == direct.body


def shape(value: Any) -> Any:
    """Without what differs from call to call."""
    if isinstance(value, dict):
        varying = {"url", "path", "servertime"}
        return {key: shape(one) for key, one in value.items() if key not in varying}
    return [shape(one) for one in value] if isinstance(value, list) else value


def test_an_html_result_of_a_job_is_no_page_of_ours(server: Server) -> None:
    got = server.get(ended(server, "/api/files/page")["result_url"])
    assert got.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in got.headers["content-security-policy"]


def test_the_result_of_a_job_is_a_file_for_another(server: Server) -> None:
    job = ended(server, "/api/files/wav")
    found = heard(server, {"job": job["id"]})["audio"]
    assert (found["name"], found["media_type"], found["size"]) == ("files-wav.wav", "audio/wav", 16)
    assert found["path"].startswith(str(server.home / "data" / "uploads"))
    assert found["path"].endswith("/files-wav.wav")
    assert server.get(f"/job/{job['id']}/result").body == WAV
    job = ended(server, "/api/files/text")
    assert heard(server, {"job": job["id"]})["audio"]["size"] == len('"ね"'.encode())


def test_signed_results_of_jobs(server: Server) -> None:
    job = ended(server, "/api/files/wav")
    assert server.request("GET", job["result_url"], auth=False).status == 401
    signed = server.get(f"/job/{job['id']}?files=signed").result["result_url"]
    got = server.request("GET", signed, headers={"Sec_Fetch_Site": "cross-site"}, auth=False)
    assert (got.status, got.body) == (200, WAV)
    assert server.request("GET", signed[:-1], auth=False).status == 403
    query = signed.partition("?")[2]
    assert server.request("GET", f"/job/{job['id']}?{query}", auth=False).status == 401


def test_calls_do_not_join_and_wait_for_their_end(server: Server) -> None:
    gate = server.home / "func" / "open"
    gate.unlink(missing_ok=True)
    first, second = (submitted(server, "/api/files/waits") for _ in range(2))
    assert first["id"] != second["id"]
    try:
        for path, body in (("/job/{}/result", None), ("/api/files/main", first["id"])):
            answer = (
                server.get(path.format(first["id"]))
                if body is None
                else server.post(path, {"audio": {"job": body}})
            )
            assert (answer.status, answer.detail["code"]) == (409, "job_not_done")
            assert f"/job/{first['id']}/events" in answer.detail["hint"]
        cancelled = server.request("DELETE", f"/job/{second['id']}").result
        assert cancelled["state"] == "cancelled"
        assert server.get(f"/job/{second['id']}/result").status == 409
    finally:
        gate.write_text("")
    server.get(f"/job/{first['id']}/events")
    assert server.get(f"/job/{first['id']}/result").result == "done"


def test_failed_calls_as_jobs(server: Server) -> None:
    job = ended(server, "/api/files/fails")
    assert job["state"] == "failed"
    answer = server.get(f"/job/{job['id']}/result")
    assert (answer.status, answer.detail["code"], answer.detail["src"]) == (
        500,
        "function_failed",
        "files",
    )
    answer = server.post("/api/files/main", {"audio": {"job": job["id"]}})
    assert (answer.status, "on purpose" in answer.result) == (422, True)
    job = ended(server, "/api/files/main", {"audio": "/etc/passwd"})
    assert server.get(f"/job/{job['id']}/result").detail["code"] == "path_refused"
    # Wrong arguments are told at once.
    answer = server.post("/api/files/main", {}, Prefer="respond-async")
    assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")


def test_the_files_of_a_form_last_as_long_as_its_job(server: Server) -> None:
    body, kind = form(("audio", "v.wav", WAV))
    answer = server.post(
        "/api/files/main", body, Content_Type=kind, Prefer="wait=5, respond-async; x=1"
    )
    assert answer.status == 202
    server.get(f"/job/{answer.result['id']}/events")
    got = server.get(f"/job/{answer.result['id']}/result")
    assert got.result["audio"]["name"] == "v.wav"
    until(lambda: uploads(server) == [], what="an empty folder of uploads")


def test_what_a_killed_server_left_goes_at_the_next_start(
    make_server: Callable[..., Server],
) -> None:
    server = make_server({"files": {"type": "inline"}})
    server.write("func/files.py", FUNC)
    server.write("data/uploads/1999999999-ab/cd/x.wav", "left")
    server.write("data/files/torn/content", "left")
    old = {"id": "old", "name": "a", "media_type": "x/y", "size": 4, "made": time.time() - 4000}
    new = {**old, "id": "new", "made": time.time() - 60}
    for about in (old, new):
        server.write(f"data/files/{about['id']}/about.json", about)
        server.write(f"data/files/{about['id']}/content", "left")
    server.start()
    assert [path.name for path in (server.home / "data" / "files").iterdir()] == ["new"]
    until(lambda: uploads(server) == [], what="an empty folder of uploads")
    assert server.get("/file/new/a").body == b"left"


def test_docs_offer_a_form(server: Server) -> None:
    document = server.get("/openapi.json").json
    content = document["paths"]["/api/files/main"]["post"]["requestBody"]["content"]
    form_fields = content["multipart/form-data"]["schema"]["properties"]
    assert form_fields["audio"] == {"type": "string", "format": "binary"}
    assert form_fields["more"]["items"] == {"type": "string", "format": "binary"}
    described = json.dumps(content["application/json"]["schema"]["properties"]["audio"])
    assert "http(s) URL" in described
    assert '"job"' in described


def test_names_in_urls_are_quoted(server: Server) -> None:
    svg = server.post("/api/files/nested", {}).result["list"][0]
    assert svg["url"].endswith(quote("ü.svg"))
