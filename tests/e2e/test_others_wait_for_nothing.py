"""What is large keeps the server from no other request: /health answers meanwhile."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Server, new_server

pytestmark = pytest.mark.alone

MIB = 1 << 20
SIZE = 64 * MIB
MOST_SECONDS = 0.1
ATTEMPTS = 5
"""The machine may have other things to do; what the server itself holds up, it always does."""

LARGE = f"""
from pydantic import BaseModel

from onegai.sdk import File

TEXT = "x" * {SIZE}


class Speech(BaseModel):
    audio: File


def main(args: Speech) -> int:
    return args.audio.size


def text(args: dict) -> str:
    return TEXT


async def later(args: dict) -> str:
    return TEXT


def data(args: dict) -> bytes:
    return TEXT.encode()
"""
SMALL = """
from pydantic import BaseModel


class Speech(BaseModel):
    text: str
    speed: float = 1.0


def main(args: Speech) -> str:
    return args.text
"""

PULSE = """
import http.client, select, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
slowest = 0.0
while not select.select([sys.stdin], [], [], 0.002)[0]:
    begun = time.monotonic()
    connection.request("GET", "/health")
    assert connection.getresponse().read()
    if not slowest:
        print("begun", flush=True)
    slowest = max(slowest, time.monotonic() - begun)
print(slowest)
"""
"""Asks for /health all the time until its stdin ends, then says what the slowest answer took."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    apps = [f"app_{number}" for number in range(200)]
    services = {app: {"type": "inline"} for app in ("large", *apps)}
    with new_server(tmp_path_factory.mktemp("large"), services) as made:
        for app in apps:
            made.write(f"func/{app}.py", SMALL)
        made.write("func/large.py", LARGE)
        yield made.start()


def slowest(server: Server, work: Callable[[], object]) -> float:
    """Seconds that /health took at most, while the work was done."""
    command = [sys.executable, "-c", PULSE, str(server.port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as pulse:
        assert pulse.stdout is not None
        assert pulse.stdout.readline() == "begun\n"
        work()
        said, _ = pulse.communicate(timeout=60)
    return float(said)


def holds_up_nobody(server: Server, work: Callable[[], object]) -> bool:
    for _ in range(ATTEMPTS):
        at_rest = slowest(server, lambda: time.sleep(0.3))
        if slowest(server, work) < at_rest + MOST_SECONDS:
            return True
    return False


def test_the_description_of_many_apps(server: Server) -> None:
    touched = server.home / "func" / "app_0.py"

    def work() -> None:
        touched.write_text(touched.read_text() + "\n")
        assert len(server.get("/openapi.json").json["paths"]) > 400

    assert holds_up_nobody(server, work)


def test_a_large_file_in_json(server: Server) -> None:
    audio = base64.b64encode(bytes(22 * MIB))
    body = b'{"audio": {"base64": "' + audio + b'"}}'
    headers = {"Content-Type": "application/json"}

    def work() -> None:
        assert server.request("POST", "/api/large/main", body, headers).result == 22 * MIB

    assert holds_up_nobody(server, work)


@pytest.mark.parametrize("function", ["text", "later", "data"])
def test_a_large_result(server: Server, function: str) -> None:
    def work() -> None:
        assert len(server.post(f"/api/large/{function}", {}).body) >= SIZE

    assert holds_up_nobody(server, work)
