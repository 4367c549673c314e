"""Functions as Python code calls them: with a model, a dict or keywords, with no server."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import CancelledError
from contextlib import aclosing
from typing import Any, TypeVar

from onegai.errors import CallTimeout
from onegai.functions.function import Function, Result
from onegai.functions.results import Binary, outcome_of
from onegai.handles.context import CallContext, call_context, call_context_later, running_call

T = TypeVar("T")


class DirectFunction:
    """``hibari.raw({"text": "…"})`` and ``hibari.raw(text="…")``: checks, then calls.

    Inside of a running call it is part of that call. Outside, it is one of its own: what it needs
    is started, or borrowed from this home's running server, and sync functions run in the caller's
    own thread. An async function gives a coroutine, for any event loop; one that yields gives a
    generator, whose call begins at the first step and ends with it. A file may be any path of
    the user's, too. Raises OneGAIError (BadArguments for wrong arguments), and whatever the
    function itself raises.
    """

    def __init__(self, function: Function) -> None:
        functools.update_wrapper(self, function.run)
        self.__name__ = function.name
        self._function = function

    def __call__(self, args: Any = None, /, **keywords: Any) -> Any:
        """``args`` is a dict or a model; keywords are laid over a dict."""
        given = ({**args, **keywords} if args else keywords) if _is_plain(args) else args
        arguments = self._function.arguments(given)
        context = running_call()
        if context is not None:
            return self._inside(context, arguments)
        if self._function.where == "loop":
            streams = self._function.streams
            return self._pieces_outside(arguments) if streams else self._outside(arguments)
        if self._function.streams:
            return self._pieces(arguments)
        context = call_context(self._function.app, held=self._held)
        context.own_paths = True
        with context.whole_call():
            return self._inside(context, arguments)

    @property
    def _held(self) -> bool:
        return self._function.lease == "call"

    def _inside(self, context: CallContext, arguments: Any) -> Any:
        """As part of the running call."""
        if self._function.where == "loop":
            streams = self._function.streams
            return (self._pieces_later if streams else self._later)(context, arguments)
        if self._function.accepts.takes_files:
            context.fetch_files_now(arguments)
        return self._value(self._function.run(arguments))

    def _pieces(self, arguments: Any) -> Generator[Any, Any, Any]:
        """A call of its own. What the caller does between two pieces is no part of it."""
        context = call_context(self._function.app, held=self._held)
        context.own_paths = True
        try:
            with context.active():
                surroundings = contextvars.copy_context()
            pieces = surroundings.run(self._inside, context, arguments)
            try:
                while True:
                    try:
                        piece = surroundings.run(next, pieces)
                    except StopIteration as end:
                        return end.value
                    yield piece
            finally:
                surroundings.run(pieces.close)
        finally:
            context.release()

    async def _outside(self, arguments: Any) -> Any:
        """A call of its own, on the engine's loop."""
        context = await call_context_later(self._function.app, held=self._held)
        context.own_paths = True
        return await _on_its_loop(context, self._in_context(context, arguments))

    async def _in_context(self, context: CallContext, arguments: Any) -> Any:
        with context.whole_call():
            return await self._later(context, arguments)

    async def _later(self, context: CallContext, arguments: Any) -> Any:
        await self._fetch_files(context, arguments)
        return self._value(await self._function.run(arguments))

    async def _pieces_outside(self, arguments: Any) -> AsyncGenerator[Any, None]:
        """A call of its own, each step of it on the engine's loop."""
        context = await call_context_later(self._function.app, held=self._held)
        context.own_paths = True
        pieces = self._pieces_later(context, arguments)

        async def step(work: Coroutine[Any, Any, T]) -> T:
            with context.active():
                return await work

        try:
            while True:
                try:
                    piece = await _on_its_loop(context, step(anext(pieces)))
                except StopAsyncIteration:
                    return
                yield piece
        finally:
            try:
                await _on_its_loop(context, step(pieces.aclose()))
            finally:
                context.release()

    async def _pieces_later(
        self, context: CallContext, arguments: Any
    ) -> AsyncGenerator[Any, None]:
        await self._fetch_files(context, arguments)
        async with aclosing(self._function.run(arguments)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Result):
                    return
                yield piece

    async def _fetch_files(self, context: CallContext, arguments: Any) -> None:
        if self._function.accepts.takes_files:
            await _on_its_loop(context, context.fetch_files(arguments))

    def _value(self, result: Any) -> Any:
        """The function's own result; a derived one's by the rules of main and raw."""
        if not self._function.derived or self._function.streams:
            return result
        value = outcome_of(self._function.form, result).value
        return value.content if isinstance(value, Binary) else value


