"""The ways to read a call: its answer, its events, its pieces as they come, a job.

Each is a ``running.Reader``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from onegai.calls.jobs import Record
from onegai.calls.pieces import Joined, Output, as_main, content_of, done, output
from onegai.calls.unread import Unread
from onegai.functions.function import Form, Function, Result
from onegai.functions.results import Keep, Outcome, TooLong, outcome_of


def _value(returned: Any) -> Any:
    return returned.value if isinstance(returned, Result) else returned


@dataclass(frozen=True)
class Limits:
    """Of what a call gives. ``keep`` keeps its files; ``most`` bytes of a result, or of a piece."""

    keep: Keep
    most: float


class Whole:
    """The answer when it is complete. Pieces that are no parts of a whole make a list, unless the
    generator has returned something.
    """

    def __init__(self, function: Function, limits: Limits) -> None:
        self._function = function
        self._limits = limits
        self._joined = Joined(function.form)
        self._pieces: list[Any] = []
        self._size = 0

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Nobody asks."""

    def taken(self, piece: Any) -> None:
        """See Reader."""
        if self._function.replaces:
            self._pieces = [piece]
            return
        self._joined.takes(piece)
        self._size += len(piece) if isinstance(piece, str | bytes) else sys.getsizeof(piece)
        if self._size > self._limits.most:
            raise TooLong
        self._pieces.append(piece)

    async def put(self, taken: Any) -> None:
        """There is nothing to put."""

    def outcome(self, result: Any) -> Outcome:
        """See Reader."""
        form: Form = self._function.form
        if self._function.streams:
            form, result = self._together(form, result)
        return outcome_of(form, result, self._limits.keep, self._limits.most)

    def _together(self, form: Form, returned: Any) -> tuple[Form, Any]:
        """The result of a generator, and how it leaves."""
        if self._function.replaces:
            last = self._pieces[-1] if self._pieces else None
            return form, last if returned is None else _value(returned)
        if self._joined.media_type:
            return "raw", self._joined.result(self._pieces)
        if returned is not None:
            return form, _value(returned)
        if not self._pieces and form != "main" and (kind := self._function.yields) is not None:
            return "raw", kind()
        return form, self._pieces


class Events:
    """The events as they come. Of those that say where the call stands, the newest is read."""

    def __init__(self, function: Function, limits: Limits) -> None:
        self._replaces = function.replaces
        self._limits = limits
        self._last: Any = None
        self.unread: Unread[tuple[str, dict[str, Any]]] = Unread()

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """See Reader."""
        newest = self.unread.newest
        self.unread.add_news((event, data), instead=newest is not None and newest[0] == event)

    def taken(self, piece: Any) -> Output:
        """See Reader."""
        if self._replaces:
            self._last = piece
        return output(piece, self._limits.keep, self._limits.most, replaces=self._replaces)

    async def put(self, taken: Output) -> None:
        """See Reader. Raises SlowReader."""
        await self.unread.add_piece(("output", taken.data))

    def outcome(self, result: Any) -> Outcome:
        """See Reader: its data for ``done``."""
        if result is None:
            result = self._last
        return as_main(_value(result), self._limits.keep, self._limits.most)


class Parts:
    """Bytes or text as they come; pieces of other kinds are collected as in ``Whole``."""

    def __init__(self, function: Function, limits: Limits) -> None:
        self._most = limits.most
        self._replaces = function.replaces
        self._whole = Whole(function, limits)
        self._joined = Joined(function.form)
        self.unread: Unread[bytes] = Unread()

    @property
    def media_type(self) -> str:
        """Of what is sent; empty: nothing is."""
        return self._joined.media_type

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Nobody asks."""

    def taken(self, piece: Any) -> bytes | None:
        """See Reader."""
        if self._replaces or not self._joined.takes(piece):
            self._whole.taken(piece)
            return None
        content = content_of(piece)
        if len(content) > self._most:
            raise TooLong
        return content

    async def put(self, taken: bytes) -> None:
        """See Reader. Raises SlowReader."""
        await self.unread.add_piece(taken)

    def outcome(self, result: Any) -> Outcome:
        """See Reader; of no meaning where it has been sent."""
        return self._whole.outcome(None if self.media_type else result)


class Recorded:
    """A job: its events, and in the end the answer. Nobody need read it while it runs."""

    def __init__(self, function: Function, limits: Limits) -> None:
        self._replaces = function.replaces
        self._pieces_are_result = function.streams and not function.replaces
        self._whole = Whole(function, limits)
        self._limits = limits
        self.record: Record
        """Of the job, which is there before the call begins."""
        self.done: dict[str, Any] | None = None
        """The data of the event ``done`` where the answer does not tell it."""

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """See Reader."""
        self.record.tell(event, data)

    def taken(self, piece: Any) -> Output:
        """See Reader."""
        self._whole.taken(piece)
        return output(piece, self._limits.keep, self._limits.most, replaces=self._replaces)

    async def put(self, taken: Output) -> None:
        """See Reader."""
        self.record.tell("output", taken.data, taken.size)

    def outcome(self, result: Any) -> Outcome:
        """See Reader."""
        if self._pieces_are_result:
            self.done = done(as_main(_value(result), self._limits.keep, self._limits.most))
        return self._whole.outcome(result)
