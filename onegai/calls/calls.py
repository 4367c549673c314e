"""Running functions: their files, their turn, their service, their thread, what becomes of them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from onegai.calls.jobs import CallResult, Jobs, Report
from onegai.calls.queue import Place, Turns
from onegai.calls.results import Results
from onegai.config.current import Current
from onegai.config.entry import CAP_FACTOR, AppSpec
from onegai.config.settings import MIB
from onegai.errors import (
    AppError,
    CallTimeout,
    FunctionFailed,
    OneGAIError,
    ResultTooLarge,
    in_words,
)
from onegai.files.file import File
from onegai.files.pieces import PIECE
from onegai.files.sources import Sources, roots
from onegai.files.store import FileStore
from onegai.files.workspace import Workspace
from onegai.functions.funcfiles import Plugins
from onegai.functions.function import Function
from onegai.functions.results import Keep, Outcome, TooLong, outcome_of
from onegai.handles.context import CallContext, Services, Transport
from onegai.process.stuck import CALLS
from onegai.schema import FileForm, Job

log = logging.getLogger(__name__)

MOST_THREADS = 512
"""For sync functions, made as they are needed: each app's ``concurrency`` is what limits them."""


class Calls:
    """The calls of a home's functions. ``open`` it on the event loop before the first one.

    It also is the supervisor's ``Hooks``: an app's own ``load`` and ``unload``.
    """

    def __init__(
        self,
        current: Current,
        jobs: Jobs,
        plugins: Plugins,
        files: FileStore,
        results: Results,
        sources: Sources,
    ) -> None:
        self._home = current.home
        self._current = current
        self._jobs = jobs
        self._plugins = plugins
        self._files = files
        self._results = results
        self._sources = sources
        self._services: Services
        self._transport: Transport
        self._loop: asyncio.AbstractEventLoop
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix=CALLS)
        self._turns: defaultdict[str, Turns] = defaultdict(Turns)
        current.listen(self._adopt)

    def open(self, services: Services, transport: Transport) -> None:
        """Be able to run functions from now on."""
        self._services = services
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Let no new function begin. What runs in a thread cannot be ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _adopt(self) -> None:
        """Take files from where the settings allow, and run as many calls as the entries say."""
        self._sources = replace(self._sources, roots=roots(self._current.settings.file_roots))
        for app, turns in self._turns.items():
            if (spec := self._current.catalog.specs.get(app)) is not None:
                turns.adopt(spec)

    def turns(self, app: str) -> Turns:
        """How many calls of the app run, and how many wait."""
        return self._turns[app]

    def workspace(self) -> Workspace:
        """A place for the files that come with a call."""
        return Workspace(self._home.uploads)

    # --- a call ----------------------------------------------------------------------------

    async def call(
        self,
        spec: AppSpec,
        function: Function,
        arguments: Any,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> Outcome:
        """Run a function with checked arguments, when it is its turn and its service is ready.

        Raises QueueFull, besides whatever goes wrong.
        """
        return await self._called(self._place(spec, workspace), function, arguments, files)

    def _place(self, spec: AppSpec, workspace: Workspace | None) -> _Placed:
        """Have a call begin: with a place in its app's queue. Raises QueueFull."""
        context = self.context(spec, spec.call_timeout, workspace)
        place = self._turns[spec.app].place(spec)
        context.waiting = place.waiting
        held = ExitStack()
        held.callback(context.release)
        held.enter_context(place)
        return _Placed(spec, context, place, held)

    async def _called(
        self,
        placed: _Placed,
        function: Function,
        arguments: Any,
        files: FileForm,
        report: Report = lambda _line: None,
    ) -> Outcome:
        """``call``, from its place on. ``report`` is told what it waits for."""
        spec, context, place = placed.spec, placed.context, placed.place
        problem = self._plugins.problem(spec.app)

        def keep(file: File) -> dict[str, Any]:
            if files == "base64" and file.size > self._current.settings.max_result:
                raise TooLong
            return self._files.entry(file, files)

        with placed.held as held:
            try:
                async with asyncio.timeout(spec.call_timeout):
                    if function.accepts.takes_files:
                        await context.fetch_files(arguments)
                    leases = spec.has_service and function.lease != "none"
                    if leases:
                        await self._lease_for(function, context, report)
                    if number := place.in_line:
                        report(f"number {number} in line for {spec.app}")
                    await place.turn(context.give_back)
                    if leases and not (context.offered or context.pinned):
                        with place.waiting():
                            await self._lease_for(function, context, report)
                    outcome = await self._run(function, arguments, context, held, keep)
                    return outcome if problem is None else outcome.despite(problem)
            except TimeoutError:
                raise CallTimeout(app=spec.app, seconds=spec.call_timeout) from None

    async def _lease_for(self, function: Function, context: CallContext, report: Report) -> None:
        """Have the app's service ready for its own function.

        Where a function leases for each request, the first of these leases is had here, so that
        the service is not evicted in between.
        """
        app = context.app
        lease = self._services.try_lease(app)
        if lease is None:
            report(f"waiting for {app} to be ready")
            lease = await self._services.lease(app)
            report(f"{app} is ready")
        (context.offered if function.lease == "request" else context.pinned)[app] = lease

    async def _run(
        self,
        function: Function,
        arguments: Any,
        context: CallContext,
        held: ExitStack,
        keep: Keep | None = None,
    ) -> Outcome:
        """Run it. What is ``held`` stays so until a thread that cannot be stopped has ended."""
        try:
            if function.where == "thread":
                return await self._in_thread(function, arguments, context, held, keep)
            with context.active():
                result = await function.run(arguments)
            most = self._current.settings.max_result
            if isinstance(result, _SMALL) or (isinstance(result, str) and len(result) <= PIECE):
                return outcome_of(function.form, result, keep, most)
            # It is large, or may have files, to be read and written.
            return await asyncio.to_thread(outcome_of, function.form, result, keep, most)
        except OneGAIError:
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise self._failed(context.app, function, error) from None
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - what Rust panics with is no Exception
            raise self._failed(context.app, function, error) from None

    async def _in_thread(
        self,
        function: Function,
        arguments: Any,
        context: CallContext,
        held: ExitStack,
        keep: Keep | None,
    ) -> Outcome:
        with context.active():
            surroundings = contextvars.copy_context()
        done: asyncio.Future[Outcome] = self._loop.create_future()
        most = self._current.settings.max_result
        thread = self._threads.submit(
            surroundings.run, _call, function, arguments, keep, most, done
        )
        try:
            return await done
        except asyncio.CancelledError:
            if not thread.cancel() and not thread.done():
                context.give_up()
                rest = held.pop_all()
                thread.add_done_callback(lambda _thread: _soon(self._loop, rest.close))
            raise

    def _failed(self, app: str, function: Function, error: BaseException) -> AppError:
        """The error to answer with; the traceback goes to the log only."""
        if isinstance(error, _Thrown):
            error = error.error
        if isinstance(error, TooLong):
            return ResultTooLarge(
                app=app,
                what=f"the result of {app}/{function.name}",
                limit_mib=round(self._current.settings.max_result / MIB, 1),
                do="return a Path inside a dict: the answer then has a link to the file",
            )
        log.error("%s/%s failed", app, function.name, exc_info=error)
        return FunctionFailed(
            app=app,
            function=function.name,
            reason=in_words(error),
            log=self._home.relative(self._home.logs / "onegai.log"),
        )

    def context(
        self, spec: AppSpec, seconds: float, workspace: Workspace | None = None
    ) -> CallContext:
        """The surroundings of one call of a function of this app. From any thread."""
        return CallContext(
            app=spec.app,
            services=self._services,
            transport=self._transport,
            sources=self._sources,
            workspace=workspace or self.workspace(),
            loop=self._loop,
            deadline=time.monotonic() + seconds,
            seconds=seconds,
            settings=self._current.catalog.own_settings,
            most_read=self._current.settings.max_result,
        )

    # --- an app's own load and unload (supervisor.hooks.Hooks) ----------------------------

    async def load(self, spec: AppSpec, url: str) -> None:
        """The app's ``load``, if it has one, before its service counts as ready."""
        await self._hook("load", spec, url)

    async def unload(self, spec: AppSpec, url: str) -> None:
        """The app's ``unload``, if it has one."""
        await self._hook("unload", spec, url)

    def can_unload(self, app: str) -> bool:
        """Has the app's func file an ``unload``?"""
        return "unload" in self._plugins.last(app).functions

    async def _hook(self, name: str, spec: AppSpec, url: str) -> None:
        """Run a function against the service without a lease, in the time that a start may take."""
        function = (await self._plugins.refresh(spec.app)).functions.get(name)
        if function is None:
            return
        seconds = spec.start_timeout * CAP_FACTOR
        context = self.context(spec, seconds)
        context.granted[spec.app] = url
        arguments = function.arguments({})
        with ExitStack() as held:
            held.callback(context.release)
            try:
                async with asyncio.timeout(seconds):
                    await self._run(function, arguments, context, held)
            except TimeoutError:
                raise CallTimeout(app=spec.app, seconds=seconds) from None

    # --- calls as jobs ---------------------------------------------------------------------

    def submit(
        self,
        spec: AppSpec,
        function: Function,
        arguments: Any,
        files: FileForm,
        workspace: Workspace,
    ) -> Job:
        """``call``, as a job, whose end removes the workspace. Raises QueueFull."""
        placed = self._place(spec, workspace)

        async def work(report: Report) -> CallResult:
            outcome = await self._called(placed, function, arguments, files, report)
            return await asyncio.to_thread(self._results.keep, spec.app, function, outcome)

        return self._jobs.call(spec.app, function.name, work, placed.held.close)


@dataclass(frozen=True)
class _Placed:
    """A call that has begun. The end of ``held`` ends its ``place`` and its ``context``."""

    spec: AppSpec
    context: CallContext
    place: Place
    held: ExitStack


class _Thrown(Exception):
    """Carries out of a thread what would be taken for an order of the event loop's own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


_SMALL = (int, float, bool, type(None))


def _call(
    function: Function,
    arguments: Any,
    keep: Keep | None,
    most: float,
    done: asyncio.Future[Outcome],
) -> None:
    """In a thread. The loop of ``done`` is told at once: asyncio.wrap_future takes a while."""
    settle: Callable[[], None]
    try:
        outcome = outcome_of(function.form, function.run(arguments), keep, most)
        settle = partial(done.set_result, outcome)
    except StopIteration as error:
        # A future cannot carry it (PEP 479 has the same reason).
        stopped = RuntimeError("StopIteration")
        stopped.__cause__ = error
        settle = partial(done.set_exception, stopped)
    except Exception as error:  # noqa: BLE001 - the function is the user's code
        settle = partial(done.set_exception, error)
    except BaseException as error:  # noqa: BLE001 - as above
        settle = partial(done.set_exception, _Thrown(error))
    _soon(done.get_loop(), lambda: None if done.done() else settle())


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
    """Have the loop do it, from another thread, unless the loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(work)
