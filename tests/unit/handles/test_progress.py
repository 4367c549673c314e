"""What a function tells of its progress: from any thread, never failing, the newest counts."""

import asyncio
import logging
import math
import threading
from typing import Any

import pytest

from onegai.handles.progress import LONGEST, Progress


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words")


class Told:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.data: list[dict[str, Any]] = []
        self.progress = Progress(self.loop, self.tell)

    def tell(self, event: str, data: dict[str, Any]) -> None:
        assert event == "progress"
        assert asyncio.get_running_loop() is self.loop
        self.data.append(data)


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ((0.25, "step 1", {}), {"fraction": 0.25, "text": "step 1"}),
        ((None, "", {}), {}),
        ((0, "", {"step": 3, "path": {1}}), {"fraction": 0.0, "step": 3, "path": [1]}),
        ((-1, "", {}), {"fraction": 0.0}),
        ((math.inf, "", {}), {"fraction": 1.0}),
        ((math.nan, "unknown", {}), {"text": "unknown"}),
        ((None, "x" * 99_999, {}), {"text": "x" * LONGEST}),
        ((None, "", {"much": math.nan}), {"much": None}),
    ],
)
async def test_as_data(told: Told, given: Any, data: dict[str, Any]) -> None:
    told.progress.tell(*given)
    await asyncio.sleep(0)
    assert told.data == [data]


@pytest.mark.parametrize(
    "given", [("half", "", {}), (None, Unspeakable(), {}), (None, "", {"x": Unspeakable()})]
)
async def test_what_cannot_be_told_is_logged(
    told: Told, given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        told.progress.tell(*given)
    await asyncio.sleep(0)
    assert told.data == [{}]
    assert caplog.records


async def test_of_many_the_newest_is_told(told: Told) -> None:
    def tell() -> None:
        for number in range(10_000):
            told.progress.tell(None, "", {"n": number})

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()  # the loop comes to nothing meanwhile
    await asyncio.sleep(0)
    assert told.data == [{"n": 9999}]
    told.progress.tell(None, "", {"n": 10_000})
    await asyncio.sleep(0)
    assert told.data[-1] == {"n": 10_000}


def test_after_the_end_of_the_loop_nobody_is_told() -> None:
    async def make() -> Told:
        return Told()

    told = asyncio.run(make())
    told.progress.tell(1, "late", {})
    assert told.data == []
