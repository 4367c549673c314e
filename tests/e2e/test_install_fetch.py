"""app_download and app_git of install/lib.sh, against servers and repositories of this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripts import Home

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        files = self.server
        files.asked.append(self.headers.get("Range", ""))
        if files.statuses:
            self.send_error(files.statuses.pop(0))
            return
        content, begin = files.content, 0
        wanted = self.headers.get("Range", "")
        if files.ranges and wanted and self.headers.get("If-Range", files.etag) == files.etag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            end = f"{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", f"bytes {begin + files.lie}-{end}")
        else:
            self.send_response(200)
        if files.etag:
            self.send_header("ETag", files.etag)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        cut = files.cuts.pop(0) if files.cuts else len(content)
        self.wfile.write(content[begin : begin + cut])
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        pass


class Files(ThreadingHTTPServer):
    """Gives one content at any path; ``cuts``: after how many bytes it breaks off, in turn."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.ranges = True
        self.lie = 0
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/models/voice.onnx"


@pytest.fixture
def files() -> Iterator[Files]:
    with Files() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.env |= {"ONEGAI_DOWNLOAD_PAUSE": "0.01", "no_proxy": "*"}
    return home


def download(home: Home, files: Files, sha256: str = SHA256) -> tuple[int, str]:
    home.recipe(f'app_download {files.url} "models/a voice.onnx" {sha256}\ninstall_end')
    return home.run()


def fetched(home: Home) -> bytes:
    return (home.app / "models/a voice.onnx").read_bytes()


def left(home: Home) -> list[str]:
    return sorted(path.name for path in home.apps.glob(".probe.downloads/*"))


@pytest.mark.parametrize("sha256", [SHA256, SHA256.upper(), ""], ids=["hash", "HASH", "no hash"])
def test_a_whole_file(home: Home, files: Files, sha256: str) -> None:
    code, output = download(home, files, sha256)
    assert (code, files.asked) == (0, [""]), output
    assert "a voice.onnx: 3.0 MB" in output
    assert fetched(home) == CONTENT
    assert not (home.apps / ".probe.downloads").exists()


def test_a_broken_connection_is_resumed_where_it_broke(home: Home, files: Files) -> None:
    files.cuts = [1_000_000, 1_500_000]
    code, output = download(home, files)
    assert code == 0, output
    assert files.asked == ["", "bytes=1000000-", "bytes=2500000-"]
    assert "the connection broke off; 1.0 MB have come" in output
    assert fetched(home) == CONTENT


def test_the_next_run_goes_on_where_the_last_one_ended(home: Home, files: Files) -> None:
    files.cuts = [2_000_000, 0, 0, 0, 0, 0]
    code, output = download(home, files)
    assert (code, home.state()) == (1, "broken")
    assert "after 5 tries" in output
    assert not home.app.joinpath("models/a voice.onnx").exists()
    assert len(left(home)) == 2
    files.asked.clear()
    files.cuts.clear()
    assert download(home, files)[0] == 0
    assert files.asked == ["bytes=2000000-"]
    assert fetched(home) == CONTENT


def test_all_had_come_but_for_the_name(home: Home, files: Files) -> None:
    files.cuts = [2_999_999, 0, 0, 0, 0, 0]
    download(home, files)
    part = next(path for path in home.apps.glob(".probe.downloads/*.onnx"))
    part.write_bytes(CONTENT)
    files.asked.clear()
    files.cuts.clear()
    assert download(home, files)[0] == 0
    assert files.asked == ["bytes=3000000-"]
    assert fetched(home) == CONTENT


@pytest.mark.parametrize("sha256", [SHA256, ""], ids=["hash", "no hash"])
def test_a_server_that_ignores_ranges(home: Home, files: Files, sha256: str) -> None:
    files.ranges = False
    files.cuts = [1_000_000]
    assert download(home, files, sha256)[0] == 0
    assert files.asked == ["", "bytes=1000000-"]
    assert fetched(home) == CONTENT


def test_without_validator_and_hash_nothing_is_built_upon(home: Home, files: Files) -> None:
    files.etag = ""
    files.cuts = [1_000_000]
    assert download(home, files, "")[0] == 0
    assert files.asked == ["", ""]
    assert fetched(home) == CONTENT


def test_a_file_that_changed_meanwhile_comes_from_the_start(home: Home, files: Files) -> None:
    files.cuts = [1_000_000, 0, 0, 0, 0, 0]
    download(home, files, "")
    files.cuts.clear()
    files.content, files.etag = CONTENT[::-1], '"two"'
    assert download(home, files, "")[0] == 0
    assert fetched(home) == CONTENT[::-1]


def test_a_part_that_does_not_fit_is_thrown_away_once(home: Home, files: Files) -> None:
    files.etag = ""
    files.cuts = [1_000_000, 0, 0, 0, 0, 0]
    download(home, files)
    (part,) = home.apps.glob(".probe.downloads/*.onnx")
    part.write_bytes(b"rubbish")
    files.cuts.clear()
    files.asked.clear()
    code, output = download(home, files)
    assert (code, files.asked) == (0, ["bytes=7-", ""])
    assert "once more from the start" in output
    assert fetched(home) == CONTENT


def test_another_part_than_asked_for_is_not_taken(home: Home, files: Files) -> None:
    files.cuts, files.lie = [1_000_000], 5
    assert download(home, files)[0] == 0
    assert files.asked == ["", "bytes=1000000-", ""]
    assert fetched(home) == CONTENT


