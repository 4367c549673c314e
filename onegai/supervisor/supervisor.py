"""All services of a home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self

import aiohttp

from onegai.apps.installed import Listing
from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.errors import AppError, NoService, UnknownApp
from onegai.events import Tell
from onegai.memory.policy import Occupant
from onegai.memory.probe import Gpu, Memory, Probe
from onegai.memory.profiles import Profiles
from onegai.memory.readings import Readings
from onegai.memory.sampler import Sampler
from onegai.schema import GpuStatus, MemoryStatus, Plan, ServiceStatus, StopReason
from onegai.supervisor import left
from onegai.supervisor.admission import Admission
from onegai.supervisor.asking import Asking
from onegai.supervisor.hooks import Hooks
from onegai.supervisor.leases import Lease
from onegai.supervisor.plan import plan_for
from onegai.supervisor.report import Busy, Footprint, footprints
from onegai.supervisor.run import Run
from onegai.supervisor.service import Service
from onegai.supervisor.tenancy import Tenancy
from onegai.threads import Pool


class Supervisor:
    """Owns one ``Service`` per app that has one. An async context manager.

    Leaving stops all; where ``stop_children`` is 0, those that are ready live on.
    """

    def __init__(self, current: Current, probe: Probe, hooks: Hooks) -> None:
        self._home = current.home
        self._current = current
        self._hooks = hooks
        self._asking: Asking
        self._owners: asyncio.TaskGroup
        self._services: dict[str, Service] = {}
        self._tenancies: dict[str, Tenancy] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[str] = set()
        # Memory and processes are looked at in threads of their own: neither a status nor a start
        # waits until one of the common threads is free.
        self._probing = Pool("probe", may_hang=True)
        self._looking = Pool("look", may_hang=True)
        self._sampler = Sampler(
            Profiles(self._home.profiles),
            self._occupants,
            lambda app: self._tenancies[app].run,
            self._looking,
        )
        self._readings = Readings(
            probe, lambda: self._admission.declared(), self._sampler.observe, self._probing
        )
        self._admission = Admission(self._readings, self._tenancies)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            await self._open(opened)
            self._stack = opened.pop_all()
        return self

    async def _open(self, stack: AsyncExitStack) -> None:
        for thread in (self._probing, self._looking):
            stack.callback(thread.shutdown, wait=False)
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        await stack.enter_async_context(session)
        self._asking = Asking(session, self._current.access)
        self._owners = await stack.enter_async_context(asyncio.TaskGroup())
        deciding = self._owners.create_task(self._admission.run(), name="admission")
        sampling = self._owners.create_task(self._sampler.run(self._readings.now), name="sampler")
        stack.callback(
            lambda: [task.cancel() for task in (deciding, sampling, *self._tasks.values())]
        )
        left_over = await asyncio.to_thread(left.find, self._home)
        self._adopt()
        self._current.listen(self._adopt)
        for app, found in left_over.items():
            if app in self._services:
                self._services[app].take_over(found)
            else:
                self._owners.create_task(left.end(self._home, app), name=f"end of {app}")
        stack.push_async_callback(self._close_all)
        for service in self._services.values():
            if service.spec.autostart and service.spec.active:
                service.want(may_evict=False)

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def hurry(self) -> None:
        """Kill what is being stopped, and what is going to be."""
        for service in self._services.values():
            service.hurry()

    def _adopt(self) -> None:
        """Be the supervisor of the entries as they are now. What runs goes on as it was started.

        The service of an app that is no longer there is stopped, after the calls that use it.
        """
        self._admission.headroom = round(self._current.settings.vram_headroom * 1024)
        for spec in self._current.catalog.specs.values():
            if spec.has_service and spec.app in self._services:
                self._services[spec.app].adopt(spec)
            elif spec.has_service:
                self._add(spec)
        for app in self._services.keys() - self._leaving:
            if not self._wanted(app):
                self._leaving.add(app)
                self._owners.create_task(self._see_off(app), name=f"end of {app}")

    def _add(self, spec: AppSpec) -> None:
        service = Service(
            self._home,
            spec,
            readings=self._readings,
            admission=self._admission,
            sampler=self._sampler,
            hooks=self._hooks,
            asking=self._asking,
        )
        self._services[spec.app] = service
        self._tenancies[spec.app] = service.tenancy
        run = self._owners.create_task(service.run(), name=f"owner of {spec.app}")
        self._tasks[spec.app] = run

    def _wanted(self, app: str) -> bool:
        spec = self._current.catalog.specs.get(app)
        return spec is not None and spec.has_service

    async def _see_off(self, app: str) -> None:
        """The end of a service, unless its entry has come back meanwhile."""
        await self._services[app].stop(reason=StopReason.CHANGED, text="its entry was removed")
        self._leaving.discard(app)
        if not self._wanted(app):
            self._tasks.pop(app).cancel()
            del self._services[app], self._tenancies[app]

    def _occupants(self) -> dict[str, Occupant]:
        found = {app: tenancy.occupant() for app, tenancy in self._tenancies.items()}
        return {app: one for app, one in found.items() if one is not None}

    def __contains__(self, app: str) -> bool:
        return app in self._services

    def __getitem__(self, app: str) -> Service:
        return self._services[app]

    async def statuses(self, memory: Memory, turns: Callable[[str], Busy]) -> list[ServiceStatus]:
        """A snapshot of every service, by name, with what each has of it."""
        runs = [at.run for at in self._tenancies.values() if at.run and at.run.pid is not None]
        found: Mapping[Run, Footprint] = {}
        if runs:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._looking, footprints, runs, memory.gpus or ())
        listing = Listing.of(self._home)
        named = sorted(self._services.items())
        return [service.status(found, listing, turns(app)) for app, service in named]

    def memory_status(self, memory: Memory, statuses: Sequence[ServiceStatus]) -> MemoryStatus:
        """A reading of the memory, with what is not these services'."""
        gpus = None
        if memory.gpus is not None:
            gpus = [
                GpuStatus(
                    index=gpu.index,
                    name=gpu.name,
                    total=gpu.total,
                    free=gpu.free,
                    others=self._used_by_others(gpu, statuses),
                )
                for gpu in memory.gpus
            ]
        return MemoryStatus(
            gpus=gpus,
            ram_total=memory.ram_total,
            ram_free=memory.ram_free,
            fake=memory.fake,
        )

    def _used_by_others(self, gpu: Gpu, statuses: Sequence[ServiceStatus]) -> int:
        """What programs that are no services have of it, MiB; see GpuStatus.others."""
        if gpu.by_pid is not None:
            ours = sum(status.vram_used or 0 for status in statuses if status.gpu == gpu.index)
        else:
            ours = self._admission.declared().get(gpu.index, 0)
        return max(gpu.total - gpu.free - ours, 0)

    def outdated(self) -> dict[str, list[str]]:
        """Per running app that has been changed: the keys that wait for its restart."""
        found = {app: service.outdated for app, service in self._services.items()}
        return {app: keys for app, keys in found.items() if keys}

    def running(self) -> Iterable[str]:
        """The apps whose service is up or coming up."""
        return [app for app, service in self._services.items() if service.alive]

    async def memory(self) -> Memory:
        """One reading of the machine, off the event loop."""
        return await self._readings.now()

    async def plan(self, app: str) -> Plan:
        """What a start of the app would do now. Changes nothing."""
        return await plan_for(self._services[app], self._admission)

    # The SDK's view (sdk.Services):

    def try_lease(self, app: str) -> Lease | None:
        """A lease if the service is ready right now. From any thread."""
        service = self._services.get(app) if self._wanted(app) else None
        return service.try_lease() if service is not None else None

    async def lease(
        self, app: str, holding: frozenset[str] = frozenset(), tell: Tell | None = None
    ) -> Lease:
        """A lease; starts the service if needed. Raises UnknownApp, NoService, Deadlock.

        ``holding``: the services that the caller holds already, and goes on to hold. ``tell``
        hears why it waits: ``evicting`` (``apps``: the services that make room for it, now or once
        their calls have ended) and ``starting`` (``app``).
        """
        if not self._wanted(app):
            if app in self._current.catalog.specs:
                raise NoService(app=app)
            names = ", ".join(sorted(self._services))
            raise UnknownApp(app=app, do=f"the apps with a service are: {names}")
        return await self._services[app].lease(holding, tell)

    async def why_lost(self, app: str, reason: str) -> AppError:
        """The error for a request to ``app`` whose connection broke."""
        return await self._services[app].why_lost(reason)

    async def _close_all(self) -> None:
        live_on = not self._current.settings.stop_children
        async with asyncio.TaskGroup() as group:
            for service in self._services.values():
                group.create_task(service.close(live_on=live_on))
