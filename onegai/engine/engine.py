"""The composition root: everything OneGAI does, without HTTP. It is a ``protocol.Engine``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from typing import Any, Self

from onegai.apps.installed import check_installed
from onegai.calls.calls import Calls, Streamed
from onegai.calls.hooks import FunctionHooks
from onegai.calls.jobs import Jobs
from onegai.calls.results import Results
from onegai.config import curlrc, editing, effects
from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.engine.apps import Apps
from onegai.engine.checks import Checks
from onegai.errors import NoService
from onegai.files.fetch import AddressRule, refuse_this_machine
from onegai.files.links import Links
from onegai.files.sources import Sources, roots
from onegai.files.store import FileStore
from onegai.files.workspace import Workspace, sweep
from onegai.functions.functions import Functions
from onegai.functions.results import Outcome, enveloped
from onegai.functions.source import Source
from onegai.handles.context import CallContext, Services, Transport, open_transport
from onegai.memory.probe import Probe, machine_probe
from onegai.protocol import Answer, output_of
from onegai.schema import (
    AppInfo,
    Applied,
    Document,
    Event,
    FileForm,
    FunctionInfo,
    Job,
    Plan,
    Problem,
    ServiceStatus,
    StatusReport,
)
from onegai.supervisor.leases import Lease
from onegai.supervisor.service import Service
from onegai.supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)


class Engine:
    """One home's apps. An async context manager.

    Leaving stops every service, or lets it live on where ``stop_children`` is 0.
    """

    def __init__(
        self,
        current: Current,
        *,
        probe: Probe | None = None,
        sources: Sequence[Source] = (),
        refused: AddressRule = refuse_this_machine,
    ) -> None:
        """It follows what is ``current``, whose looking for edits begins and ends with it.

        ``sources`` have functions besides those of func files.
        """
        self.current = current
        self.home = home = current.home
        self._jobs = Jobs()
        self._functions = Functions(current, sources)
        self.links = Links()
        self.files = FileStore(home.files, self.links)
        self.results = Results(self._jobs, self.files)
        file_sources = Sources(
            roots(current.settings.file_roots),
            current.settings.max_upload,
            self.results.file_of_job,
            refused,
        )
        self.calls = Calls(
            current, self._jobs, self._functions, self.files, self.results, file_sources
        )
        self._problem_sources: list[Callable[[], Iterable[Problem]]] = []
        self._editing = asyncio.Lock()
        self._supervisor = Supervisor(
            current, probe or machine_probe(), FunctionHooks(self.calls, self._functions)
        )
        self._functions.open(self.calls.context)
        self._checks = Checks(current, self._functions, self._supervisor)
        self._apps = Apps(current, self._jobs, self._supervisor, self._functions)
        self.transport: Transport
        self._stack = AsyncExitStack()
        current.listen(lambda: curlrc.write(home, current.settings))

    async def __aenter__(self) -> Self:
        await self._apps.recover()
        await asyncio.to_thread(sweep, self.home.uploads)
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self._functions)
            await opened.enter_async_context(self.files)
            opened.callback(self.calls.close)
            self.transport = await opened.enter_async_context(open_transport())
            self.calls.open(self._supervisor, self.transport)
            await opened.enter_async_context(self._supervisor)
            await opened.enter_async_context(self._jobs)
            await opened.enter_async_context(self.current)
            # How services are left depends on the last word of config.json.
            opened.push_async_callback(self.current.refresh)
            self._stack = opened.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def hurry(self) -> None:
        """Be done with stopping: kill what takes its time to end. For a second Ctrl-C."""
        self._supervisor.hurry()

    @property
    def services(self) -> Services:
        """What handles need."""
        return self._supervisor

    # --- config.json and the entries --------------------------------------------------------

    async def config_document(self) -> Document:
        """What config.json holds, without its secrets, and heed it. Raises UnreadableFile."""
        await self.current.refresh()
        return await asyncio.to_thread(editing.config_document, self.home)

    async def services_document(self) -> Document:
        """The entries of all apps, without secrets, and heed them. Raises UnreadableFile."""
        await self.current.refresh()
        return await asyncio.to_thread(editing.services_document, self.home)

    async def replace_config(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make config.json hold this, and heed it. Raises as ``editing.replace_config``."""
        async with self._editing:
            change = await asyncio.to_thread(
                editing.replace_config, self.home, content, if_match, self.current.check
            )
            await self.current.refresh()
            return effects.of_config(change, self.current, self._supervisor.outdated())

    async def replace_services(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make the entries be these, and heed them. Raises as ``editing.replace_services``."""
        async with self._editing:
            change = await asyncio.to_thread(editing.replace_services, self.home, content, if_match)
            await self.current.refresh()
            return effects.of_services(change, self.current, self._supervisor.outdated())

    # --- apps ------------------------------------------------------------------------------

    async def apps(self) -> dict[str, AppInfo]:
        """Every app by name, the broken entries too. Measures folders, so it may take a while."""
        return await self._apps.all()

    async def install(self, app: str, *, wait: bool = False) -> Job:
        """Begin to install, or join the install that runs."""
        return await self._apps.install(app, wait=wait)

    async def update(self, app: str, *, force: bool = False, wait: bool = False) -> Job:
        """Install again beside the app that is there, which comes back if that fails.

        Its service is stopped first, after the calls in flight, unless ``force``.
        """
        return await self._apps.update(app, force=force, wait=wait)

    async def uninstall(
        self, app: str, *, purge: bool = False, force: bool = False, wait: bool = False
    ) -> Job:
        """Stop the service and remove apps/{app}, except data folders unless ``purge``."""
        return await self._apps.uninstall(app, purge=purge, force=force, wait=wait)

    # --- jobs ------------------------------------------------------------------------------

    async def jobs(self) -> list[Job]:
        """The jobs of this run, newest first."""
        return self._jobs.all()

    async def job(self, job_id: str) -> Job:
        """One job. Raises UnknownJob."""
        return self._jobs.get(job_id)

    def events(self, job_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Its events from the one behind ``after`` on, until it ends. Raises UnknownJob at once."""
        return self._jobs.events(job_id, after)

    def follow(self, job: Job) -> AsyncGenerator[str, None]:
        """The lines of its output as they come, until it ends. Raises its failure."""
        return output_of(self, job)

    async def cancel(self, job_id: str) -> Job:
        """Cancel it; its state when it has ended."""
        return await self._jobs.cancel(job_id)

    # --- services --------------------------------------------------------------------------

    async def start(self, app: str, *, restart: bool = False, wait: bool = True) -> ServiceStatus:
        """Have the service ready, or on its way with ``wait`` False. Idempotent."""
        spec = self.current.catalog.active(app)
        check_installed(self.home, spec)
        service = self._service(spec)
        if restart:
            await service.stop()
        if wait:
            await service.ready()
        else:
            service.want()
        # On the loop, whose owner task may be changing the state just now.
        return service.status()

    async def stop(self, app: str, *, force: bool = False) -> list[ServiceStatus]:
        """Have the service stopped; ``"*"`` stops all. Waits for calls, unless ``force``."""
        if app == "*":
            services = [self._supervisor[name] for name in self._supervisor.running()]
        else:
            services = [self._service(self.current.catalog.spec(app))]
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(service.stop(force))
        return [service.status() for service in services]

    async def plan(self, app: str) -> Plan:
        """What a start would do now: evict whom, wait for whom, or why it is impossible."""
        spec = self.current.catalog.active(app)
        if not spec.has_service:
            raise NoService(app=app)
        return await self._supervisor.plan(app)

    async def status(self) -> StatusReport:
        """All services, the machine's memory, and everything that is wrong."""
        memory = await self._supervisor.memory()
        services = await self._supervisor.statuses(memory, self.calls.turns)
        return StatusReport(
            services=services,
            memory=self._supervisor.memory_status(memory, services),
            problems=self.problems(),
            overridden=sorted(self.current.overridden),
            functions_only=sorted(
                app
                for app, spec in self.current.catalog.specs.items()
                if spec.active and not spec.has_service
            ),
        )

    def problems(self) -> list[Problem]:
        """What is wrong with config.json, services.json and the func files."""
        others = [problem for source in self._problem_sources for problem in source()]
        return [*self.current.problems, *self._functions.all_problems(), *others]

    def watch_problems(self, source: Callable[[], Iterable[Problem]]) -> None:
        """Have ``problems`` ask this, too: for what lies above the engine (api files)."""
        self._problem_sources.append(source)

    async def logs(self, app: str, tail: int = 200) -> str:
        """The last lines of the service's log."""
        log_file = self._service(self.current.catalog.spec(app)).log
        lines = await asyncio.to_thread(log_file.tail, tail)
        return "".join(f"{line}\n" for line in lines)

    def log_follow(self, app: str, tail: int = 200) -> AsyncGenerator[str, None]:
        """The last lines, then new ones until the caller stops."""
        return self._service(self.current.catalog.spec(app)).log.follow(tail)

    async def hold(self, app: str) -> Lease:
        """A lease for somebody else's requests; starts the service. The caller releases it."""
        spec = self.current.catalog.active(app)
        check_installed(self.home, spec)
        return await self._supervisor.lease(app)

    def _service(self, spec: AppSpec) -> Service:
        if not spec.has_service:
            raise NoService(app=spec.app)
        return self._supervisor[spec.app]

    # --- calls -----------------------------------------------------------------------------

    async def functions(self) -> dict[str, list[FunctionInfo]]:
        """Those of every active app that has any, as they are known."""
        return {
            app: [function.info for function in found.functions.values()]
            for app, found in self._functions.all().items()
            if found.functions and self.current.catalog.specs[app].active
        }

    async def functions_of(self, app: str) -> list[FunctionInfo]:
        """Those of one app as they are now, installed or not. Raises what is wrong with it."""
        self.current.catalog.active(app)
        return [function.info for function in (await self._functions.functions(app)).values()]

    async def function(self, app: str, name: str) -> FunctionInfo:
        """One function, whether its app is installed or not. Raises that there is none."""
        self.current.catalog.active(app)
        return (await self._functions.function(app, name)).info

    async def call(
        self,
        app: str,
        function: str,
        given: Any,
        *,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> Outcome:
        """Run a function with JSON arguments. Raises what is wrong with the call or the app.

        ``files``: how the files of its result stand in the JSON. ``workspace`` has the files that
        came with the call, and is gone at its end.
        """
        asked = await self._checks.asked(app, function, given)
        return await self.calls.call(*asked, files, workspace)

    async def respond(
        self,
        app: str,
        function: str,
        given: Any,
        *,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> Outcome | Streamed:
        """As ``call``; bytes and text that the function yields come as it yields them."""
        asked = await self._checks.asked(app, function, given)
        return await self.calls.respond(*asked, files, workspace)

    async def stream(
        self,
        app: str,
        function: str,
        arguments: Any,
        *,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> AsyncGenerator[Event, None]:
        """As ``call``, as the call's events; closing it cancels the call. A Path is a file.

        What is wrong with the arguments, and a full queue, is raised; what goes wrong after the
        first event is the last one, ``error``. The others: ``queued`` {place}, ``evicting`` {apps},
        ``starting`` {app}, ``running``, ``progress`` {fraction?, text?, …}, ``output`` {result} for
        each piece that the function yields, and ``done`` {result, detail}, where the pieces are the
        result unless there is another one.
        """
        place = workspace or self.calls.workspace()
        with place:
            given = await self._checks.with_files(arguments)
            asked = await self._checks.asked(app, function, given)
            async with aclosing(self.calls.stream(*asked, files, place)) as events:
                async for event in events:
                    yield event

    async def submit(
        self,
        app: str,
        function: str,
        arguments: Any,
        *,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> Job:
        """As ``call``, as a job: wrong arguments and a full queue are raised here.

        A Path is a file of the caller's, which may be removed when this has returned.
        """
        place = workspace or self.calls.workspace()
        with ExitStack() as until_submitted:
            until_submitted.callback(place.close)
            given = await self._checks.with_files(arguments, place)
            asked = await self._checks.asked(app, function, given)
            job = self.calls.submit(*asked, files, place)
            until_submitted.pop_all()  # now the job's end removes the workspace
        return job

    async def answer(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Answer:
        """``call``, and its outcome as a server would answer it. A Path is a file."""
        given = await self._checks.with_files(dict(arguments))
        outcome = await self.call(app, function, given, files=files)
        content = outcome.body.content
        if outcome.envelope:
            content = enveloped(content, outcome.detail_json)
        problem = outcome.problem.in_words() if outcome.problem else ""
        return Answer.of(function, content, outcome.body.media_type, problem)

    async def result(self, job: Job) -> Answer:
        """What a job has answered, for an hour after its end. Raises its error, and JobNotDone."""
        return await self.results.answer_of(job)

    def call_context(self, app: str) -> CallContext:
        """The surroundings of one call of a function of ``app``. From any thread."""
        spec = self.current.catalog.active(app)
        return self.calls.context(spec, spec.call_timeout)
