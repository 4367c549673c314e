"""An event loop's work for code that is not asynchronous: one blocking facade over the Protocol."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from onegai.errors import SdkMisuse
from onegai.protocol import Engine

P = ParamSpec("P")
T = TypeVar("T")


LOOP_SECONDS = 0.1
"""Between two looks whether the loop still runs that is to end what was cancelled."""


def run_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of ``work`` on a loop that runs in another thread.

    What interrupts the wait (Ctrl-C) cancels the work, and is raised when that, or the loop, has
    ended. On the loop itself, which would wait for ever, it raises SdkMisuse.
    """
    with suppress(RuntimeError):
        if asyncio.get_running_loop() is loop:
            work.close()
            raise SdkMisuse(
                reason="a blocking method was called on the event loop that does its work",
                do="await the method of the same name of the engine, or call it in a thread",
            )
    outcome: Future[T] = Future()
    tasks: list[asyncio.Task[T]] = []

    def begin() -> None:
        tasks.append(loop.create_task(work))
        tasks[0].add_done_callback(settle)

    def settle(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            outcome.cancel()
            outcome.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    try:
        loop.call_soon_threadsafe(begin)
        return outcome.result()
    except BaseException:
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(lambda: tasks[0].cancel())
        while not outcome.done() and loop.is_running():  # it may be stopped meanwhile
            wait([outcome], LOOP_SECONDS)
        raise


def _method(
    method: Callable[Concatenate[Engine, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking, P], T]:
    @functools.wraps(method)
    def blocking(self: Blocking, /, *given: P.args, **named: P.kwargs) -> T:
        work: Coroutine[Any, Any, T] = getattr(self._engine, method.__name__)(*given, **named)
        return run_on(self._loop, work)

    return blocking


def _iterator(
    method: Callable[Concatenate[Engine, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[Blocking, P], Generator[T, None, None]]:
    @functools.wraps(method)
    def blocking(self: Blocking, /, *given: P.args, **named: P.kwargs) -> Generator[T, None, None]:
        async def begin() -> AsyncGenerator[T, None]:
            items: AsyncGenerator[T, None] = getattr(self._engine, method.__name__)(*given, **named)
            return items

        async def following() -> T:
            return await anext(items)

        items = run_on(self._loop, begin())
        try:
            while True:
                try:
                    item = run_on(self._loop, following())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            run_on(self._loop, items.aclose())

    return blocking


class Blocking:
    """An Engine whose methods block, from any thread but that of its running ``loop``.

    Ctrl-C cancels what is waited for; closing an iterator lets go of what it used.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self.url: str | None = getattr(engine, "url", None)
        """Of the server; None: it is in this process, and its jobs end with that."""

    apps = _method(Engine.apps)
    install = _method(Engine.install)
    update = _method(Engine.update)
    uninstall = _method(Engine.uninstall)
    jobs = _method(Engine.jobs)
    job = _method(Engine.job)
    events = _iterator(Engine.events)
    follow = _iterator(Engine.follow)
    cancel = _method(Engine.cancel)
    start = _method(Engine.start)
    stop = _method(Engine.stop)
    status = _method(Engine.status)
    plan = _method(Engine.plan)
    logs = _method(Engine.logs)
    log_follow = _iterator(Engine.log_follow)
    config_document = _method(Engine.config_document)
    replace_config = _method(Engine.replace_config)
    services_document = _method(Engine.services_document)
    replace_services = _method(Engine.replace_services)
    functions = _method(Engine.functions)
    functions_of = _method(Engine.functions_of)
    function = _method(Engine.function)
    answer = _method(Engine.answer)
    stream = _iterator(Engine.stream)
    submit = _method(Engine.submit)
    result = _method(Engine.result)
