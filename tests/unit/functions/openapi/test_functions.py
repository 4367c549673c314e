"""Operations as functions: how they run, and when their app is asked again what it is."""

from __future__ import annotations

from typing import Any

import pytest

from onegai.functions.openapi import functions as openapi_functions
from onegai.functions.openapi.document import Document
from onegai.functions.openapi.functions import Doubt, function_of
from onegai.functions.openapi.operation import Operation


def operation(content: dict[str, Any]) -> Operation:
    raw = {"responses": {"200": {"content": content}}}
    paths = {"/a": {"post": raw}}
    return Document({"openapi": "3.1.0", "paths": paths}, "", "http://a").operations[0]


def test_main_and_raw_are_one_whole() -> None:
    sound = operation({"audio/wav": {}})
    speak = function_of("a", "speak", sound, Doubt(None))
    assert (speak.form, speak.streams, speak.yields, speak.where) == ("other", True, bytes, "loop")
    for name in ("main", "raw"):
        made = function_of("a", name, sound, Doubt(None))
        assert (made.form, made.streams, made.yields) == (name, False, None)
    told = function_of("a", "f", operation({"application/json": {"schema": {"a": 1}}}), Doubt(None))
    assert (told.streams, told.lease) == (False, "request")


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


async def test_who_says_404_all_the_time_is_not_asked_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, asked = Clock(), []
    monkeypatch.setattr(openapi_functions, "time", clock)

    async def again() -> bool:
        asked.append(clock.now)
        return True

    doubt = Doubt(again)
    assert await doubt.changed()
    assert not await doubt.changed()
    clock.now += openapi_functions.DOUBT_SECONDS
    assert await doubt.changed()
    assert len(asked) == 2
    assert not await Doubt(None).changed()
