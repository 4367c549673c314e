"""``bash run.sh demo``: from nothing to a real answer and a real voice, over the Web API."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from onegai.client.client import Client
from onegai.config import jsonfile, private
from onegai.config.home import CHECKOUT, Home
from onegai.config.settings import load_settings
from onegai.errors import ConfigError, OneGAIError, Relayed, ServerUnreachable
from onegai.protocol import failure

QUESTION = "Tell me something nice about the sea."
JAPANESE = "こんにちは。お願いの準備ができました。"
SERVER_START_SECONDS = 60.0


class DemoFailed(OneGAIError):
    """The show cannot go on."""

    code = "demo_failed"
    text = "{reason}"
    hint = "{do}"


@dataclass
class Steps:
    """Prints what is being done and how long it took."""

    begun: float

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """One step, with its seconds at its end."""
        click.echo(f"==> {what} …")
        start = time.monotonic()
        yield
        click.echo(f"    {time.monotonic() - start:.2f} s")


def run_demo(home: Home, *, japanese: bool, question: str | None) -> None:
    """Use the server that runs for this home, or start one and stop it at the end.

    Raises OneGAIError with what went wrong.
    """
    # Made here, so that the password is shown on this terminal and not in the server's output.
    settings, _problems, made = load_settings(home, {})
    if made:
        click.echo(f"==> made config.json: user name {settings.username}, ", nl=False)
        click.echo(f"password {settings.password} (not shown again)")
    japanese = japanese or os.environ.get("LANG", "").startswith("ja")
    steps = Steps(time.monotonic())
    try:
        with _server(home, steps) as (client, stays):
            _show(home, client, steps, question or QUESTION, japanese)
            _print_curl(home, client.url if stays else None, question or QUESTION, japanese)
    except ServerUnreachable as error:
        raise DemoFailed(reason=error.message, do="see data/logs/onegai.log") from None
    click.echo(f"\nDone in {time.monotonic() - steps.begun:.1f} s.")


def _show(home: Home, client: Client, steps: Steps, question: str, japanese: bool) -> None:
    voices = ["hibari", *(["openjtalk"] if japanese else [])]
    _install(client, steps, ["smollm", *voices])
    for app in ["smollm", *voices]:
        with steps.step(f"starting {app}"):
            client.start(app)
    with steps.step("asking smollm"):
        answer = _shown_answer(client, question)
    folder = home.root / "data" / "demo"
    private.make_folder(folder)
    with steps.step("letting hibari say it"):
        _save(folder / "answer.wav", client.raw("hibari", text=answer))
    if japanese:
        with steps.step("letting openjtalk speak Japanese"):
            _save(folder / "japanese.wav", client.raw("openjtalk", text=JAPANESE))


def _shown_answer(client: Client, question: str) -> str:
    """What smollm answers, shown word by word as it comes."""
    click.echo(f"\n    You:    {question}\n    smollm: ", nl=False)
    words: list[str] = []
    for event in client.stream("smollm", "stream", {"text": question, "seed": 1}):
        if event.event == "output":
            words.append(str(event.data["result"]))
            click.echo(words[-1], nl=False)
        elif event.event == "error":
            raise failure(event.data)
    click.echo("\n")
    return "".join(words)


def _install(client: Client, steps: Steps, apps: list[str]) -> None:
    known = client.apps()
    for app in apps:
        if app not in known:
            raise DemoFailed(
                reason=f"services.json has no app {app}", do="the demo needs the shipped one"
            )
        if known[app].installed:
            click.echo(f"==> {app} is installed")
            continue
        with steps.step(f"installing {app}"):
            job = client.install(app)
            try:
                for line in client.follow(job):
                    click.echo(f"    {line.removeprefix('==> ')}")
            except Relayed:
                raise DemoFailed(
                    reason=f"{app} could not be installed; its lines above say why",
                    do="correct that and run the demo again: it goes on where it stopped",
                ) from None


def _save(path: Path, content: bytes) -> None:
    private.make_file(path).write_bytes(content)
    with wave.open(io.BytesIO(content)) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    click.echo(f"    {seconds:.1f} s of speech in {path}")


def _print_curl(home: Home, url: str | None, question: str, japanese: bool) -> None:
    """The same with curl, which has the password from a file that the server has written."""
    settings, _problems, _made = load_settings(home, {})
    shown = home.relative(home.curlrc)
    calls = [
        ("smollm/main", question, ""),
        ("smollm/stream", question, " -N"),
        ("hibari/raw", "Hello there.", " -o hello.wav"),
    ]
    if japanese:
        calls.append(("openjtalk/raw", JAPANESE, " -o konnichiwa.wav"))
    first = "" if url else ", once a server runs (bash run.sh)"
    click.echo(f"\nThe same by hand, from this folder{first}:\n")
    for path, text, more in calls:
        click.echo(
            f"  curl -K {shown} {url or f'http://127.0.0.1:{settings.port}'}/api/{path} "
            f"-H 'Content-Type: application/json' -d '{{\"text\": \"{text}\"}}'{more}"
        )


@contextmanager
def _server(home: Home, steps: Steps) -> Iterator[tuple[Client, bool]]:
    """A client, and whether the server stays when the demo is over."""
    running = home.running_server()
    if running is not None and "url" in running:
        click.echo(f"==> using the OneGAI that runs at {running['url']}")
        yield _client(home, running["url"]), True
        return
    with steps.step("starting OneGAI"):
        process = _spawn(home)
        url = _wait_for(home, process)
    try:
        yield _client(home, url), False
    finally:
        with steps.step("stopping OneGAI and the apps"):
            process.send_signal(signal.SIGTERM)
            process.wait()


def _spawn(home: Home) -> subprocess.Popen[bytes]:
    private.make_folder(home.logs)
    with private.make_file(home.logs / "demo-server.log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "onegai", "serve", "--port", "0"],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A Ctrl-C is for the demo, which then stops the server in order.
            start_new_session=True,
        )


def _wait_for(home: Home, process: subprocess.Popen[bytes]) -> str:
    """The URL of the server once it answers. Raises DemoFailed with what it printed."""
    deadline = time.monotonic() + SERVER_START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            said = jsonfile.read(home.server_file) or {}
        except jsonfile.Unreadable:
            said = {}
        if said.get("pid") == process.pid and Client(said["url"], "", "").healthy():
            return str(said["url"])
        time.sleep(0.02)
    process.kill()
    process.wait()
    printed = (home.logs / "demo-server.log").read_text(encoding="utf-8", errors="replace")
    raise DemoFailed(reason=f"the server did not start:\n{printed.strip()}", do="correct that")


def _client(home: Home, url: str) -> Client:
    try:
        settings, _problems, _made = load_settings(home, {})
    except ConfigError as error:
        raise DemoFailed(reason=error.message, do=error.advice) from None
    return Client(url, settings.username, settings.password)
