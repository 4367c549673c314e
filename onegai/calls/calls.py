"""Calls of functions: their turn, their service, their time, and the ways to read them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from onegai.calls.deadlines import Deadlines
from onegai.calls.jobs import CallResult, Jobs, Record
from onegai.calls.pieces import done
from onegai.calls.queue import Place, Turns
from onegai.calls.readers import Events, Limits, Parts, Recorded, Whole
from onegai.calls.results import Results
from onegai.calls.running import Held, Reader, Running
from onegai.calls.unread import Unread
from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.errors import CallTimeout, InternalError, OneGAIError
from onegai.events import Tell, tell_nobody
from onegai.files.file import File
from onegai.files.pieces import PIECE
from onegai.files.sources import Sources, roots
from onegai.files.store import FileStore
from onegai.files.workspace import Workspace
from onegai.functions.function import Function
from onegai.functions.functions import Functions
from onegai.functions.results import Outcome, TooLong
from onegai.handles.context import CallContext, Services, Transport
from onegai.schema import Event, FileForm, Job, Problem

log = logging.getLogger(__name__)


class Calls:
    """The calls of a home's functions. ``open`` it on the event loop before the first one."""

    def __init__(
        self,
        current: Current,
        jobs: Jobs,
        functions: Functions,
        files: FileStore,
        results: Results,
        sources: Sources,
    ) -> None:
        self._home = current.home
        self._current = current
        self._jobs = jobs
        self._functions = functions
        self._files = files
        self._results = results
        self._sources = sources
        self.running: Running
        self._services: Services
        self._transport: Transport
        self._loop: asyncio.AbstractEventLoop
        self._deadlines = Deadlines()
        self._turns: defaultdict[str, Turns] = defaultdict(Turns)
        current.listen(self._adopt)

    def open(self, services: Services, transport: Transport) -> None:
        """Be able to run functions from now on."""
        self._services = services
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.running = Running(self._current)

    def close(self) -> None:
        """Let no new function begin. What runs in a thread cannot be ended."""
        self.running.close()

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

    def context(
        self,
        spec: AppSpec,
        seconds: float,
        workspace: Workspace | None = None,
        tell: Tell = tell_nobody,
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
            access=self._current.access,
            most_read=self._current.settings.max_result,
            tell=tell,
            function=self._function,
        )

    async def _function(self, app: str, name: str, told: bool) -> Function:
        look = self._functions.told if told else self._functions.function
        return await look(app, name, start=True)

    def limits(self, files: FileForm) -> Limits:
        """Of one call, whose files stand in this form in what it gives."""
        most = self._current.settings.max_result

        def keep(file: File) -> dict[str, Any]:
            if files == "base64" and file.size > most:
                raise TooLong
            return self._files.entry(file, files)

        return Limits(keep, most)

    # --- the ways to read a call -------------------------------------------------------------
    # All run a function with checked arguments when it is its turn. They raise QueueFull, besides
    # whatever goes wrong. The workspace has the files of the arguments, and is gone at the end.

    async def call(
        self,
        spec: AppSpec,
        function: Function,
        arguments: Any,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> Outcome:
        """Its answer, when it is complete."""
        placed = self._place(spec, workspace)
        return await self._run(placed, function, arguments, Whole(function, self.limits(files)))

    async def stream(
        self,
        spec: AppSpec,
        function: Function,
        arguments: Any,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Its events as they come; closing it cancels the call.

        What goes wrong after the first event is the last one.
        """
        reader = Events(function, self.limits(files))
        placed = self._place(spec, workspace, reader.tell)
        work = self._run(placed, function, arguments, reader)
        async with _in_background(work, placed.held, reader.unread) as call:
            number = 1
            while await reader.unread.wait():
                event, data = reader.unread.pop()
                yield Event(id=number, event=event, data=data)
                number += 1
            try:
                outcome = await call
            except OneGAIError as error:
                if number == 1:
                    raise
                yield Event(id=number, event="error", data=error.data)
            except Exception as error:
                log.exception("a call of %s failed", spec.app)
                failure = InternalError(reason=f"{type(error).__name__}: {error}")
                yield Event(id=number, event="error", data=failure.data)
            else:
                large = len(outcome.body.content) > PIECE
                data = await asyncio.to_thread(done, outcome) if large else done(outcome)
                yield Event(id=number, event="done", data=data)

    async def respond(
        self,
        spec: AppSpec,
        function: Function,
        arguments: Any,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> Outcome | Streamed:
        """Its answer; bytes or text that the function yields come as it yields them."""
        if not function.streams or function.form == "main":
            return await self.call(spec, function, arguments, files, workspace)
        reader = Parts(function, self.limits(files))
        placed = self._place(spec, workspace)
        call = _begun(self._run(placed, function, arguments, reader), placed.held, reader.unread)
        try:
            if await reader.unread.wait():
                return Streamed(reader, call, self._functions.problem(spec.app))
            return await call
        except BaseException:
            await _ended(call)
            raise

    def submit(
        self,
        spec: AppSpec,
        function: Function,
        arguments: Any,
        files: FileForm,
        workspace: Workspace,
    ) -> Job:
        """It as a job, with its events and, in the end, its answer."""
        reader = Recorded(function, self.limits(files))
        placed = self._place(spec, workspace, reader.tell)

        async def work(record: Record) -> CallResult:
            reader.record = record
            outcome = await self._run(placed, function, arguments, reader)
            return await asyncio.to_thread(
                self._results.keep, spec.app, function, outcome, reader.done
            )

        return self._jobs.call(spec.app, function.name, work, placed.held.close)

    # --- a call ------------------------------------------------------------------------------

    def _place(
        self, spec: AppSpec, workspace: Workspace | None, tell: Tell = tell_nobody
    ) -> _Placed:
        """Have a call begin: with a place in its app's queue. Raises QueueFull."""
        context = self.context(spec, spec.call_timeout, workspace, tell)
        place = self._turns[spec.app].place(spec)
        context.waiting = place.waiting
        return _Placed(spec, context, place, Held(place.leave, context.release))

    async def _run(
        self, placed: _Placed, function: Function, arguments: Any, reader: Reader
    ) -> Outcome:
        """A call from its place on.

        It has its lease before its turn, so that a service is not stopped between the calls that
        wait for it, only to be started again for the next of them.
        """
        spec, context, place = placed.spec, placed.context, placed.place
        problem = self._functions.problem(spec.app)
        with placed.held as held:
            try:
                with self._deadlines.within(spec.call_timeout):
                    if function.accepts.takes_files:
                        await context.fetch_files(arguments)
                    leases = spec.has_service and function.lease != "none"
                    if leases:
                        await self._lease_for(function, context)
                    await place.turn(context.give_back, reader.tell)
                    if leases and not (context.offered or context.pinned):
                        with place.waiting():
                            await self._lease_for(function, context)
                    reader.tell("running", {})
                    outcome = await self.running.run(function, arguments, context, held, reader)
                    return outcome if problem is None else outcome.despite(problem)
            except TimeoutError:
                raise CallTimeout(app=spec.app, seconds=spec.call_timeout) from None

    async def _lease_for(self, function: Function, context: CallContext) -> None:
        """Have the app's service ready for its own function.

        Where a function leases for each request, the first of these leases is had here, so that
        the service is not evicted in between.
        """
        app = context.app
        lease = self._services.try_lease(app)
        if lease is None:
            lease = await self._services.lease(app, tell=context.tell)
        (context.offered if function.lease == "request" else context.pinned)[app] = lease


class Streamed:
    """An answer that comes in parts; asynchronously iterable, once. ``aclose`` it in any case.

    What goes wrong on the way is raised; closing it cancels the call.
    """

    def __init__(self, reader: Parts, call: asyncio.Task[Outcome], problem: Problem | None) -> None:
        self.media_type = reader.media_type
        self.problem = problem
        """Why this is not what the func file says now."""
        self._unread = reader.unread
        self._call = call

    def __aiter__(self) -> Streamed:
        return self

    async def __anext__(self) -> bytes:
        if await self._unread.wait():
            return self._unread.pop()
        await self._call
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the call if it has not ended."""
        await _ended(self._call)


@dataclass(frozen=True)
class _Placed:
    """A call that has begun. The end of ``held`` ends its ``place`` and its ``context``."""

    spec: AppSpec
    context: CallContext
    place: Place
    held: Held


def _begun(
    work: Coroutine[Any, Any, Outcome], held: Held, unread: Unread[Any]
) -> asyncio.Task[Outcome]:
    """A call in a task of its own; ``held`` ends with it, though it be before it began."""

    def end(_task: asyncio.Task[Outcome]) -> None:
        held.close()
        unread.end()

    task = asyncio.create_task(work)
    task.add_done_callback(end)
    return task


async def _ended(call: asyncio.Task[Outcome]) -> None:
    """Cancel it and wait for its end."""
    call.cancel()
    await asyncio.wait([call])
    if not call.cancelled():
        call.exception()


@asynccontextmanager
async def _in_background(
    work: Coroutine[Any, Any, Outcome], held: Held, unread: Unread[Any]
) -> AsyncIterator[asyncio.Task[Outcome]]:
    """The call runs as long as the block."""
    call = _begun(work, held, unread)
    try:
        yield call
    finally:
        await _ended(call)
