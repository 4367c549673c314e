"""The apps as they lie on disk: what there is of each, and installing, updating, removing it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any

from onegai.apps.disk import DiskUsage, disk_usage
from onegai.apps.installed import InstallState, data_folders, install_state, made_by_hand, remarks
from onegai.apps.installer import Installer
from onegai.calls.jobs import Jobs, Report, Work
from onegai.config.catalog import Catalog
from onegai.config.current import Current
from onegai.config.entry import APP_NAME, AppSpec
from onegai.errors import EntryGone, OneGAIError
from onegai.functions.function import Function
from onegai.functions.functions import Functions
from onegai.protocol import raise_failure
from onegai.schema import AppInfo, FunctionSummary, Job, Problem, State
from onegai.supervisor.supervisor import Supervisor
from onegai.threads import in_writer

SIZE_SECONDS = 60.0

CHANGES = frozenset({"install", "update", "uninstall"})
"""Kinds of jobs that change an app's folder."""

_STATES = {
    InstallState.ABSENT: State.ABSENT,
    InstallState.INSTALLING: State.INSTALLING,
    InstallState.BROKEN: State.FAILED,
    InstallState.INSTALLED: State.STOPPED,
}


class Apps:
    """A home's apps; what runs of them is the supervisor's."""

    def __init__(
        self, current: Current, jobs: Jobs, supervisor: Supervisor, functions: Functions
    ) -> None:
        self._home = current.home
        self._current = current
        self._jobs = jobs
        self._supervisor = supervisor
        self._functions = functions
        self._installer = Installer(current.home)
        self._sizes: dict[str, tuple[float, DiskUsage]] = {}
        self._walking = asyncio.Lock()

    async def recover(self) -> None:
        """Undo the updates that were cut off when the last engine ended."""
        await self._installer.recover(self._current.catalog.specs)

    # --- what there is ---------------------------------------------------------------------

    async def all(self) -> dict[str, AppInfo]:
        """Every app by name, the broken entries too. Measures folders, so it may take a while."""
        catalog = self._current.catalog
        known = [await self._info(catalog, spec) for spec in catalog.specs.values()]
        broken = [
            AppInfo(
                app=app,
                active=False,
                installed=False,
                installable=False,
                state=State.FAILED,
                problems=catalog.problems_of(app),
            )
            for app in catalog.broken
        ]
        gone = [
            await self._info_without_entry(app)
            for app in self._folders() - {*catalog.specs, *catalog.broken}
        ]
        found = sorted(known + broken + gone, key=lambda info: info.app)
        return {info.app: info for info in found}

    async def _info(self, catalog: Catalog, spec: AppSpec) -> AppInfo:
        app = spec.app
        installed = install_state(self._home, spec)
        usage = await self._usage(app)
        state = self._supervisor[app].state if app in self._supervisor else _STATES[installed]
        return AppInfo(
            app=app,
            title=spec.title,
            about=spec.about,
            type=spec.type,
            active=spec.active,
            installed=installed is InstallState.INSTALLED,
            installable=self._home.install_script(app).is_file(),
            by_hand=made_by_hand(self._home, spec),
            state=state,
            job=self._jobs.under_way(app, CHANGES),
            size=usage.size,
            shared=usage.shared,
            functions=_listed(self._functions.last(app).functions.values()),
            problems=[
                *catalog.problems_of(app),
                *self._functions.problems(app),
                *remarks(self._home, spec),
            ],
        )

    def _folders(self) -> set[str]:
        """Names of apps that have a folder in apps/."""
        try:
            found = {entry.name for entry in os.scandir(self._home.apps) if entry.is_dir()}
        except OSError:
            return set()
        return {name for name in found if APP_NAME.fullmatch(name)}

    async def _info_without_entry(self, app: str) -> AppInfo:
        usage = await self._usage(app)
        error = EntryGone(app=app)
        problem = Problem(app=app, file=f"apps/{app}", reason=error.message, remark=True)
        return AppInfo(
            app=app,
            active=False,
            installed=False,
            installable=False,
            state=State.ABSENT,
            job=self._jobs.under_way(app, CHANGES),
            size=usage.size,
            shared=usage.shared,
            problems=[problem],
        )

    async def _usage(self, app: str) -> DiskUsage:
        """As it was at most a minute ago: a walk through a large app takes a while.

        One walk at a time, whoever asks, so that walks do not take all of the common threads.
        """
        async with self._walking:
            measured, usage = self._sizes.get(app, (float("-inf"), DiskUsage(0, 0)))
            if time.monotonic() - measured > SIZE_SECONDS or usage.size == 0:
                usage = await asyncio.to_thread(disk_usage, self._home, app)
                self._sizes[app] = (time.monotonic(), usage)
            return usage

    # --- install life ----------------------------------------------------------------------

    async def install(self, app: str, *, wait: bool = False) -> Job:
        """Begin to install, or join the install that runs. What was made by hand is updated."""
        spec = self._current.catalog.spec(app)

        async def work(report: Report) -> Any:
            if not made_by_hand(self._home, spec):
                done = await self._installer.install(spec, report)
            else:
                async with self._at_rest(app, force=False):
                    done = await self._installer.update(spec, report)
            await self._ask(spec, report)
            return done

        check = partial(self._installer.check, spec)
        return await self._change("install", app, work, wait, check=check)

    async def update(self, app: str, *, force: bool = False, wait: bool = False) -> Job:
        """Install again beside the app that is there, which comes back if that fails.

        Its service is stopped first, after the calls in flight, unless ``force``.
        """
        spec = self._current.catalog.spec(app)

        async def work(report: Report) -> Any:
            async with self._at_rest(app, force):
                return await self._installer.update(spec, report)

        check = partial(self._installer.check_update, spec)
        return await self._change("update", app, work, wait, check=check)

    async def uninstall(
        self, app: str, *, purge: bool = False, force: bool = False, wait: bool = False
    ) -> Job:
        """Stop the service and remove apps/{app}, except data folders unless ``purge``.

        Raises EntryGone, where nobody knows what is data.
        """
        catalog = self._current.catalog
        unknown = app not in catalog.specs and app in self._folders()
        if unknown and app not in catalog.broken and not purge:
            raise EntryGone(app=app)
        keep = [] if unknown and purge else data_folders(catalog.spec(app))

        async def work(report: Report) -> Any:
            async with self._at_rest(app, force):
                done = await self._installer.uninstall(app, [] if purge else keep, report)
            await in_writer(self._functions.forget, app)
            return done

        return await self._change("uninstall", app, work, wait, variant=purge)

    async def _ask(self, spec: AppSpec, report: Report) -> None:
        """Have an app that describes itself do so, to be documented before its first call.

        One that takes VRAM does that when it is started.
        """
        app = spec.app
        if spec.vram or not self._functions.last(app).unknown or app not in self._supervisor:
            return
        service = self._supervisor[app]
        rested = service.state is State.STOPPED
        report(f"==> Asking {app} what it can do")
        try:
            found = await self._functions.refresh(app, start=True)
            report(f"{app} has: {', '.join(found.functions) or 'no function'}")
        except OneGAIError as error:
            report(f"it does not tell: {error.message}")
        finally:
            if rested:
                await service.stop()

    async def _change(
        self,
        kind: str,
        app: str,
        work: Work,
        wait: bool,
        *,
        check: Callable[[], None] = lambda: None,
        variant: object = None,
    ) -> Job:
        """One change of an app's folder at a time; ``check`` raises why it need not be tried."""
        job = self._jobs.running(kind, app, excluding=CHANGES, variant=variant)
        if job is None:
            check()
            job = self._jobs.submit(kind, app, self._measured(app, work), variant=variant)
        if wait:
            job = await self._jobs.wait(job.id)
            raise_failure(job)
        return job

    def _measured(self, app: str, work: Work) -> Work:
        """The work, after which the app's folder is measured anew."""

        async def measured_anew(report: Report) -> Any:
            try:
                return await work(report)
            finally:
                self._sizes.pop(app, None)

        return measured_anew

    def _at_rest(self, app: str, force: bool) -> AbstractAsyncContextManager[None]:
        if app in self._supervisor:
            return self._supervisor[app].at_rest(force)
        return nullcontext()


def _listed(functions: Iterable[Function]) -> list[FunctionSummary]:
    return [
        FunctionSummary(
            name=function.name,
            summary=function.summary,
            derived=function.derived,
            streams=function.streams,
        )
        for function in functions
    ]
