"""Calls of an endpoint, in the protocols of Gradio's generations.

A queued endpoint is called as its page calls it, through the app's own queue: by a WebSocket in
3.x, by ``queue/join`` and the events of ``queue/data`` from 4 on; ``call`` is the way where those
routes are refused. One without a queue is asked directly, by ``run``.
"""

from __future__ import annotations

import ast
import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

from onegai.errors import AppError, ErrorAnswer, OneGAIError
from onegai.functions.gradio.document import Endpoint, Server
from onegai.functions.gradio.progress import Told
from onegai.handles.context import current
from onegai.handles.handle import AsyncHandle
from onegai.handles.http import Response, parsed
from onegai.handles.websocket import WebSocket

Message = Mapping[str, Any]
"""What the app's queue tells; ``msg`` says what it is."""

CANCEL_SECONDS = 2.0
_REFUSED = (401, 403, 404, 405)
_HIDES = (
    "it does not say why (an app shows its errors with launch(show_error=True), or raises gr.Error)"
)


class Refused(Exception):
    """The app has no such route, or no such endpoint: it may be another one than it was."""

    def __init__(self, error: AppError) -> None:
        """``error`` is what to answer with if it is the same as ever."""
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True)
class Outputs:
    """The values of all outputs, hidden ones too: so far, or ``final``."""

    data: list[Any]
    final: bool


