"""The ways to read a call whose pieces each stand for the whole result so far."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from onegai.calls.readers import Events, Limits, Parts, Whole
from onegai.calls.running import _iterate
from onegai.files.file import File
from onegai.functions.described import Described
from onegai.functions.function import Form, Function, Result


def no_files(file: File) -> dict[str, Any]:
    raise AssertionError(file)


LIMITS = Limits(no_files, 1000)


def draws(*pieces: Any, form: Form = "other", replaces: bool = True) -> Function:
    async def run(arguments: Any) -> AsyncIterator[Any]:
        for piece in pieces:
            yield piece

    takes = Described({"type": "object"})
    return Function("a", "draw", "", form, takes, run, "loop", streams=True, replaces=replaces)


async def read(function: Function, reader: Any) -> Any:
    result = await _iterate(function.run({}), reader)
    return json.loads(reader.outcome(result).body.content)


@pytest.mark.parametrize("form", ["main", "other"])
async def test_the_last_piece_is_the_answer(form: Form) -> None:
    for reader in (Whole, Parts):
        function = draws("H", "He", "Hey", form=form)
        assert await read(function, reader(function, LIMITS)) == "Hey"
        function = draws({"at": 1}, {"at": 2}, form=form)
        assert await read(function, reader(function, LIMITS)) == {"at": 2}
    nothing = draws()
    assert await read(nothing, Whole(nothing, LIMITS)) is None


async def test_each_is_an_event_and_the_last_one_is_the_result() -> None:
    function = draws("H", "He", ("Hey", {"took": 2}))
    reader = Events(function, LIMITS)
    result = await _iterate(function.run({}), reader)
    shown = [reader.unread.pop()[1] for _ in range(3)]
    assert shown[:2] == [{"result": text, "replaces": True} for text in ("H", "He")]
    outcome = reader.outcome(result)
    assert json.loads(outcome.body.content) == "Hey"
    assert outcome.detail == {"took": 2}


async def test_an_asynchronous_generator_may_end_with_what_it_returns() -> None:
    function = draws(1, 2, Result({"whole": 3}), 4, replaces=False)
    assert await read(function, Whole(function, LIMITS)) == {"whole": 3}
    function = draws(1, 2, replaces=False)
    assert await read(function, Whole(function, LIMITS)) == [1, 2]
