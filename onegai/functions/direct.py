"""A public function as Python code calls it: with a model, a dict or keywords, with no server."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import aclosing
from typing import Any, TypeVar

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


async def _on_its_loop(context: CallContext, work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, context.loop))


def _is_plain(args: Any) -> bool:
    return args is None or isinstance(args, dict)
