"""The composition root: everything OneGAI does, without HTTP. It is a ``protocol.Engine``."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import replace
from typing import Any, Self

from onegai import editing, effects
from onegai.catalog import AppSpec, Catalog
from onegai.errors import (
    BadRequest,
    BrokenEntry,
    BrokenPlugin,
    CallTimeout,
    FunctionFailed,
    Inactive,
    NoService,
    OneGAIError,
    UnknownApp,
    UnknownFunction,
)
from onegai.fetch import AddressRule, refuse_this_machine
from onegai.files import File, Workspace, suffix_of, sweep
from onegai.filestore import FileStore
from onegai.functions import Function, Keep, Outcome, enveloped, json_bytes
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
from onegai.jobs import CallResult, Jobs, Report, Work
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
    Problem,
    ServiceStatus,
    State,
    StatusReport,
)
from onegai.sdk.context import CallContext, Services, Transport, open_transport
from onegai.sdk.handles import declares_handle
from onegai.settings import Settings
from onegai.sources import Sources, roots
from onegai.supervisor.leases import Lease
from onegai.supervisor.readiness import CAP_FACTOR
from onegai.supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)

SYNC_CALLS = 64
"""Sync functions that can run at once; the next one waits for a thread."""

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
        self._sources = Sources(
            roots(settings.file_roots), settings.max_upload, self.file_of_job, refused
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
            settings.vram_headroom,
            self._load_model,
        )
        self._threads = ThreadPoolExecutor(SYNC_CALLS, thread_name_prefix="call")
        self.transport: Transport
        self._loop: asyncio.AbstractEventLoop
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._plugins = Plugins(self.home, self._catalog.specs)
        await self._installer.recover(self._catalog.specs)
        await asyncio.to_thread(sweep, self.home.uploads)
        await self._stack.enter_async_context(self.files)
        self._stack.callback(self._threads.shutdown, wait=False, cancel_futures=True)
        self.transport = await self._stack.enter_async_context(open_transport())
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
            self._supervisor.adopt(self._catalog, self.settings.vram_headroom)

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
            await service.ready(by_hand=True)
        else:
            service.want()
        return await asyncio.to_thread(service.status)

    async def stop(self, app: str, *, force: bool = False) -> list[ServiceStatus]:
        """Have the service stopped; ``"*"`` stops all. Waits for calls, unless ``force``."""
        if app == "*":
            names = list(self._supervisor.running())
        else:
            spec = self._spec(app)
            if not spec.has_service:
                raise NoService(app=app)
            names = [app]
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._supervisor[name].stop(force))
        return [self._supervisor[name].status() for name in names]

    async def status(self) -> StatusReport:
        """All services, the machine's memory, and everything that is wrong."""
        memory = await self._supervisor.memory()
        gpus = memory.gpus
        return StatusReport(
            services=self._supervisor.statuses(),
            memory=MemoryStatus(
                gpus=None
                if gpus is None
                else [
                    GpuStatus(index=gpu.index, name=gpu.name, total=gpu.total, free=gpu.free)
                    for gpu in gpus
                ],
                ram_total=memory.ram_total,
                ram_free=memory.ram_free,
                fake=memory.fake,
            ),
            problems=self.problems(),
        )

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

    def workspace(self) -> Workspace:
        """A place for the files that come with a call."""
        return Workspace(self.home.uploads)

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
        return await self._call(app, called, called.arguments(app, given), files, workspace)

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
        place = workspace or self.workspace()

        async def work(_report: Report) -> CallResult:
            outcome = await self._call(app, called, checked, files, place)
            return await asyncio.to_thread(self._call_result, app, called, outcome)

        return self._jobs.call(app, function, work, place.close)

    def _call_result(self, app: str, function: Function, outcome: Outcome) -> CallResult:
        body = outcome.file or outcome.body
        name = f"{app}-{function.name}{suffix_of(body.media_type)}"
        file = File(body.content, name, body.media_type)
        kept = self.files.keep(file, body.media_type)
        detail = outcome.detail_json if outcome.envelope else None
        return CallResult(kept, detail, base64=outcome.file is not None)

    def call_result(self, job_id: str) -> CallResult | None:
        """What a call gave; None for a job of another kind. Raises its error, and JobNotDone."""
        found = self._jobs.answer(job_id)
        if found is None:
            raise_failure(self._jobs.get(job_id))
        return found

    def content(self, result: CallResult) -> bytes:
        """What the direct answer would have had, or had in its envelope. Raises UnknownFile."""
        kept = self.files.find(result.kept.id, result.kept.name)
        content = self.files.path(kept).read_bytes()
        return b'"' + base64.b64encode(content) + b'"' if result.base64 else content

    def file_of_job(self, job_id: str) -> File:
        """The result of a job as a file. Raises UnknownJob, JobNotDone, BadRequest, UnknownFile."""
        answer = self._jobs.answer(job_id)
        if answer is None:
            job = self._jobs.get(job_id)
            reason = f"the job {job_id} gave no result"
            if job.error is not None:
                reason += f": {job.error['message']}"
            raise BadRequest(reason=reason, do="name a job that called a function and is done")
        kept = self.files.find(answer.kept.id, answer.kept.name)
        return File(self.files.path(kept), kept.name, kept.media_type)

    async def _call(
        self,
        app: str,
        called: Function,
        arguments: Any,
        files: FileForm,
        workspace: Workspace | None,
    ) -> Outcome:
        spec = self._active(app)
        context = self._context(app, spec.call_timeout, workspace)

        def keep(file: File) -> dict[str, Any]:
            return self.files.entry(file, files)

        with context.active():
            try:
                async with asyncio.timeout(spec.call_timeout):
                    if called.takes_files:
                        await context.fetch_files(arguments)
                    if spec.has_service and not declares_handle(self._plugins[app].module, app):
                        context.pinned[app] = await self._supervisor.lease(app)
                    return await self._run(app, called, arguments, keep)
            except TimeoutError:
                raise CallTimeout(app=app, seconds=spec.call_timeout) from None

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
        found = self.call_result(job.id)
        if found is None:
            content = enveloped(json_bytes(self._jobs.get(job.id)), b"{}")
            return Answer.of("", content, "application/json")
        content = await asyncio.to_thread(self.content, found)
        if found.detail is None:
            return Answer.of(job.function, content, found.kept.media_type)
        return Answer.of(job.function, enveloped(content, found.detail), "application/json")

    async def _run(
        self, app: str, function: Function, arguments: Any, keep: Keep | None = None
    ) -> Outcome:
        try:
            if function.is_async:
                result = await function.call(arguments)
                return await asyncio.to_thread(function.outcome, result, keep)
            surroundings = contextvars.copy_context()
            return await self._loop.run_in_executor(
                self._threads, lambda: surroundings.run(_call_in_thread, function, arguments, keep)
            )
        except OneGAIError:
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise self._failed(app, function, error) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the function is the user's code
            raise self._failed(app, function, error) from None

    def _failed(self, app: str, function: Function, error: BaseException) -> FunctionFailed:
        """The error to answer with; the traceback goes to the log only."""
        log.error("%s/%s failed", app, function.name, exc_info=error)
        return FunctionFailed(
            app=app,
            function=function.name,
            reason=f"{type(error).__name__}: {error}",
            log=self.home.relative(self.home.logs / "onegai.log"),
        )

    async def _load_model(self, spec: AppSpec, url: str) -> None:
        """The app's ``load``, before its service counts as ready; speaks to it without a lease."""
        load = self._plugins[spec.app].functions.get("load")
        if load is None:
            return
        seconds = spec.start_timeout * CAP_FACTOR
        context = self._context(spec.app, seconds)
        context.granted[spec.app] = url
        with context.active():
            async with asyncio.timeout(seconds):
                await self._run(spec.app, load, load.arguments(spec.app, {}))

    def call_context(self, app: str) -> CallContext:
        """The surroundings of one call of a function of ``app``. From any thread."""
        spec = self._active(app)
        return self._context(app, spec.call_timeout)

    def _context(self, app: str, seconds: float, workspace: Workspace | None = None) -> CallContext:
        return CallContext(
            app=app,
            services=self._supervisor,
            transport=self.transport,
            sources=self._sources,
            workspace=workspace or self.workspace(),
            loop=self._loop,
            deadline=time.monotonic() + seconds,
            seconds=seconds,
            settings=self._catalog.own_settings,
        )

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


def _call_in_thread(function: Function, arguments: Any, keep: Keep | None) -> Outcome:
    try:
        return function.outcome(function.call(arguments), keep)
    except StopIteration as error:
        # A future cannot carry it (PEP 479 has the same reason).
        raise RuntimeError("StopIteration") from error