class AppFunction:
    """A function of another source, by app and name: ``space.predict(text="…")``.

    It is looked for when it is called, for which its app may be started. Waits for the result, and
    gives it without its detail; on an event loop it gives a coroutine. Raises UnknownFunction,
    besides what a ``DirectFunction`` does.
    """

    def __init__(self, app: str, name: str, *, told: bool = False) -> None:
        """``told``: never one of its func file."""
        self.__name__ = name
        self._app = app
        self._told = told

    def __call__(self, args: Any = None, /, **keywords: Any) -> Any:
        """``args`` is a dict; keywords are laid over it."""
        given = {**args, **keywords} if args else keywords
        context = running_call()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._wait(context, given)
        return self._later(context, given)

    def _wait(self, context: CallContext | None, given: Any) -> Any:
        if context is None:
            context = call_context(self._app, held=False)
            context.own_paths = True
            work = self._whole_call(context, given)
        else:
            work = self._inside(context, given)
        asked = asyncio.run_coroutine_threadsafe(work, context.loop)
        context.waits.add(asked)
        try:
            return asked.result()
        except CancelledError:
            raise CallTimeout(app=self._app, seconds=context.seconds) from None
        finally:
            asked.cancel()
            context.waits.discard(asked)

    async def _later(self, context: CallContext | None, given: Any) -> Any:
        if context is not None:
            return await _on_its_loop(context, self._inside(context, given))
        context = await call_context_later(self._app, held=False)
        context.own_paths = True
        return await _on_its_loop(context, self._whole_call(context, given))

    async def _whole_call(self, context: CallContext, given: Any) -> Any:
        with context.whole_call():
            return await self._inside(context, given)

    async def _inside(self, context: CallContext, given: Any) -> Any:
        """On the loop. The app stays as long as it runs, where that takes more than one request."""
        assert context.function is not None
        function: Function = await context.function(self._app, self.__name__, self._told)
        arguments = function.arguments(given)
        with context.active():
            if function.accepts.takes_files:
                await context.fetch_files(arguments)
            held = function.lease == "call" and self._app not in context.pinned
            if held:
                context.pinned[self._app] = await context.lease(self._app)
            try:
                return await _result(function, arguments)
            finally:
                if held:
                    context.pinned.pop(self._app).release()


class AppFunctions:
    """Those that an app tells of itself, by name, for its own func file: ``space.predict(…)``."""

    def __init__(self, app: str) -> None:
        self._app = app

    def __getattr__(self, name: str) -> AppFunction:
        if name.startswith("__"):
            raise AttributeError(name)
        return AppFunction(self._app, name, told=True)


def app_functions(app: str) -> AppFunctions:
    """Those that the app tells of itself; also those that a function of its func file covers.

    ``space = app_functions("space")`` at the top of func/space.py; then ``space.predict(text="…")``
    asks the app, gives the result, and is awaited in an ``async def`` function.
    """
    return AppFunctions(app)


async def _result(function: Function, arguments: Any) -> Any:
    """What it gives in the end, without its detail; of bytes, without their media type."""
    if function.where == "thread":
        result = await asyncio.to_thread(_all_of, function, arguments)
    elif not function.streams:
        result = await function.run(arguments)
    else:
        pieces = list[Any]()
        async with aclosing(function.run(arguments)) as generator:
            async for piece in generator:
                if isinstance(piece, Result):
                    return _bare(piece.value)
                if function.replaces:
                    pieces.clear()
                pieces.append(piece)
        result = (pieces or [None])[-1] if function.replaces else _together(pieces)
    return _bare(result)


def _bare(result: Any) -> Any:
    is_told = isinstance(result, tuple) and len(result) == 2
    if is_told and (isinstance(result[1], dict) or _is_bytes(result)):
        return result[0]
    return result


def _together(pieces: list[Any]) -> Any:
    """Pieces of one text or file as that; others as a list."""
    if pieces and all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if pieces and all(isinstance(piece, bytes) or _is_bytes(piece) for piece in pieces):
        return b"".join(map(_bare, pieces))
    return pieces


def _is_bytes(piece: Any) -> bool:
    """Bytes with their media type."""
    return (
        isinstance(piece, tuple)
        and len(piece) == 2
        and isinstance(piece[0], bytes)
        and isinstance(piece[1], str)
    )


def _all_of(function: Function, arguments: Any) -> Any:
    result = function.run(arguments)
    return list(result) if function.streams else result


async def _on_its_loop(context: CallContext, work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, context.loop))


def _is_plain(args: Any) -> bool:
    return args is None or isinstance(args, dict)
