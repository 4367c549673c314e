"""Running a function: on the event loop or in a thread, once or piece by piece."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

from onegai.calls.handover import Handover, soon
from onegai.config.current import Current
from onegai.config.settings import MIB
from onegai.errors import AppError, FunctionFailed, OneGAIError, ResultTooLarge, in_words
from onegai.files.pieces import PIECE
from onegai.functions.function import Function, Result
from onegai.functions.results import Outcome, TooLong
from onegai.handles.context import CallContext
from onegai.threads import Pool

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_THREADS = 512
"""For sync functions, made as they are needed: each app's ``concurrency`` is what limits them."""


class Reader(Protocol):
    """Who reads a call: what becomes of its events, its pieces and its result."""

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Something has happened. On the loop."""
        ...

    def taken(self, piece: Any) -> Any:
        """A piece as ``put`` takes it; None: there is nothing to put.

        Called where the function runs, or in a thread, as files may be written. Raises TooLong.
        """
        ...

    async def put(self, taken: Any) -> None:
        """Take it in as soon as there is room for it. On the loop."""
        ...

    def outcome(self, result: Any) -> Outcome:
        """What the call gives, of what its function returned. Called and raises as ``taken``.

        An asynchronous generator has returned a Result, which may be None, or nothing.
        """
        ...


class Held:
    """What a call has until its end; ``ends`` give it back, in this order. A context manager."""

    __slots__ = ("_ends",)

    def __init__(self, *ends: Callable[[], object]) -> None:
        self._ends = ends

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give it back; twice is harmless."""
        ends, self._ends = self._ends, ()
        for end in ends:
            end()

    def moved(self) -> Held:
        """All of it, which is not to be given back here any more."""
        ends, self._ends = self._ends, ()
        return Held(*ends)


class Running:
    """The functions that run, and their threads. Belongs to one event loop, and is made on it."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._loop = asyncio.get_running_loop()
        self._threads = Pool("call", MOST_THREADS, may_hang=True)

    def close(self) -> None:
        """Let no new function begin. What runs in a thread cannot be ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(
        self,
        function: Function,
        arguments: Any,
        context: CallContext,
        held: Held,
        reader: Reader,
    ) -> Outcome:
        """Run it. What is ``held`` stays so until a thread that cannot be stopped has ended."""
        task = asyncio.current_task()
        try:
            if function.where == "thread":
                return await self._in_thread(function, arguments, context, held, reader)
            with context.active():
                if function.streams:
                    result = await _iterate(function.run(arguments), reader)
                else:
                    result = await function.run(arguments)
            return await _encoded(reader.outcome, result)
        except OneGAIError as error:
            # Handles tell no secrets, but a function may raise one with what its app has answered.
            error.rewrite(self._current.hidden)
            raise
        except asyncio.CancelledError as error:
            if task is None or task.cancelling():
                raise
            raise self._failed(function, error) from None
        except GeneratorExit as error:
            if asyncio.current_task(self._loop) is not task:  # Python closes this coroutine
                raise
            raise self._failed(function, error) from None
        except BaseException as error:  # noqa: BLE001 - what Rust panics with is no Exception
            raise self._failed(function, error) from None

    async def _in_thread(
        self,
        function: Function,
        arguments: Any,
        context: CallContext,
        held: Held,
        reader: Reader,
    ) -> Outcome:
        with context.active():
            surroundings = contextvars.copy_context()
        done: asyncio.Future[Outcome] = self._loop.create_future()
        if not function.streams:
            thread = self._threads.submit(
                surroundings.run, _call, function, arguments, reader, done
            )
            try:
                return await done
            except asyncio.CancelledError:
                self._leave(thread, context, held)
                raise
        handover = Handover(self._loop)
        thread = self._threads.submit(
            surroundings.run, _generate, function, arguments, reader, handover, done
        )
        try:
            async for taken in handover:
                await reader.put(taken)
            return await done
        finally:
            if done.cancelled() or not done.done():  # nobody waits for it any more
                done.cancel()
                handover.stop()
                self._leave(thread, context, held)

    def _leave(self, thread: Future[None], context: CallContext, held: Held) -> None:
        """Nobody wants to have what the thread does."""
        if not thread.cancel() and not thread.done():
            context.give_up()
            rest = held.moved()
            thread.add_done_callback(lambda _thread: soon(self._loop, rest.close))

    def _failed(self, function: Function, error: BaseException) -> AppError:
        """The error to answer with; the traceback goes to the log only."""
        if isinstance(error, _Thrown):
            error = error.error
        if isinstance(error, TooLong):
            return ResultTooLarge(
                app=function.app,
                what=f"the result of {function.app}/{function.name}",
                limit_mib=round(self._current.settings.max_result / MIB, 1),
                do="return a Path inside a dict: the answer then has a link to the file",
            )
        home = self._current.home
        # As exc_info has it, but a function may raise what its app has answered.
        told = self._current.hidden("".join(traceback.format_exception(error)).rstrip())
        log.error("%s/%s failed\n%s", function.app, function.name, told)
        return FunctionFailed(
            app=function.app,
            function=function.name,
            reason=self._current.hidden(in_words(error)),
            log=home.relative(home.logs / "onegai.log"),
        )


class _Thrown(Exception):
    """Carries out of a thread what would be taken for an order of the event loop's own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


_SMALL = (int, float, bool, type(None))


async def _encoded(work: Callable[[Any], T], value: Any) -> T:
    """What ``work`` makes of it: in a thread, if that may take a while."""
    if isinstance(value, _SMALL) or (isinstance(value, str) and len(value) <= PIECE):
        return work(value)
    # It is large, or may have files, to be read and written.
    return await asyncio.to_thread(work, value)


async def _iterate(pieces: Any, reader: Reader) -> Result | None:
    """Give the reader the pieces of an asynchronous generator; its Result, if it ends with one."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Result):
                return piece
            taken = await _encoded(reader.taken, piece)
            if taken is not None:
                await reader.put(taken)
    return None


def _call(
    function: Function, arguments: Any, reader: Reader, done: asyncio.Future[Outcome]
) -> None:
    """In a thread. The loop of ``done`` is told at once: asyncio.wrap_future takes a while."""
    _settle(lambda: reader.outcome(function.run(arguments)), done)


def _generate(
    function: Function,
    arguments: Any,
    reader: Reader,
    handover: Handover,
    done: asyncio.Future[Outcome],
) -> None:
    """In a thread, from the generator's first step to its end."""

    def outcome() -> Outcome:
        pieces: Generator[Any, None, Any] = function.run(arguments)
        try:
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    return reader.outcome(end.value)
                handover.give(reader.taken(piece))
        finally:
            pieces.close()

    _settle(outcome, done)
    handover.end()


def _settle(work: Callable[[], Outcome], done: asyncio.Future[Outcome]) -> None:
    settle: Callable[[], None]
    try:
        settle = partial(done.set_result, work())
    except StopIteration as error:
        # A future cannot carry it (PEP 479 has the same reason).
        stopped = RuntimeError("StopIteration")
        stopped.__cause__ = error
        settle = partial(done.set_exception, stopped)
    except Exception as error:  # noqa: BLE001 - the function is the user's code
        settle = partial(done.set_exception, error)
    except BaseException as error:  # noqa: BLE001 - as above
        settle = partial(done.set_exception, _Thrown(error))
    soon(done.get_loop(), lambda: None if done.done() else settle())
