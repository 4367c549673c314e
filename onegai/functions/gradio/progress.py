"""What a Gradio app's queue tells on the way, as the progress of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onegai.handles.context import progress

_MOST_LINES = 20


class Told:
    """Of one call. Of events that come quickly the newest is read: each has the latest log."""

    def __init__(self) -> None:
        self._log: list[dict[str, str]] = []
        self._fraction: float | None = None

    def message(self, message: Mapping[str, Any]) -> None:
        """One of the queue's messages; what tells nothing is left out."""
        kind = message.get("msg")
        if kind == "estimation":
            self._waits(message)
        elif kind == "process_starts":
            self._tell("", eta=message.get("eta"))
        elif kind == "progress":
            self._progress(message.get("progress_data"))
        elif kind == "log":
            text = _text(message.get("log"))
            self._log.append({"level": _text(message.get("level")) or "info", "text": text})
            del self._log[:-_MOST_LINES]
            self._tell(text)

    def _waits(self, message: Mapping[str, Any]) -> None:
        rank, size = message.get("rank"), message.get("queue_size")
        text = ""
        if isinstance(rank, int) and rank > 0:
            text = f"{rank} before it in the app's own queue"
        self._tell(text, rank=rank, queue_size=size, eta=message.get("rank_eta"))

    def _progress(self, units: Any) -> None:
        """The innermost of its loops that has a number is what the page shows, too."""
        if not isinstance(units, list):
            return
        text = ""
        for unit in units:
            if isinstance(unit, Mapping):
                self._fraction = _fraction(unit, self._fraction)
                text = _text(unit.get("desc")) or text
        self._tell(text)

    def _tell(self, text: str, **more: Any) -> None:
        there = {key: value for key, value in more.items() if value is not None}
        if self._log:
            there["log"] = list(self._log)
        if text or there or self._fraction is not None:
            progress(self._fraction, text, **there)


def _fraction(unit: Mapping[str, Any], otherwise: float | None) -> float | None:
    done = unit.get("progress")
    if isinstance(done, int | float):
        return float(done)
    index, length = unit.get("index"), unit.get("length")
    if isinstance(index, int | float) and isinstance(length, int | float) and length > 0:
        return index / length
    return otherwise


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