class Sessions:
    """Gradio tells the events of a session once, so that only one call of it can listen."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def one(self, app: str, name: str | None) -> AsyncIterator[str]:
        """A session hash; a new one without a name. Waits for calls of the same name."""
        if name is None:
            yield secrets.token_hex(8)
            return
        lock = self._locks.setdefault((app, name), asyncio.Lock())
        async with lock:
            yield name


@dataclass(frozen=True)
class Call:
    """One call of an endpoint, with the data that it is given. ``session``: its hash."""

    app: AsyncHandle
    server: Server
    endpoint: Endpoint
    data: list[Any]
    session: str

    async def outputs(self) -> AsyncGenerator[Outputs, None]:
        """What it gives, as it comes; the last one is final.

        Ending it earlier ends the call in the app, as far as Gradio can. Raises Refused, and the
        app's own errors as ErrorAnswer.
        """
        if not (self.endpoint.queued or self.endpoint.generator):
            yield Outputs(await self._run(), final=True)
            return
        told, so_far = Told(), None
        async with aclosing(self._messages()) as messages:
            async for message in messages:
                kind = message.get("msg")
                if kind in ("process_generating", "process_streaming"):
                    data = self._data(message)
                    if so_far is not None and self.server.sends_changes and _are_changes(message):
                        data = changed(so_far, data)
                    so_far = data
                    yield Outputs(data, final=False)
                elif kind == "process_completed":
                    yield Outputs(self._data(message), final=True)
                    return
                elif kind == "queue_full":
                    raise self._error("its queue is full", 503)
                elif kind in ("unexpected_error", "server_stopped", "broken_connection"):
                    raise self._error(str(message.get("message") or "its queue has ended"))
                else:
                    told.message(message)
        raise await self._lost("its events ended before the result")

    def _messages(self) -> AsyncGenerator[Message, None]:
        return self._by_websocket() if self.server.protocol == "ws" else self._by_events()

    def _body(self, **more: Any) -> dict[str, Any]:
        return {"data": self.data, "session_hash": self.session, "event_data": None, **more}

    # --- without a queue ---------------------------------------------------------------------

    async def _run(self) -> list[Any]:
        name = self.endpoint.api_name
        path = f"{self.server.prefix}/run/{quote(name or 'predict', safe='')}"
        # By its name alone, the app can tell that it has no such endpoint any more.
        body = self._body() if name else self._body(fn_index=self.endpoint.index)
        answer = await self.app.post(path, json=body, check=False)
        if answer.status_code in _REFUSED:
            raise self._refused(answer)
        if answer.status_code == 500:
            failed = _json(answer)
            if not isinstance(failed, Mapping) or "error" not in failed:
                raise self._refused(answer)  # as Gradio answers for what it does not know
            raise self._failed(failed)
        output = answer.checked().json()
        if not isinstance(output, Mapping) or not isinstance(output.get("data"), list):
            raise answer.error("its answer has no data")
        return list(output["data"])

    # --- 3.x ---------------------------------------------------------------------------------

    async def _by_websocket(self) -> AsyncGenerator[Message, None]:
        index = self.endpoint.index
        async with self._websocket() as socket:
            while True:
                message = await socket.receive()
                kind = message.get("msg")
                if kind == "send_hash":
                    await socket.send({"session_hash": self.session, "fn_index": index})
                elif kind == "send_data":
                    await socket.send(self._body(fn_index=index))
                else:
                    yield message

    @asynccontextmanager
    async def _websocket(self) -> AsyncIterator[WebSocket]:
        begun = False
        try:
            async with self.app.websocket(f"{self.server.prefix}/queue/join") as socket:
                begun = True
                yield socket
        except ErrorAnswer as error:
            if begun:
                raise
            raise Refused(error) from None

    # --- from 4 on ---------------------------------------------------------------------------

    async def _by_events(self) -> AsyncGenerator[Message, None]:
        if self.server.protocol == "sse":
            messages = self._by_first_events()
        else:
            path = f"{self.server.prefix}/queue/join"
            joined = await self.app.post(
                path, json=self._body(fn_index=self.endpoint.index), check=False
            )
            if joined.status_code in _REFUSED and self.endpoint.api_name:
                messages = self._by_call()
            else:
                messages = self._of_queue(joined)
        async with aclosing(messages):
            async for message in messages:
                yield message

    async def _of_queue(self, joined: Response) -> AsyncGenerator[Message, None]:
        event = self._event(joined)
        async with aclosing(self._read(f"{self.server.prefix}/queue/data", event)) as messages:
            async for _event, message in messages:
                if message.get("event_id") in (None, event):
                    yield message

    async def _by_first_events(self) -> AsyncGenerator[Message, None]:
        """4.0 to 4.12: the stream comes first, and asks for the data."""
        index = self.endpoint.index
        read = self._read(f"{self.server.prefix}/queue/join", fn_index=index)
        async with aclosing(read) as messages:
            async for _event, message in messages:
                if message.get("msg") == "send_data":
                    body = self._body(fn_index=index, event_id=message.get("event_id"))
                    await self.app.post(f"{self.server.prefix}/queue/data", json=body)
                else:
                    yield message

    async def _by_call(self) -> AsyncGenerator[Message, None]:
        """For programs: without rank and progress, and each output as it is."""
        path = f"{self.server.prefix}/call/{quote(self.endpoint.api_name, safe='')}"
        event = self._event(await self.app.post(path, json=self._body(), check=False))
        # Gradio looks for the events of a session there, and only 6 for those of an event, too.
        async with aclosing(self._read(f"{path}/{self.session}", event)) as messages:
            async for kind, data in messages:
                output = data if isinstance(data, Mapping) else {"error": data}
                if kind == "generating":
                    output = {"data": data, "whole": True}
                    yield {"msg": "process_generating", "success": True, "output": output}
                elif kind in ("complete", "error"):
                    well = kind == "complete"
                    output = {"data": data} if well else output
                    yield {"msg": "process_completed", "success": well, "output": output}

    def _event(self, joined: Response) -> str:
        """The id of the event that the app has made of the call."""
        if joined.status_code in (*_REFUSED, 500):  # 500 is for an endpoint that it does not know
            raise self._refused(joined)
        answer = joined.checked().json()
        event = answer.get("event_id") if isinstance(answer, Mapping) else None
        if not isinstance(event, str):
            raise joined.error("it does not say which event the call is")
        return event

    async def _read(
        self, path: str, event: str | None = None, **params: Any
    ) -> AsyncGenerator[tuple[str, Any], None]:
        """The events of a stream: their names and data.

        Once it is open, closing it ends what the app does for it, as a page that is closed does:
        what waits is not begun, and a generator is not asked for more. Until then the ``event``
        has to be cancelled. Not later: the app would count a function that computes in a thread
        as ended, though nothing can end it, and begin the next one beside it.
        """
        name, query = "", {"session_hash": self.session, **params}
        async with AsyncExitStack() as before:
            if event is not None:
                before.push_async_callback(self._cancel, event)
            async with self.app.lines("GET", path, params=query) as lines:
                before.pop_all()
                async for line in lines:
                    if line.startswith("event:"):
                        name = line[6:].strip()
                    elif line.startswith("data:"):
                        yield name, self._parsed(line[5:])
                        name = ""

    def _parsed(self, text: str) -> Any:
        try:
            return parsed(text)
        except ValueError:
            raise self._error("an event of its queue is not JSON") from None

    async def _cancel(self, event: str) -> None:
        """Though the call's own time be over. Old versions have no such route."""
        context = replace(current(self.app.app), deadline=time.monotonic() + CANCEL_SECONDS)
        index, path = self.endpoint.index, f"{self.server.prefix}/cancel"
        body = {"session_hash": self.session, "fn_index": index, "event_id": event}
        with context.active(), suppress(OneGAIError):
            await self.app.post(path, json=body, check=False)

    # --- what it says ------------------------------------------------------------------------

    def _data(self, message: Message) -> list[Any]:
        output = message.get("output")
        if message.get("success") is False:
            raise self._failed(output)
        data = output.get("data") if isinstance(output, Mapping) else None
        if not isinstance(data, list):
            error = output.get("error") if isinstance(output, Mapping) else None
            raise self._error(str(error or "the call was cancelled in the app"))
        return data

    def _refused(self, answer: Response) -> Refused:
        try:
            answer.checked()
        except ErrorAnswer as error:
            return Refused(error)
        return Refused(answer.error("it refuses the call"))

    def _failed(self, output: Any) -> ErrorAnswer:
        """The app's own error."""
        error = output.get("error") if isinstance(output, Mapping) else output
        return self._error(_unquoted(str(error)) if error else _HIDES)

    def _error(self, why: str, status: int = 500) -> ErrorAnswer:
        """With what the app says, but not with what it was shown to let the call in."""
        why = current(self.app.app).access(self.app.app).hidden(why)
        return ErrorAnswer(
            app=self.app.app,
            upstream_status=status,
            reason=why,
            detail={"upstream_status": status, "answer": why},
        )

    async def _lost(self, why: str) -> Exception:
        return await current(self.app.app).services.why_lost(self.app.app, why)