def test_a_wrong_hash(home: Home, files: Files) -> None:
    code, output = download(home, files, "0" * 64)
    assert (code, home.state(), files.asked) == (1, "broken", [""])
    assert f"got {SHA256}" in output
    assert "not the one that was locked" in output
    assert left(home) == []


def test_not_found_is_said_at_once(home: Home, files: Files) -> None:
    files.statuses = [404]
    code, output = download(home, files)
    assert (code, files.asked) == (1, [""])
    assert "the server answers 404" in output


def test_a_busy_server_is_asked_again(home: Home, files: Files) -> None:
    files.statuses = [503, 429]
    assert download(home, files)[0] == 0
    assert fetched(home) == CONTENT


def test_nobody_there(home: Home, files: Files) -> None:
    files.shutdown()
    files.server_close()
    code, output = download(home, files)
    assert code == 1
    assert "after 5 tries" in output
    assert "no network" in output


def test_a_proxy_is_used(home: Home, files: Files) -> None:
    home.env |= {"no_proxy": "", "http_proxy": files.url}
    home.recipe(f"app_download http://elsewhere.invalid/x.onnx x.onnx {SHA256}\ninstall_end")
    code, output = home.run()
    assert code == 0, output
    assert (home.app / "x.onnx").read_bytes() == CONTENT


def test_what_is_there_already_is_not_fetched_again(home: Home, files: Files) -> None:
    home.services({"data": ["models"]})
    download(home, files)
    home.env["ONEGAI_UPDATE"] = "1"
    code, output = download(home, files)
    assert (code, len(files.asked)) == (0, 1)
    assert "is there already" in output
    (home.app / "models/a voice.onnx").write_bytes(b"damaged")
    assert download(home, files)[0] == 0
    assert fetched(home) == CONTENT


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
def test_only_into_the_app(home: Home, files: Files, name: str) -> None:
    home.recipe(f"app_download {files.url} {name}\ninstall_end")
    code, output = home.run()
    assert (code, files.asked) == (1, [])
    assert "is not inside apps/probe" in output


def test_only_over_http(home: Home) -> None:
    home.recipe("app_download file:///etc/passwd x\ninstall_end")
    assert "only http and https" in home.run()[1]


# --- git -------------------------------------------------------------------------------------


class Repository:
    """A bare repository with three commits, a tag on the first and a branch on the second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = path.as_uri()
        work = path.parent / "work"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(path), cwd=path.parent)
        self.git("init", "--quiet", "--initial-branch=main", str(work), cwd=path.parent)
        self.commits = []
        for number in ("one", "two", "three"):
            (work / "version").write_text(number)
            (work / "models").mkdir(exist_ok=True)
            (work / "models/put-models-here").write_text(number)
            if number == "three":
                (work / ".gitattributes").write_text("*.bin filter=lfs -text\n")
            self.git("add", ".", cwd=work)
            self.git("commit", "--quiet", "-m", number, cwd=work)
            self.commits.append(self.git("rev-parse", "HEAD", cwd=work).strip())
            if number == "one":
                self.git("tag", "v1", cwd=work)
            if number == "two":
                self.git("branch", "stable", cwd=work)
        self.git("push", "--quiet", "--all", self.url, cwd=work)
        self.git("push", "--quiet", "--tags", self.url, cwd=work)

    def git(self, *arguments: str, cwd: Path) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        done = subprocess.run(
            ["git", *who, *arguments], cwd=cwd, capture_output=True, text=True, check=True
        )
        return done.stdout


@pytest.fixture
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("git") / "bare.git")


@pytest.mark.parametrize("ref", ["", "main", "v1", "stable", "commit", "short commit"])
def test_git(home: Home, repository: Repository, ref: str) -> None:
    named = {"commit": repository.commits[0], "short commit": repository.commits[0][:8]}
    version = {"v1": "one", "stable": "two", **dict.fromkeys(named, "one")}.get(ref, "three")
    home.services({"data": ["models"]})
    (home.app / "models").mkdir(parents=True)
    (home.app / "models/put-models-here").write_text("kept")
    (home.app / "models/mine").write_text("kept")
    home.recipe(f"app_git {repository.url} {named.get(ref, ref)}\ninstall_end")
    code, output = home.run()
    assert code == 0, output
    assert (home.app / "version").read_text() == version
    assert (home.app / "models/mine").read_text() == "kept"
    assert (home.app / "models/put-models-here").read_text() == version
    count = repository.git("rev-list", "--count", "HEAD", cwd=home.app)
    assert count == "1\n"
    assert ("only pointers" in output) is (version == "three")


def test_git_lfs_where_it_is_installed(home: Home, repository: Repository, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git-lfs").write_text(f'#!/bin/sh\necho "$*" >>"{tmp_path}/lfs-calls"\n')
    (tools / "git-lfs").chmod(0o755)
    home.env["PATH"] = f"{tools}:{home.env['PATH']}"
    home.recipe(f"app_git {repository.url}\ninstall_end")
    code, output = home.run()
    assert code == 0, output
    assert "only pointers" not in output
    calls = (tmp_path / "lfs-calls").read_text().splitlines()
    assert calls[-2:] == ["install --local", "pull"]


@pytest.mark.parametrize("what", ["ref", "repository"])
def test_git_that_is_not_there(home: Home, repository: Repository, what: str) -> None:
    ref = "no-such" if what == "ref" else ""
    url = repository.url + ("x" if what == "repository" else "")
    home.recipe(f"app_git {url} {ref}\ninstall_end")
    code, output = home.run()
    assert (code, home.state()) == (1, "broken")
    assert f"error: fetching {url}" in output
