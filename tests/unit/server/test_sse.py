"""Events as they go out, to a client that is counted instead of sent to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest
from starlette.types import Message

from onegai.client.events import EventParser
from onegai.schema import Event
from onegai.server import sse
from onegai.server.leaving import Clients
from onegai.server.sse import EventStream, encoded, event, send_events


class Sent:
    """What was sent; ``has`` waits for it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.changed = asyncio.Event()

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self.changed.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    async def has(self, look: Callable[[bytes], bool]) -> None:
        async with asyncio.timeout(60):
            while not look(self.body):
                self.changed.clear()
                await self.changed.wait()


async def told(*events: Event) -> AsyncGenerator[Event, None]:
    for one in events:
        yield one


async def test_events_are_read_back_as_they_were() -> None:
    events = [
        Event(id=1, event="running", data={}),
        Event(id=2, event="output", data={"result": "line\nbreak\r\u2028 あ"}),
        Event(id=3, event="output", data={"result": "x" * (3 << 20)}),
        Event(id=4, event="done", data={"result": None, "detail": {}}),
    ]
    sent = Sent()
    await send_events(sent, encoded(told(*events)))
    assert list(EventParser().feed(sent.body)) == events
    assert [message["type"] for message in sent.messages[:1]] == ["http.response.start"]
    assert max(len(message.get("body", b"")) for message in sent.messages) <= 1 << 20
    assert [bool(message.get("more_body")) for message in sent.messages[1:]][-2:] == [True, False]


async def test_others_are_let_in_while_a_large_event_is_encoded() -> None:
    file = {"name": "あ.bin", "size": 1, "base64": "QUFB" * (1 << 20)}
    large = Event(id=1, event="output", data={"result": file})
    steps = 0

    async def others() -> None:
        nonlocal steps
        while True:
            await asyncio.sleep(0)
            steps += 1

    going = asyncio.create_task(others())
    await asyncio.sleep(0)
    async with aclosing(encoded(told(large))) as events:
        sent = await anext(events)
    going.cancel()
    assert steps > 1
    assert list(EventParser().feed(sent)) == [large]


async def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.05)
    go = asyncio.Event()

    async def silent() -> AsyncGenerator[bytes, None]:
        yield event("running", {}, 1)
        await go.wait()
        yield event("done", {}, 2)

    sent, before = Sent(), asyncio.all_tasks()
    sending = asyncio.create_task(send_events(sent, silent()))
    await sent.has(lambda body: body.count(b": alive\n\n") >= 3)
    go.set()
    await sending
    parsed = EventParser().feed(sent.body)
    assert [(one.id, one.event) for one in parsed] == [(1, "running"), (2, "done")]
    assert asyncio.all_tasks() == before, "no heart beats on"


async def test_no_comment_where_events_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.2)

    async def busy() -> AsyncGenerator[bytes, None]:
        for number in range(30):
            await asyncio.sleep(0.01)
            yield event("progress", {}, number)

    sent = Sent()
    await send_events(sent, busy())
    assert b"alive" not in sent.body


async def test_no_comment_inside_of_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.01)
    sent = Sent()

    async def slowly(message: Message) -> None:
        await asyncio.sleep(0.05)
        await sent(message)

    large = Event(id=1, event="output", data={"result": "x" * (4 << 20)})
    await send_events(slowly, encoded(told(large)))
    assert list(EventParser().feed(sent.body)) == [large]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_closes_the_events(begun: bool) -> None:
    closed = asyncio.Event()
    left = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            if begun:
                yield event("running", {}, 1)
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    sent = Sent()
    answering = asyncio.create_task(EventStream(Clients(), endless())({}, receive, sent))
    await sent.has(lambda body: not begun or b"running" in body)
    left.set()
    await asyncio.wait_for(answering, 10)
    assert closed.is_set()
