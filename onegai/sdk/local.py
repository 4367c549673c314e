"""The engine of a Python process that is no server: made at first use, ended at exit.

Beside a running server of the same home it borrows that server's services, holding each by
``POST /service/{app}/hold``. Without one it is this home's engine for as long as the process lasts;
a second such process waits, and says for whom.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar

from onegai.config import jsonfile
from onegai.config.current import Current
from onegai.config.home import Home
from onegai.config.settings import read_settings
from onegai.engine.engine import Engine
from onegai.errors import HomeLocked, SdkMisuse, UnknownJob
from onegai.files.file import File
from onegai.files.sources import Sources
from onegai.files.workspace import Workspace
from onegai.functions.function import Function
from onegai.functions.functions import Functions
from onegai.functions.source import Source
from onegai.handles.context import CallContext, Hold, Services, open_transport
from onegai.sdk.blocking import Blocking, run_on
from onegai.sdk.borrowed import BorrowedServices

T = TypeVar("T")
A_YEAR = 365 * 24 * 3600.0
"""The deadline of requests that belong to no call."""


class LocalEngine:
    """One per process. Its event loop runs in a thread of its own."""

    def __init__(self, home: Home, *, sources: Sequence[Source] = ()) -> None:
        """``sources``: as of an ``Engine``."""
        self._home = home
        self._sources = sources
        settings, problems, _first = read_settings(home, {})
        self._current = Current(home, settings, problems)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="onegai", daemon=True)
        self._thread.start()
        self._lock = ExitStack()
        self._closing = threading.Lock()
        self._closed = False
        self._stack = AsyncExitStack()
        self._engine: Engine | None = None
        self._borrowed: BorrowedServices | None = None
        self._functions = Functions(self._current, sources)
        """Those that this process runs itself; its engine, if it has one, has its own."""
        self._functions.open(lambda spec, seconds: self._context(spec.app, seconds))
        self._whole_process: CallContext | None = None
        try:
            try:
                self._be_this_homes_engine()
            except HomeLocked:
                self._borrow()
        except BaseException:
            self.close()  # or the next one of this process would wait for this one
            raise

    @property
    def engine(self) -> Engine:
        """This home's engine. Raises HomeLocked beside a server, which has it."""
        if self._engine is None:
            server = self._home.running_server() or {}
            raise HomeLocked(holder=server.get("url", "a server"), pid=server.get("pid", "?"))
        return self._engine

    @property
    def blocking(self) -> Blocking:
        """``engine`` for code that is not asynchronous. Raises HomeLocked."""
        return Blocking(self.engine, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of a coroutine that runs on the engine's loop."""
        return run_on(self._loop, work)

    def call_context(self, app: str, *, held: bool) -> CallContext:
        """The surroundings of one call; ``held``: with a lease of its app until it ends.

        Raises SdkMisuse when all has been stopped, at the end of the program.
        """
        if self._closed:
            raise _at_the_end()
        if self._engine is not None:
            context = self._engine.call_context(app)
        else:
            spec = self._current.catalog.specs.get(app)
            context = self._context(app, spec.call_timeout if spec else A_YEAR)
        spec = self._current.catalog.specs.get(app)
        if held and spec is not None and spec.has_service:
            context.pinned[app] = self.run(_lease(context.services, app))
        return context

    def process_context(self) -> CallContext:
        """The surroundings of requests outside of any call; ends with the process."""
        if self._closed:
            raise _at_the_end()
        if self._whole_process is None:
            self._whole_process = self._context("", A_YEAR)
        return self._whole_process

    def close(self) -> None:
        """Stop what this process started, give back what it borrowed. From any thread, once."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            if self._whole_process is not None:
                self._whole_process.release()
            self._end()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            if not self._thread.is_alive():
                self._loop.close()
            self._lock.close()

    def _end(self) -> None:
        """Ctrl-C meanwhile: do not wait for services that take their time to end."""
        ending = asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop)
        interrupt: KeyboardInterrupt | None = None
        while not ending.done():
            try:
                wait([ending])
            except KeyboardInterrupt as pressed:
                interrupt = pressed
                if self._engine is not None:
                    self._loop.call_soon_threadsafe(self._engine.hurry)
        ending.result()
        if interrupt is not None:
            raise interrupt

    def exit_at_signals(self) -> None:
        """End in order at SIGTERM and SIGHUP, unless the program has its own idea of them.

        From the main thread only; elsewhere, and twice, it does nothing.

        What a signal handler raises can get lost in a finalizer; so the services are stopped by a
        thread, and what waits for them fails.
        """

        def end(number: int, _frame: object) -> None:
            threading.Thread(target=self.close, name="onegai end").start()
            sys.exit(128 + number)

        here = threading.current_thread() is threading.main_thread()
        if here and self._engine is not None:
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, end)

    def _context(self, app: str, seconds: float) -> CallContext:
        services: Services | None = self._borrowed
        if self._engine is not None:
            services = self._engine.services
        assert services is not None
        return CallContext(
            app=app,
            services=services,
            transport=self._transport,
            sources=Sources((), self._current.settings.max_upload, _no_job),
            workspace=Workspace(self._home.uploads),
            loop=self._loop,
            deadline=time.monotonic() + seconds,
            seconds=seconds,
            settings=self._current.catalog.own_settings,
            function=self._function,
            access=self._current.access,
        )

    async def _function(self, app: str, name: str, told: bool) -> Function:
        look = self._functions.told if told else self._functions.function
        return await look(app, name, start=True)

    def _be_this_homes_engine(self) -> None:
        """Raises HomeLocked beside a server."""
        self._lock.enter_context(self._home.lock(wait=_Waiting()))
        self._say_who_we_are()
        engine = Engine(self._current, sources=self._sources)
        self._transport = self.run(self._enter(engine))
        self._engine = engine
        self.exit_at_signals()

    async def _enter(self, engine: Engine) -> Any:
        await self._stack.enter_async_context(engine)
        return engine.transport

    def _say_who_we_are(self) -> None:
        """For those who wait. A disk that is full must not keep one from removing apps."""
        command = " ".join(sys.argv) or "python"
        note = self._home.server_file
        try:
            jsonfile.write(note, {"pid": os.getpid(), "command": command[:200]})
        except OSError:
            note.unlink(missing_ok=True)  # another one's, that was killed

    def _borrow(self) -> None:
        server = self._home.running_server() or {}
        if server.get("pid") == os.getpid():
            raise SdkMisuse(
                reason="a handle was used outside of a call",
                do="use it inside a function that the server calls, not at the file's top",
            )
        self.run(self._open_borrowed(str(server.get("url", ""))))

    async def _open_borrowed(self, url: str) -> None:
        await self._stack.enter_async_context(self._current)
        self._transport = await self._stack.enter_async_context(open_transport())
        session = self._transport.asynchronous
        self._borrowed = BorrowedServices(self._loop, session, url, self._current)
        self._stack.push_async_callback(self._borrowed.close)


async def _lease(services: Services, app: str) -> Hold:
    return await services.lease(app)


def _no_job(job: str) -> File:
    """Jobs are the server's, and this process has none."""
    raise UnknownJob(job=job)


class _Waiting:
    """Says once for whom this process waits."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, holder: dict[str, Any]) -> None:
        if not self._said:
            self._said = True
            who = f"{holder.get('command', 'another program')} (pid {holder.get('pid', '?')})"
            print(f"onegai: waiting for {who}, which uses this folder", file=sys.stderr)  # noqa: T201 - for the terminal


_making = threading.Lock()
_made: list[LocalEngine] = []


def local_engine(home: Home | None = None) -> LocalEngine:
    """This process's engine. Raises ConfigError, SdkMisuse."""
    with _making:
        if not _made:
            try:
                # While pools of threads still work, which to stop a service takes: they end before
                # what atexit has registered is called. Python has no public name for it.
                threading._register_atexit(_close_made)  # type: ignore[attr-defined]
            except RuntimeError:
                raise _at_the_end() from None
            _made.append(LocalEngine(home or Home.find()))
        return _made[0]


def _close_made() -> None:
    for engine in _made:
        engine.close()


def _at_the_end() -> SdkMisuse:
    return SdkMisuse(
        reason="a function was called when the program was at its end",
        do="call it earlier: not from atexit, __del__ or a thread that outlives the main thread",
    )


def call_context(app: str, *, held: bool) -> CallContext:
    """See ``onegai.handles.context.call_context``."""
    return local_engine().call_context(app, held=held)


async def call_context_later(app: str, *, held: bool) -> CallContext:
    """See ``onegai.handles.context.call_context_later``."""
    engine = _made[0] if _made else await _in_thread(local_engine)
    engine.exit_at_signals()
    context: Future[CallContext] = Future()
    try:
        return await _in_thread(lambda: engine.call_context(app, held=held), context)
    except asyncio.CancelledError:
        # Nobody will use what it may have leased by then, or soon has.
        context.add_done_callback(_give_back)
        raise


async def _in_thread(work: Callable[[], T], done: Future[T] | None = None) -> T:
    """Not in one of asyncio's own, for which a program waits at its end: this may take long."""
    outcome: Future[T] = Future() if done is None else done
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            outcome.set_exception(error)

    threading.Thread(target=run, name="onegai waits", daemon=True).start()
    return await asyncio.wrap_future(outcome)


def _give_back(context: Future[CallContext]) -> None:
    if context.exception() is None:
        context.result().release()


def process_context(app: str) -> CallContext:
    """See ``onegai.handles.context.current``; ``app`` is only the one whose handle is used."""
    del app
    return local_engine().process_context()
