"""The rehearsal: the show in small. Viewer lines → a real chat → a real voice → audio in order.

It grows with the project and is never red. Part 1: over the Web API, nothing goes wrong. Part 2:
the chat (7 GB) and the voice (2 GB, never evicted) share a GPU of 12 GB with a third app (8 GB),
which is called during the show. Part 3: the server is killed with SIGKILL in the middle and
started again; chat and voice go on as they are, and no line is lost.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sound
from harness import Answer, Server, until

pytestmark = pytest.mark.alone

VIEWER_LINES = (
    "Hello! How are you today?",
    "What is your favourite food?",
    "Tell me something nice about the sea.",
    "Why do cats sleep so much?",
    "Can you recommend a book?",
    "Good night!",
)


@dataclass
class Report:
    """What the rehearsal measured; times are seconds since the first viewer line."""

    first_audio: float = 0.0
    gaps: list[float] = field(default_factory=list)
    speech: float = 0.0
    total: float = 0.0

    def lines(self) -> list[str]:
        return [
            f"time to first audio: {self.first_audio:.2f} s (apps cold: both were started by it)",
            f"gaps between audio:  longest {max(self.gaps):.2f} s of {len(self.gaps)}",
            f"speech:              {self.speech:.1f} s made in {self.total:.1f} s",
        ]


Post = Callable[[str, dict[str, Any]], Answer]


def perform(post: Post, folder: Path) -> Report:
    """Chat and voice work side by side; the audio is numbered in the order of the lines."""
    answers: queue.Queue[str | None] = queue.Queue()

    def chat() -> None:
        try:
            for line in VIEWER_LINES:
                answer = post("/api/smollm/main", {"text": line, "seed": 1, "max_tokens": 40})
                assert answer.status == 200, answer.body
                answers.put(answer.result)
        finally:
            answers.put(None)

    report = Report()
    begun = time.monotonic()
    arrived: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        chatting = pool.submit(chat)
        while (text := answers.get(timeout=60)) is not None:
            spoken = post("/api/hibari/raw", {"text": text})
            assert spoken.status == 200, spoken.body
            arrived.append(time.monotonic() - begun)
            (folder / f"{len(arrived):02}.wav").write_bytes(spoken.body)
            (folder / f"{len(arrived):02}.txt").write_text(text)
            report.speech += sound.read(spoken.body).seconds
        chatting.result()
    report.first_audio, report.total = arrived[0], arrived[-1]
    report.gaps = [later - earlier for earlier, later in pairwise(arrived)]
    return report


def test_rehearsal(shipped: Server, tmp_path: Path, rehearsal_report: list[str]) -> None:
    with shipped.client() as client:
        client.stop("*")
    report = perform(shipped.post, tmp_path)
    rehearsal_report.extend(report.lines())
    check_audio(tmp_path)
    # Made faster than it is listened to, or the stream would fall behind.
    assert report.total < report.speech
    assert report.first_audio < 30


CARD_GB = 12
SHARED = {"smollm": {"vram": 7}, "hibari": {"vram": 2, "keep": 1}, "whisper": {"vram": 8}}


@contextmanager
def sharing_a_gpu(server: Server) -> Iterator[None]:
    """The shipped apps as if they were large; their entries are edited while the server runs."""
    before = json.loads((server.home / "services.local.json").read_text())
    large = {app: {**keys, **SHARED.get(app, {})} for app, keys in before.items()}
    with server.client() as client:
        client.stop("*")
        server.edit("services.local.json", large)
        try:
            yield
        finally:
            client.stop("*")
            server.edit("services.local.json", before)


@dataclass
class Sample:
    """One look at the services during the show."""

    states: dict[str, str]
    voice: int | None
    used_gb: float


class Watcher:
    """Looks at the services again and again, from a thread of its own."""

    def __init__(self, server: Server) -> None:
        self.samples: list[Sample] = []
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            report = self._server.get("/service/status").result
            services = {item["app"]: item for item in report["services"]}
            gpu = report["memory"]["gpus"][0]
            self.samples.append(
                Sample(
                    {app: item["state"] for app, item in services.items()},
                    services["hibari"]["pid"],
                    (gpu["total"] - gpu["free"]) / 1024,
                )
            )


def test_rehearsal_with_a_gpu_to_share(
    shipped: Server, tmp_path: Path, rehearsal_report: list[str]
) -> None:
    with sharing_a_gpu(shipped):
        sample = shipped.post("/api/hibari/raw", {"text": "A picture of the sea, please."}).body
        heard = {"audio": base64.b64encode(sample).decode()}
        asked: list[str] = []
        over = threading.Event()

        def ask_the_third() -> None:
            while not over.is_set():
                answer = shipped.post("/api/whisper/main", heard)
                assert answer.status == 200, answer.body
                asked.append(answer.result if isinstance(answer.result, str) else "")
                over.wait(0.5)

        with Watcher(shipped) as watcher, ThreadPoolExecutor(1) as pool:
            third = pool.submit(ask_the_third)
            try:
                report = perform(shipped.post, tmp_path)
            finally:
                over.set()
            third.result()
    check_audio(tmp_path)
    assert asked
    # The voice was never touched, the other two took turns, and never was there too much.
    assert len({sample.voice for sample in watcher.samples}) == 1
    assert all(sample.states["hibari"] == "ready" for sample in watcher.samples)
    chat = [sample.states["smollm"] == "ready" for sample in watcher.samples]
    steps = sum(before and not after for before, after in pairwise(chat))
    assert steps >= 1, "the chat never stepped aside"
    assert max(sample.used_gb for sample in watcher.samples) <= CARD_GB
    together = [
        s for s in watcher.samples if {s.states["smollm"], s.states["whisper"]} == {"ready"}
    ]
    assert together == []
    most = max(sample.used_gb for sample in watcher.samples)
    rehearsal_report += [
        f"sharing a GPU of {CARD_GB} GB: first audio {report.first_audio:.2f} s, longest gap "
        f"{max(report.gaps):.2f} s, {report.speech:.1f} s of speech in {report.total:.1f} s",
        f"  the chat stepped aside {steps} times for {len(asked)} calls of another app; the voice "
        f"never; at most {most:g} GB of {CARD_GB} in {len(watcher.samples)} samples",
    ]


def test_rehearsal_with_a_killed_server(
    shipped: Server, tmp_path: Path, rehearsal_report: list[str]
) -> None:
    def post(path: str, body: dict[str, Any]) -> Answer:
        """As a viewer's program does it: what got no answer is asked again."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return shipped.post(path, body)
            except (OSError, HTTPException):
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def show_goes_on() -> tuple[float, float]:
        """Kill it once the second line has been spoken. When, and for how long it was away."""
        until(lambda: (tmp_path / "02.wav").exists(), timeout=60)
        begun = time.monotonic()
        assert shipped.process is not None
        shipped.process.kill()
        shipped.process.wait()
        shipped.start()
        return begun, time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        for app in ("smollm", "hibari"):
            assert shipped.post("/service/start", {"app": app}).status == 200
        before = {app: shipped.service(app)["pid"] for app in ("smollm", "hibari")}
        killing = pool.submit(show_goes_on)
        report = perform(post, tmp_path)
        killed, back = killing.result()
    check_audio(tmp_path)
    assert {app: shipped.service(app)["pid"] for app in before} == before
    assert report.total < report.speech
    rehearsal_report += [
        f"killed in the middle: the server was away for {back - killed:.2f} s, longest gap "
        f"{max(report.gaps):.2f} s, {report.speech:.1f} s of speech in {report.total:.1f} s; "
        "chat and voice went on, no line was lost",
    ]


def check_audio(folder: Path) -> None:
    """One file per viewer line, in order, with as much speech as its text."""
    made = sorted(folder.glob("*.wav"))
    assert [path.name for path in made] == [
        f"{number + 1:02}.wav" for number in range(len(VIEWER_LINES))
    ]
    for path in made:
        heard, text = sound.read(path.read_bytes()), path.with_suffix(".txt").read_text()
        assert heard.level > 0.01, f"{path.name} is silent"
        assert len(text) / 30 < heard.seconds < len(text) / 5, f"{path.name} is not {text!r}"
