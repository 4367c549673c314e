"""Async functions, run on one event loop in a thread of its own, made at the first of them."""

from __future__ import annotations

import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any, Coroutine, Iterator

if TYPE_CHECKING:
    import asyncio


def settle(result: Any) -> Any:
    """The value of a coroutine, an async generator as a plain one; anything else as it is."""
    if inspect.iscoroutine(result):
        return _wait(result)
    if inspect.isasyncgen(result):
        return _pieces(result)
    return result


def _pieces(generator: Any) -> Iterator[Any]:
    async def following() -> Any:
        return await generator.__anext__()

    async def closing() -> None:
        await generator.aclose()

    try:
        while True:
            try:
                piece = _wait(following())
            except StopAsyncIteration:
                return
            yield piece
    finally:
        _wait(closing())


def _wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio

    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


@functools.lru_cache(maxsize=None)
def _loop() -> asyncio.AbstractEventLoop:
    """Imported here: asyncio would double the runner's own start for the many who do not use it."""
    import asyncio

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="coroutines", daemon=True).start()
    return loop
