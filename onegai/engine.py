"""The composition root: everything OneGAI does, without HTTP. It is a ``protocol.Engine``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import replace
from typing import Any, Self

from onegai import editing, effects
from onegai.calling import Calls
from onegai.catalog import AppSpec, Catalog
from onegai.errors import (
    BrokenEntry,
    BrokenPlugin,
    Inactive,
    NoService,
    UnknownApp,
    UnknownFunction,
)
from onegai.fetch import AddressRule, refuse_this_machine
from onegai.files import Workspace, sweep
from onegai.filestore import FileStore
from onegai.functions import Function, Outcome, enveloped
from onegai.home import Home
from onegai.homefiles import HomeFiles
from onegai.installation import (
    DiskUsage,
    InstallState,
    check_installed,
    disk_usage,
    install_state,
    made_by_hand,
    remarks,
)
from onegai.installer import Installer
from onegai.jobs import Jobs, Report, Work
from onegai.links import Links
from onegai.plugins import Plugins
from onegai.process.logfile import LogFile
from onegai.protocol import Answer, output_of, raise_failure
from onegai.resources import Probe, machine_probe
from onegai.schema import (
    AppInfo,
    Applied,
    Document,
    FileForm,
    FunctionInfo,
    GpuStatus,
    Job,
    JobEvent,
    MemoryStatus,
    Plan,
    Problem,
    ServiceStatus,
    State,
    StatusReport,
)
from onegai.sdk.context import CallContext, Services, Transport, open_transport
from onegai.settings import Settings
from onegai.sources import Sources, roots
from onegai.supervisor.leases import Lease
from onegai.supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)

SIZE_SECONDS = 60.0

CHANGES = frozenset({"install", "update", "uninstall"})
"""Kinds of jobs that change an app's folder."""

_INSTALL_STATES = {
    InstallState.ABSENT: State.ABSENT,
    InstallState.INSTALLING: State.INSTALLING,
    InstallState.BROKEN: State.FAILED,
    InstallState.INSTALLED: State.STOPPED,
}


