"""All services of a home, and the question whether there is memory for one more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Self

import aiohttp

from onegai import policy
from onegai.catalog import AppSpec, Catalog
from onegai.errors import AppError, NoGpu, NoService, NotEnoughMemory, UnknownApp
from onegai.home import Home
from onegai.resources import Memory, Probe
from onegai.schema import ServiceStatus
from onegai.supervisor.leases import Lease
from onegai.supervisor.service import Loader, Service


class Supervisor:
    """Owns one ``Service`` per app that has one. An async context manager; leaving stops all."""

    def __init__(
        self, home: Home, catalog: Catalog, probe: Probe, headroom_gb: float, load: Loader
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._probe = probe
        self._headroom = round(headroom_gb * 1024)
        self._load = load
        self._http: aiohttp.ClientSession
        self._owners: asyncio.TaskGroup
        self._services: dict[str, Service] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # Readiness probes follow no proxy and keep no connection: a child may be gone at any time.
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        )
        self._owners = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._stack.callback(lambda: [task.cancel() for task in self._tasks.values()])
        self.adopt(self._catalog, self._headroom / 1024)
        self._stack.push_async_callback(self._close_all)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def adopt(self, catalog: Catalog, headroom_gb: float) -> None:
        """Be the supervisor of these entries. What runs goes on as it was started.

        The service of an app that is no longer there is stopped, after the calls that use it.
        """
        self._catalog = catalog
        self._headroom = round(headroom_gb * 1024)
        for spec in catalog.specs.values():
            if spec.has_service and spec.app in self._services:
                self._services[spec.app].adopt(spec)
            elif spec.has_service:
                self._add(spec)
        for app in self._services.keys() - self._leaving:
            if not self._wanted(app):
                self._leaving.add(app)
                self._owners.create_task(self._see_off(app), name=f"end of {app}")

    def _add(self, spec: AppSpec) -> None:
        service = Service(self._home, spec, admit=self._admit, load=self._load, http=self._http)
        self._services[spec.app] = service
        run = self._owners.create_task(service.run(), name=f"owner of {spec.app}")
        self._tasks[spec.app] = run

    def _wanted(self, app: str) -> bool:
        spec = self._catalog.specs.get(app)
        return spec is not None and spec.has_service

    async def _see_off(self, app: str) -> None:
        """The end of a service, unless its entry has come back meanwhile."""
        await self._services[app].stop()
        self._leaving.discard(app)
        if not self._wanted(app):
            self._tasks.pop(app).cancel()
            del self._services[app]

    def __contains__(self, app: str) -> bool:
        return app in self._services

    def __getitem__(self, app: str) -> Service:
        return self._services[app]

    def statuses(self) -> list[ServiceStatus]:
        """A snapshot of every service, by name. Some milliseconds of /proc."""
        return [self._services[app].status() for app in sorted(self._services)]

    def outdated(self) -> dict[str, list[str]]:
        """Per running app that has been changed: the keys that wait for its restart."""
        found = {app: service.outdated for app, service in self._services.items()}
        return {app: keys for app, keys in found.items() if keys}

    def running(self) -> Iterable[str]:
        """The apps whose service is up or coming up."""
        return [app for app, service in self._services.items() if service.alive]

    async def memory(self) -> Memory:
        """One reading of the machine, off the event loop."""
        return await asyncio.to_thread(self._probe.read)

    # The SDK's view (sdk.Services):

    def try_lease(self, app: str) -> Lease | None:
        """A lease if the service is ready right now. From any thread."""
        service = self._services.get(app)
        return service.try_lease() if service is not None else None

    async def lease(self, app: str) -> Lease:
        """A lease; starts the service if needed. Raises UnknownApp, NoService."""
        if not self._wanted(app):
            if app in self._catalog.specs:
                raise NoService(app=app)
            names = ", ".join(sorted(self._services))
            raise UnknownApp(app=app, do=f"the apps with a service are: {names}")
        return await self._services[app].lease()

    async def why_lost(self, app: str, reason: str) -> AppError:
        """The error for a request to ``app`` whose connection broke."""
        return await self._services[app].why_lost(reason)

    async def _admit(self, spec: AppSpec) -> policy.Start:
        need = policy.Need(vram=spec.vram_mib, ram=spec.ram_mib)
        if not (need.vram or need.ram):
            return policy.Start()
        decision = policy.admit(need, await self.memory(), self._headroom)
        if isinstance(decision, policy.Start):
            return decision
        if decision.kind == "gpu":
            raise NoGpu(app=spec.app, need_gb=decision.need / 1024)
        raise NotEnoughMemory(
            app=spec.app,
            kind=decision.kind,
            key=decision.kind.lower(),
            need_gb=decision.need / 1024,
            free_gb=decision.free / 1024,
            total_gb=decision.total / 1024,
            detail={"need": decision.need, "free": decision.free, "total": decision.total},
        )

    async def _close_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for service in self._services.values():
                group.create_task(service.close())
