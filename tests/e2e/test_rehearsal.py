"""The rehearsal: the show in small. Viewer lines → a real chat → a real voice → audio in order.

It grows with the project and is never red. Part 1: over the Web API, nothing goes wrong; whole
answers, then streams: each sentence of the chat is spoken when it is there. Part 2, with streams:
the chat (7 GB) and the voice (2 GB, never evicted) share a GPU of 12 GB with a third app (8 GB),
and with a Gradio app (1 GB) that has an entry and no code; both are called during the show. Part 3:
the server is killed with SIGKILL in the middle and started again; chat and voice go on as they are,
and no line is lost.
"""

from __future__ import annotations

import base64
import codecs
import itertools
import json
import queue
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sound
from gradio_apps import Space, venvs
from harness import Server, until
from picture import png

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


Chat = Callable[[str], Iterator[str]]
"""What is to be said to a viewer's line, as soon as it is known."""
Voice = Callable[[str], Iterator[bytes]]
"""The WAV of a text, as it comes."""


def perform(chat: Chat, voice: Voice, folder: Path) -> Report:
    """Chat and voice work side by side; the audio is numbered in the order of the lines."""
    texts: queue.Queue[tuple[int, str] | None] = queue.Queue()

    def chatting() -> None:
        try:
            for number, line in enumerate(VIEWER_LINES, 1):
                for text in chat(line):
                    texts.put((number, text))
        finally:
            texts.put(None)

    report = Report()
    begun = time.monotonic()
    arrived: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(chatting)
        spoken: dict[int, list[tuple[str, bytes]]] = {}
        while (next_text := texts.get(timeout=60)) is not None:
            number, text = next_text
            pieces = voice(text)
            content = next(pieces)
            arrived.append(time.monotonic() - begun)
            content += b"".join(pieces)
            spoken.setdefault(number, []).append((text, content))
            (folder / f"{number:02}.wav").write_bytes(
                sound.joined([content for _text, content in spoken[number]])
            )
            (folder / f"{number:02}.txt").write_text(" ".join(text for text, _ in spoken[number]))
            report.speech += sound.read(content).seconds
        answering.result()
    report.first_audio, report.total = arrived[0], time.monotonic() - begun
    report.gaps = [later - earlier for earlier, later in pairwise(arrived)]
    return report


def first_sounds(ways: Sequence[Whole]) -> list[float]:
    """Seconds from a viewer's line to the first sound of its answer; of each, the median."""
    seconds: list[list[float]] = [[] for _ in ways]
    for line in VIEWER_LINES:
        for way, measured in zip(ways, seconds, strict=True):
            begun = time.monotonic()
            with closing(way.chat(line)) as texts, closing(way.voice(next(texts))) as pieces:
                next(pieces)
                measured.append(time.monotonic() - begun)
    return [statistics.median(some) for some in seconds]


def asked(line: str) -> dict[str, Any]:
    return {"text": line, "seed": 1, "max_tokens": 40}


class Whole:
    """One answer after the other: the whole text is spoken when it is there."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def chat(self, line: str) -> Iterator[str]:
        answer = self._server.post("/api/smollm/main", asked(line))
        assert answer.status == 200, answer.body
        yield answer.result

    def voice(self, text: str) -> Iterator[bytes]:
        answer = self._server.post("/api/hibari/raw", {"text": text})
        assert answer.status == 200, answer.body
        yield answer.body


class Streamed(Whole):
    """The chat's words as they come; each sentence is spoken, in pieces, when it is complete."""

    def chat(self, line: str) -> Iterator[str]:
        return sentences(self._words(line))

    def voice(self, text: str) -> Iterator[bytes]:
        with self._server.reading("/api/hibari/stream", {"text": text}) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
            while piece := answer.read1():
                yield piece

    def _words(self, line: str) -> Iterator[str]:
        decode = codecs.getincrementaldecoder("utf-8")().decode
        with self._server.reading("/api/smollm/stream", asked(line)) as answer:
            assert answer.status == 200, answer.read()
            while piece := answer.read1():
                yield decode(piece)


class Insisting(Streamed):
    """As a viewer's program does it: what was cut off is asked again."""

    def chat(self, line: str) -> Iterator[str]:
        given = 0
        for _ in self._tries():
            with suppress(OSError, HTTPException):
                for text in itertools.islice(super().chat(line), given, None):
                    given += 1
                    yield text
                return

    def voice(self, text: str) -> Iterator[bytes]:
        for _ in self._tries():
            with suppress(OSError, HTTPException):
                yield b"".join(super().voice(text))
                return

    @staticmethod
    def _tries() -> Iterator[None]:
        deadline = time.monotonic() + 60
        while True:
            yield
            assert time.monotonic() < deadline
            time.sleep(0.05)


