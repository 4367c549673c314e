"""The rehearsal: the show in small. Viewer lines → a real chat → a real voice → audio in order.

It grows with the project and is never red. Part 1: over the Web API, nothing goes wrong.
"""

from __future__ import annotations

import queue
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import sound
from harness import Server

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


def perform(server: Server, folder: Path) -> Report:
    """Chat and voice work side by side; the audio is numbered in the order of the lines."""
    answers: queue.Queue[str | None] = queue.Queue()

    def chat() -> None:
        try:
            for line in VIEWER_LINES:
                answer = server.post(
                    "/api/smollm/main", {"text": line, "seed": 1, "max_tokens": 40}
                )
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
            spoken = server.post("/api/hibari/raw", {"text": text})
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
    report = perform(shipped, tmp_path)
    rehearsal_report.extend(report.lines())

    made = sorted(tmp_path.glob("*.wav"))
    assert [path.name for path in made] == [
        f"{number + 1:02}.wav" for number in range(len(VIEWER_LINES))
    ]
    for path in made:
        heard, text = sound.read(path.read_bytes()), path.with_suffix(".txt").read_text()
        assert heard.level > 0.01, f"{path.name} is silent"
        assert len(text) / 30 < heard.seconds < len(text) / 5, f"{path.name} is not {text!r}"
    # Made faster than it is listened to, or the stream would fall behind.
    assert report.total < report.speech
    assert report.first_audio < 30