class Engine:
    """One home's apps. An async context manager; leaving stops every service."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        *,
        probe: Probe | None = None,
        problems: Iterable[Problem] = (),
        arguments: Mapping[str, Any] | None = None,
        refused: AddressRule = refuse_this_machine,
    ) -> None:
        """``settings`` and their ``problems`` were made by ``arguments``, which win over files."""
        self.home = home
        self._jobs = Jobs()
        self._home_files = HomeFiles(home, settings, problems, arguments)
        self.links = Links()
        self.files = FileStore(home.files, self.links)
        self.calls = Calls(
            home, self._jobs, self.files, lambda: self._sources, lambda: self._catalog
        )
        self._sources = Sources(
            roots(settings.file_roots), settings.max_upload, self.calls.file_of_job, refused
        )
        self._plugins: Plugins
        self._problem_sources: list[Callable[[], Iterable[Problem]]] = []
        self._editing = asyncio.Lock()
        self._sizes: dict[str, tuple[float, DiskUsage]] = {}
        self._installer = Installer(home)
        self._supervisor = Supervisor(
            home,
            self._catalog,
            probe or machine_probe(),
            settings,
            self.calls,
        )
        self.transport: Transport
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._plugins = Plugins(self.home, self._catalog.specs)
        await self._installer.recover(self._catalog.specs)
        await asyncio.to_thread(sweep, self.home.uploads)
        await self._stack.enter_async_context(self.files)
        self._stack.callback(self.calls.close)
        self.transport = await self._stack.enter_async_context(open_transport())
        self.calls.open(self._plugins, self._supervisor, self.transport)
        await self._stack.enter_async_context(self._supervisor)
        await self._stack.enter_async_context(self._jobs)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def settings(self) -> Settings:
        """The settings in effect."""
        return self._home_files.settings

    @property
    def _catalog(self) -> Catalog:
        return self._home_files.catalog

    def refresh(self) -> None:
        """Read config.json and the entries again if one of the files has changed."""
        if self._home_files.refresh():
            log.info("config.json or services.json has changed: read again")
            self._sources = replace(self._sources, roots=roots(self.settings.file_roots))
            self._plugins.adopt(self._catalog.specs)
            self._supervisor.adopt(self._catalog, self.settings)

    @property
    def specs(self) -> Mapping[str, AppSpec]:
        """The usable entries of services.json, by app."""
        return self._catalog.specs

    @property
    def services(self) -> Services:
        """What handles need."""
        return self._supervisor

    # --- config.json and the entries --------------------------------------------------------

    async def config_document(self) -> Document:
        """What config.json holds, without its secrets. Raises UnreadableFile."""
        return await asyncio.to_thread(editing.config_document, self.home)

    async def services_document(self) -> Document:
        """The entries of all apps, without secrets. Raises UnreadableFile."""
        return await asyncio.to_thread(editing.services_document, self.home)

    async def replace_config(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make config.json hold this, and heed it. Raises as ``editing.replace_config``."""
        async with self._editing:
            change = await asyncio.to_thread(
                editing.replace_config, self.home, content, if_match, self._home_files.check
            )
            self.refresh()
            return effects.of_config(change, self._home_files, self._supervisor.outdated())

    async def replace_services(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make the entries be these, and heed them. Raises as ``editing.replace_services``."""
        async with self._editing:
            change = await asyncio.to_thread(
                editing.replace_services, self.home, content, if_match, self.settings.apps
            )
            self.refresh()
            return effects.of_services(change, self._home_files, self._supervisor.outdated())

    # --- apps ------------------------------------------------------------------------------

    async def apps(self) -> dict[str, AppInfo]:
        """Every app by name, the broken entries too. Measures folders, so it may take a while."""
        known = [await self._app_info(spec) for spec in self._catalog.specs.values()]
        broken = [
            AppInfo(
                app=app,
                active=False,
                installed=False,
                installable=False,
                state=State.FAILED,
                problems=self._catalog.problems_of(app),
            )
            for app in self._catalog.broken
        ]
        return {info.app: info for info in sorted(known + broken, key=lambda info: info.app)}

    async def install(self, app: str, *, wait: bool = False) -> Job:
        """Begin to install, or join the install that runs."""
        spec = self._spec(app)

        async def work(report: Report) -> Any:
            return await self._installer.install(spec, report)

        return await self._change("install", spec, work, wait, check=self._installer.check)

    async def update(self, app: str, *, force: bool = False, wait: bool = False) -> Job:
        """Install again beside the app that is there, which comes back if that fails.

        Its service is stopped first, after the calls in flight, unless ``force``.
        """
        spec = self._spec(app)

        async def work(report: Report) -> Any:
            async with self._at_rest(app, force):
                return await self._installer.update(spec, report)

        return await self._change("update", spec, work, wait, check=self._installer.check_update)

    async def uninstall(
        self, app: str, *, purge: bool = False, force: bool = False, wait: bool = False
    ) -> Job:
        """Stop the service and remove apps/{app}, except data folders unless ``purge``."""
        spec = self._spec(app)

        async def work(report: Report) -> Any:
            async with self._at_rest(app, force):
                return await self._installer.uninstall(spec, purge, report)

        return await self._change("uninstall", spec, work, wait, variant=purge)

    async def _change(
        self,
        kind: str,
        spec: AppSpec,
        work: Work,
        wait: bool,
        *,
        check: Callable[[AppSpec], None] = lambda _spec: None,
        variant: object = None,
    ) -> Job:
        """One change of an app's folder at a time; ``check`` raises why it need not be tried."""
        job = self._jobs.running(kind, spec.app, excluding=CHANGES, variant=variant)
        if job is None:
            check(spec)
            job = self._jobs.submit(kind, spec.app, self._measured(spec, work), variant=variant)
        if wait:
            job = await self._jobs.wait(job.id)
            raise_failure(job)
        return job

    def _measured(self, spec: AppSpec, work: Work) -> Work:
        """The work, after which the app's folder is measured anew."""

        async def measured_anew(report: Report) -> Any:
            try:
                return await work(report)
            finally:
                self._sizes.pop(spec.app, None)

        return measured_anew

    def _at_rest(self, app: str, force: bool) -> AbstractAsyncContextManager[None]:
        if app in self._supervisor:
            return self._supervisor[app].at_rest(force)
        return nullcontext()

    # --- jobs ------------------------------------------------------------------------------

    async def jobs(self) -> list[Job]:
        """The jobs of this run, newest first."""
        return self._jobs.all()

    async def job(self, job_id: str) -> Job:
        """One job. Raises UnknownJob."""
        return self._jobs.get(job_id)

    def events(self, job_id: str, *, after: int = 0) -> AsyncGenerator[JobEvent, None]:
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
        spec = self._active(app)
        check_installed(self.home, spec)
        if not spec.has_service:
            raise NoService(app=app)
        service = self._supervisor[app]
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
            names = list(self._supervisor.running())
        else:
            spec = self._spec(app)
            if not spec.has_service:
                raise NoService(app=app)
            names = [app]
        services = [self._supervisor[name] for name in names]
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(service.stop(force))
        return [service.status() for service in services]

    async def plan(self, app: str) -> Plan:
        """What a start would do now: evict whom, wait for whom, or why it is impossible."""
        spec = self._active(app)
        if not spec.has_service:
            raise NoService(app=app)
        return await self._supervisor.plan(app)

    async def status(self) -> StatusReport:
        """All services, the machine's memory, and everything that is wrong."""
        memory = await self._supervisor.memory()
        services = [self._with_calls(status) for status in self._supervisor.statuses(memory)]
        gpus = None
        if memory.gpus is not None:
            gpus = [
                GpuStatus(
                    index=gpu.index,
                    name=gpu.name,
                    total=gpu.total,
                    free=gpu.free,
                    others=self._supervisor.used_by_others(gpu, services),
                )
                for gpu in memory.gpus
            ]
        return StatusReport(
            services=services,
            memory=MemoryStatus(
                gpus=gpus,
                ram_total=memory.ram_total,
                ram_free=memory.ram_free,
                fake=memory.fake,
            ),
            problems=self.problems(),
        )

    def _with_calls(self, status: ServiceStatus) -> ServiceStatus:
        turns = self.calls.turns(status.app)
        status.calls, status.queued = turns.running, turns.queued
        return status

    def problems(self) -> list[Problem]:
        """What is wrong with config.json, services.json and the func files."""
        plugins = [plugin.problem for plugin in self._plugins.all().values() if plugin.problem]
        others = [problem for source in self._problem_sources for problem in source()]
        return [*self._home_files.problems, *plugins, *others]

    def watch_problems(self, source: Callable[[], Iterable[Problem]]) -> None:
        """Have ``problems`` ask this, too: for what lies above the engine (api files)."""
        self._problem_sources.append(source)

    async def logs(self, app: str, tail: int = 200) -> str:
        """The last lines of the service's log."""
        return "".join(f"{line}\n" for line in self._log(app).tail(tail))

    def log_follow(self, app: str, tail: int = 200) -> AsyncGenerator[str, None]:
        """The last lines, then new ones until the caller stops."""
        return self._log(app).follow(tail)

    async def hold(self, app: str) -> Lease:
        """A lease for somebody else's requests; starts the service. The caller releases it."""
        spec = self._active(app)
        check_installed(self.home, spec)
        return await self._supervisor.lease(app)

    # --- calls -----------------------------------------------------------------------------

    def functions(self) -> dict[str, Mapping[str, Function]]:
        """Per app that is active: what can be called."""
        return {
            app: plugin.functions
            for app, plugin in self._plugins.all().items()
            if self._catalog.specs[app].active and plugin.functions
        }

    def function(self, app: str, name: str) -> Function:
        """One function. Raises what is wrong with its app, or that there is no such function."""
        spec = self._active(app)
        found = self._function(app, name)
        check_installed(self.home, spec)
        return found

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
        called = self.function(app, function)
        arguments = called.arguments(app, given)
        return await self.calls.call(self._active(app), called, arguments, files, workspace)

    async def submit(
        self,
        app: str,
        function: str,
        arguments: Any,
        *,
        files: FileForm = "url",
        workspace: Workspace | None = None,
    ) -> Job:
        """As ``call``, as a job: only wrong arguments are raised here."""
        called = self.function(app, function)
        checked = called.arguments(app, arguments)
        return self.calls.submit(self._active(app), called, checked, files, workspace)

    def described(self, app: str, function: str) -> Function:
        """One function, whether its app is installed or not. Raises that there is none."""
        self._active(app)
        return self._function(app, function)

    async def schema(self, app: str, function: str) -> dict[str, Any] | None:
        """JSON Schema of a function's arguments; None where there is no such function."""
        called = self.functions().get(app, {}).get(function)
        return None if called is None else called.schema()

    async def answer(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Answer:
        """``call``, and its outcome as a server would answer it."""
        outcome = await self.call(app, function, dict(arguments), files=files)
        content = outcome.body.content
        if outcome.envelope:
            content = enveloped(content, outcome.detail_json)
        return Answer.of(function, content, outcome.body.media_type)

    async def result(self, job: Job) -> Answer:
        """What a job has answered, for an hour after its end. Raises its error, and JobNotDone."""
        return await self.calls.answer_of(job)

    def call_context(self, app: str) -> CallContext:
        """The surroundings of one call of a function of ``app``. From any thread."""
        spec = self._active(app)
        return self.calls.context(spec, spec.call_timeout)

    # --- looking things up -----------------------------------------------------------------

    def _spec(self, app: str) -> AppSpec:
        spec = self._catalog.specs.get(app)
        if spec is not None:
            return spec
        if (problem := self._catalog.broken.get(app)) is not None:
            reason = f"{problem.key}: {problem.reason}" if problem.key else problem.reason
            raise BrokenEntry(app=app, reason=reason, file=problem.file)
        names = ", ".join(sorted(self._catalog.specs))
        raise UnknownApp(
            app=app, do=f"the apps are: {names}" if names else "services.json is empty"
        )

    def _active(self, app: str) -> AppSpec:
        spec = self._spec(app)
        if not spec.active:
            raise Inactive(app=app)
        return spec

    def _function(self, app: str, name: str) -> Function:
        plugin = self._plugins[app]
        function = plugin.functions.get(name)
        if function is None:
            if (problem := plugin.problem) is not None:
                raise BrokenPlugin(file=problem.file, line=problem.line, reason=problem.reason)
            names = ", ".join(plugin.functions)
            do = f"it has: {names}" if names else f"write it in func/{app}.py"
            raise UnknownFunction(app=app, function=name, do=do)
        return function

    def _log(self, app: str) -> LogFile:
        if not self._spec(app).has_service:
            raise NoService(app=app)
        return self._supervisor[app].log

    async def _usage(self, app: str) -> DiskUsage:
        """As it was at most a minute ago: a walk through a large app takes a while."""
        measured, usage = self._sizes.get(app, (float("-inf"), DiskUsage(0, 0)))
        if time.monotonic() - measured > SIZE_SECONDS or usage.size == 0:
            usage = await asyncio.to_thread(disk_usage, self.home, app)
            self._sizes[app] = (time.monotonic(), usage)
        return usage

    async def _app_info(self, spec: AppSpec) -> AppInfo:
        app = spec.app
        plugin = self._plugins[app]
        installed = install_state(self.home, spec)
        usage = await self._usage(app)
        if app in self._supervisor:
            state = self._supervisor[app].state
        else:
            state = _INSTALL_STATES[installed]
        return AppInfo(
            app=app,
            title=spec.title,
            about=spec.about,
            type=spec.type,
            active=spec.active,
            installed=installed is InstallState.INSTALLED,
            installable=self.home.install_script(app).is_file(),
            by_hand=made_by_hand(self.home, spec),
            state=state,
            size=usage.size,
            shared=usage.shared,
            functions=[
                FunctionInfo(name=name, summary=function.summary, derived=function.derived)
                for name, function in plugin.functions.items()
            ],
            problems=[
                *self._catalog.problems_of(app),
                *([plugin.problem] if plugin.problem else []),
                *remarks(self.home, spec),
            ],
        )