def changed(before: list[Any], changes: list[Any]) -> list[Any]:
    """The outputs, with what has changed since the ones before (sse_v2 and later).

    Of each, the changes are a list of an action (replace, append, add, delete), a path of keys and
    indexes, and a value. Raises nothing for changes that do not fit: the final output is whole.
    """
    after = []
    for place, some in enumerate(changes):
        value = before[place] if place < len(before) else None
        with suppress(LookupError, TypeError, ValueError):
            for action, path, new in some:
                value = _edited(value, path, action, new)
        after.append(value)
    return after


def _edited(value: Any, path: list[Any], action: str, new: Any) -> Any:
    """A copy along the path: what was given out before stays as it was."""
    if not path:
        return value + new if action == "append" else new
    step, *rest = path
    if isinstance(value, list):
        items, at = list(value), int(step)
        if rest or action in ("replace", "append"):
            items[at] = _edited(items[at], rest, action, new)
        elif action == "add":
            items.insert(at, new)
        else:  # of a list that becomes shorter by several, the later ones have moved up
            items.pop(min(at, len(items) - 1))
        return items
    entries = dict(value)
    if rest or action in ("replace", "append"):
        entries[step] = _edited(entries[step], rest, action, new)
    elif action == "add":
        entries[step] = new
    else:
        entries.pop(step, None)
    return entries


def _are_changes(message: Message) -> bool:
    return not message["output"].get("whole")


def _unquoted(text: str) -> str:
    """The words of a gr.Error, which Gradio 3 and 4 give as a literal of Python."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        with suppress(ValueError, SyntaxError):
            return str(ast.literal_eval(text))
    return text


def _json(answer: Response) -> Any:
    try:
        return parsed(answer.content)
    except ValueError:
        return None
