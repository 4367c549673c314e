"""An event loop's work for code that is not asynchronous: one blocking facade over the Protocol."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from onegai.errors import SdkMisuse
from onegai.protocol import Engine

P = ParamSpec("P")
T = TypeVar("T")


LOOP_SECONDS = 0.1
"""Between two looks whether the loop still runs."""


def run_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of ``work`` on a loop that runs in another thread.

    What interrupts the wait (Ctrl-C) cancels the work, and is raised when that has ended. Where the
    loop ends first, CancelledError is raised. On the loop itself, which would wait for ever, it
    raises SdkMisuse.
    """
    with suppress(RuntimeError):
        if asyncio.get_running_loop() is loop:
            work.close()
            raise SdkMisuse(
                reason="a blocking method was called on the event loop that does its work",
                do="await the method of the same name of the engine, or call it in a thread",
            )
    waiting = _Waiting(loop, work)
    try:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(waiting.begin)
        waiting.until_done()
    except BaseException:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(waiting.cancel)
        waiting.until_done()
        raise
    finally:
        if waiting.task is None:
            work.close()
    if not waiting.outcome.done():
        raise CancelledError
    return waiting.outcome.result()


class _Waiting(Generic[T]):
    """Work of a loop that another thread waits for. All but ``until_done`` is the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._work = work
        self.task: asyncio.Task[T] | None = None
        self.outcome: Future[T] = Future()

    def begin(self) -> None:
        self.task = self._loop.create_task(self._work)
        self.task.add_done_callback(self._settle)

    def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()

    def until_done(self) -> None:
        """Come back when there is an outcome, or there will be none."""
        while not self.outcome.done():
            # A loop that has not begun the work may be about to run, until it is closed.
            begun = self.task is not None
            if self._loop.is_closed() or (begun and not self._loop.is_running()):
                return
            wait([self.outcome], LOOP_SECONDS)

    def _settle(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.outcome.cancel()
            self.outcome.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


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
            with suppress(CancelledError):  # the loop has ended, and this with it
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
