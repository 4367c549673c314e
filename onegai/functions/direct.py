"""A public function as Python code calls it: with a model, a dict or keywords, with no server."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from onegai.functions.function import Binary, Function
from onegai.handles.context import CallContext, call_context, call_context_later, running_call


class DirectFunction:
    """``hibari.raw({"text": "…"})`` and ``hibari.raw(text="…")``: checks, then calls.

    Inside of a running call it is part of that call. Outside, it is one of its own: what it needs
    is started, or borrowed from this home's running server, and sync functions run in the caller's
    own thread. An async function gives a coroutine, for any event loop. A file may be any path of
    the user's, too. Raises OneGAIError (BadArguments for wrong arguments), and whatever the
    function itself raises.
    """

    def __init__(self, app: str, function: Function) -> None:
        functools.update_wrapper(self, function.call)
        self.__name__ = function.name
        self._app = app
        self._function = function

    def __call__(self, args: Any = None, /, **keywords: Any) -> Any:
        """``args`` is a dict or a model; keywords are laid over a dict."""
        given = ({**args, **keywords} if args else keywords) if _is_plain(args) else args
        arguments = self._function.arguments(self._app, given)
        context = running_call()
        if context is not None:
            return self._inside(context, arguments)
        if self._function.is_async:
            return self._outside(arguments)
        context = call_context(self._app)
        context.own_paths = True
        with context.whole_call():
            return self._inside(context, arguments)

    def _inside(self, context: CallContext, arguments: Any) -> Any:
        """As part of the running call."""
        if self._function.is_async:
            return self._later(context, arguments)
        if self._function.takes_files:
            context.fetch_files_now(arguments)
        return self._value(self._function.call(arguments))

    async def _outside(self, arguments: Any) -> Any:
        """A call of its own, on the engine's loop."""
        context = await call_context_later(self._app)
        context.own_paths = True
        work = self._in_context(context, arguments)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, context.loop))

    async def _in_context(self, context: CallContext, arguments: Any) -> Any:
        with context.whole_call():
            return await self._later(context, arguments)

    async def _later(self, context: CallContext, arguments: Any) -> Any:
        if self._function.takes_files:
            fetching = asyncio.run_coroutine_threadsafe(
                context.fetch_files(arguments), context.loop
            )
            await asyncio.wrap_future(fetching)
        return self._value(await self._function.call(arguments))

    def _value(self, result: Any) -> Any:
        """The function's own result; a derived one's by the rules of main and raw."""
        if not self._function.derived:
            return result
        value = self._function.outcome(result).value
        return value.content if isinstance(value, Binary) else value


def _is_plain(args: Any) -> bool:
    return args is None or isinstance(args, dict)
