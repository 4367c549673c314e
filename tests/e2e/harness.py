"""A real server on a home of its own, and the requests that tests send it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import forked
from ports import free_port

from onegai.client.client import Client
from onegai.config import jsonfile

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
FROM_ELSEWHERE = {"voicevox", "aivisspeech", "llamacpp", "ollama", "comfyui"}
"""Shipped apps that are not made of packages: gigabytes, from servers that tests do not ask."""
SHIPPED = [
    app
    for app, entry in jsonfile.content(json.loads((ROOT / "services.json").read_text())).items()
    if app not in FROM_ELSEWHERE and "url" not in entry  # the clouds: test_clouds.py
]
T = TypeVar("T")
S = TypeVar("S", bound="Server")
PASSWORD = "correct horse"

HANDLE_FUNC = """
from onegai.sdk import service

me = service("{app}")


def main(args: dict) -> dict:
    return me.post("/echo", json=args).json()
"""


def until(look: Callable[[], T], timeout: float = 60.0, what: str = "") -> T:
    """Poll until ``look`` gives something true."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {what or look}"
        time.sleep(0.01)
    return found


def fake(name: str, *options: str, **keys: Any) -> dict[str, Any]:
    """An entry of services.json that runs one of tests/fakes on a port of its own."""
    command = [sys.executable, str(FAKES / f"{name}.py"), "--port", "{port}", *options]
    entry = {
        "type": "webapi",
        "port": free_port(),
        "exec": shlex.join(command),
        "start_timeout": 60,
        "stop_timeout": 5,
    }
    return {**entry, **keys}


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        return self.json["result"]

    @property
    def detail(self) -> dict[str, Any]:
        return self.json["detail"]


@dataclass
class Server:
    """A home, and while started a server on it."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    wrapper: tuple[str, ...] = ()
    """A command that runs the one behind it in its own place."""

    def write(self, name: str, content: str | dict[str, Any]) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def edit(self, name: str, content: str | dict[str, Any] | None) -> None:
        """Change a file of a server that runs, or remove it, and wait until that is heeded.

        config.json, the entries, or func/, of which only what files there are is read here.
        """
        before = self._heeded(name)
        path = self.home / name
        if content is None:
            path.unlink()
        else:  # in one step, as editors save
            text = content if isinstance(content, str) else json.dumps(content)
            jsonfile.write_text(path, text, durable=False)
        until(lambda: self._heeded(name) > before, what=f"{name} being read again")

    def _heeded(self, name: str) -> int:
        """How often the server has read such a file again."""
        told = "func" if name.startswith("func/") else name
        lines = (line.partition("read again: ")[2] for line in self.log().splitlines())
        return sum(told in line.split(", ") for line in lines)

    def edit_func(self, app: str, source: str) -> None:
        """Change its func file, and let the running server look at it."""
        self.write(f"func/{app}.py", source)
        self.get(f"/api/{app}")

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.environment, "ONEGAI_HOME": str(self.home)}
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with self.output.open("wb") as output:
            return forked.Popen(
                [*self.wrapper, sys.executable, "-m", "onegai", "serve", "--port", "0", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> Path:
        return self.home / "data" / "output.txt"

    def start(self, *arguments: str) -> Server:
        self.process = self.spawn(*arguments)

        def listening() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.output.read_text()
            try:
                said = json.loads((self.home / "data" / "server.json").read_text())
            except (OSError, ValueError):
                return False
            self.port = int(said["url"].rsplit(":", 1)[1])
            return said["pid"] == self.process.pid

        until(listening, what="data/server.json")
        assert self.get("/health").status == 200
        return self

    def stop(
        self,
        number: signal.Signals = signal.SIGTERM,
        timeout: float = 60,
        but: subprocess.Popen[str] | None = None,
    ) -> int:
        """End the server and return its exit status; nothing of its home may be left.

        ``but``: a command that the test itself has made, which may take a moment longer.
        """
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(timeout)
        self.process = None
        left = [line for line in strays(self.home) if not but or int(line.split()[0]) != but.pid]
        assert left == []
        return status

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Client:
        return Client(self.url, "onegai", PASSWORD, timeout=60)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.request("POST", path, body, headers)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        auth: bool = True,
        timeout: float = 60,
    ) -> Answer:
        """Objects are sent as JSON, bytes and generators of them as they are; a header's _ is -."""
        sent = {key.replace("_", "-"): value for key, value in (headers or {}).items()}
        if auth:
            token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
            sent.setdefault("Authorization", f"Basic {token}")
        if body is not None and not isinstance(body, bytes | Generator):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    @contextmanager
    def reading(
        self, path: str, body: Any, *, timeout: float = 60, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a POST, to be read as it comes; leaving the block hangs up."""
        token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
        sent = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", path, json.dumps(body), {**sent, **headers})
            yield connection.getresponse()
        finally:
            connection.close()

    def service(self, app: str) -> dict[str, Any]:
        services = self.get("/service/status").result["services"]
        return next(item for item in services if item["app"] == app)

    def log(self, name: str = "onegai") -> str:
        path = self.home / "data" / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, str]:
    """A body and its content type; a part is a name, a file name or None, and its content."""
    body = b""
    for name, file_name, content in parts:
        head = f'--xYx\r\nContent-Disposition: form-data; name="{name}"'
        if file_name is not None:
            head += f'; filename="{file_name}"\r\nContent-Type: application/x-given'
        body += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--xYx--\r\n", "multipart/form-data; boundary=xYx"


def alive(pid: int) -> bool:
    """There is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def strays(home: Path) -> list[str]:
    """Processes that carry the home's tag, as "pid command"."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            tagged = f"ONEGAI_HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0")
            if tagged and int(entry.name) != os.getpid():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"{entry.name} {command}")
        except OSError:
            continue
    return found


def end_strays(home: Path) -> None:
    for stray in strays(home):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(int(stray.split()[0]), signal.SIGKILL)


@contextmanager
def new_server(
    home: Path, services: dict[str, Any] | None = None, kind: type[S] = Server
) -> Iterator[S]:
    """A home with a known password; whatever still runs at the end is stopped."""
    server = kind(home)
    home.mkdir(parents=True, exist_ok=True)
    server.write("config.json", {"username": "onegai", "password": PASSWORD})
    server.write("services.json", services or {})
    try:
        yield server
    finally:
        if server.process is not None:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(60)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        end_strays(home)


def with_handles(server: Server, *apps: str) -> None:
    """A func file for each app that passes its arguments to POST /echo."""
    for app in apps:
        server.write(f"func/{app}.py", HANDLE_FUNC.format(app=app))


def copy_install(home: Path) -> None:
    """What install scripts need, and the shipped ones."""
    uv = Path("data", "tools", "bin", "uv")
    if (ROOT / uv).exists() and not (
        home / uv
    ).exists():  # else the home gets its own, which takes ten seconds
        (home / uv).parent.mkdir(parents=True, exist_ok=True)
        (home / uv).symlink_to(ROOT / uv)
    for name in ("install", "setup"):
        shutil.copytree(ROOT / name, home / name, dirs_exist_ok=True)
    (home / "onegai" / "apps").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "onegai" / "apps" / "folder.py", home / "onegai" / "apps")


def copy_recipes(home: Path) -> None:
    """The shipped apps: services.json, func, install, run, setup and the runner."""
    copy_install(home)
    for name in ("func", "run", "requirements"):
        shutil.copytree(ROOT / name, home / name, dirs_exist_ok=True)
    shutil.copy(ROOT / "services.json", home / "services.json")
    shutil.copytree(ROOT / "onegai" / "runner", home / "onegai" / "runner", dirs_exist_ok=True)