def sentences(words: Iterator[str]) -> Iterator[str]:
    """Each as soon as what follows it has begun."""
    text = ""
    for word in words:
        *ended, text = re.split(r"(?<=[.!?])\s+", text + word)
        yield from filter(None, ended)
    if text.strip():
        yield text


def test_rehearsal(shipped: Server, tmp_path: Path, rehearsal_report: list[str]) -> None:
    reports, ways = [], (Whole(shipped), Streamed(shipped))
    for way in ways:
        folder = tmp_path / type(way).__name__
        folder.mkdir()
        with shipped.client() as client:
            client.stop("*")
        report = perform(way.chat, way.voice, folder)
        check_audio(folder)
        # Made faster than it is listened to, or the stream would fall behind.
        assert report.total < report.speech
        assert report.first_audio < 30
        reports.append(report)
    whole, streamed = reports
    slow, quick = first_sounds(ways)
    assert quick < slow
    rehearsal_report += [
        f"time to first audio: {streamed.first_audio:.2f} s, without streaming "
        f"{whole.first_audio:.2f} s (apps cold: both were started by it)",
        f"  of a line later on: {quick:.3f} s, without streaming {slow:.3f} s (medians)",
        f"gaps between audio:  longest {max(streamed.gaps):.2f} s of {len(streamed.gaps)}, without "
        f"streaming {max(whole.gaps):.2f} s of {len(whole.gaps)}",
        f"speech:              {streamed.speech:.1f} s made in {streamed.total:.1f} s, without "
        f"streaming {whole.speech:.1f} s in {whole.total:.1f} s",
    ]


CARD_GB = 12
SPACE = "6.31.0"
"""Its version of Gradio."""
SHARED = {"smollm": {"vram": 7}, "hibari": {"vram": 2, "keep": 1}, "whisper": {"vram": 8}}


@contextmanager
def sharing_a_gpu(server: Server, space: Space) -> Iterator[None]:
    """The shipped apps as if they were large; their entries are edited while the server runs."""
    before = json.loads((server.home / "services.local.json").read_text())
    large = {app: {**keys, **SHARED.get(app, {})} for app, keys in before.items()}
    large[space.app] = space.entry(vram=1)
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
    show = Streamed(shipped)
    python = venvs()[SPACE]
    assert isinstance(python, Path), python
    space = Space(SPACE, python, tmp_path)
    picture = {"data": [{"base64": base64.b64encode(png(8, 4)).decode(), "name": "sea.png"}]}
    with sharing_a_gpu(shipped, space):
        sample = shipped.post("/api/hibari/raw", {"text": "A picture of the sea, please."}).body
        heard = {"audio": base64.b64encode(sample).decode()}
        asked: list[str] = []
        pictures: list[str] = []
        over = threading.Event()

        def ask_the_third() -> None:
            while not over.is_set():
                answer = shipped.post("/api/whisper/main", heard)
                assert answer.status == 200, answer.body
                asked.append(answer.result if isinstance(answer.result, str) else "")
                over.wait(0.5)

        def ask_the_space() -> None:
            """Its first call starts it, and has it tell what it can do."""
            while not over.is_set() or not pictures:
                answer = shipped.post(f"/api/{space.app}/turned", picture)
                assert answer.status == 200, answer.body
                pictures.append(answer.headers["content-type"])
                over.wait(2)

        with Watcher(shipped) as watcher, ThreadPoolExecutor(2) as pool:
            others = [pool.submit(ask_the_third), pool.submit(ask_the_space)]
            try:
                report = perform(show.chat, show.voice, tmp_path)
            finally:
                over.set()
            for other in others:
                other.result()
    check_audio(tmp_path)
    assert asked
    assert all(kind.startswith("image/") for kind in pictures)
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
        f"  a Space without a func file turned {len(pictures)} pictures meanwhile",
    ]


def test_rehearsal_with_a_killed_server(
    shipped: Server, tmp_path: Path, rehearsal_report: list[str]
) -> None:
    show = Insisting(shipped)

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
        report = perform(show.chat, show.voice, tmp_path)
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
