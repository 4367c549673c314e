"""All services of a home."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Self

import aiohttp

from onegai.catalog import Catalog
from onegai.errors import AppError, NoService, UnknownApp
from onegai.home import Home
from onegai.resources import Memory, Probe
from onegai.schema import Plan, ServiceStatus
from onegai.supervisor.admission import Admission
from onegai.supervisor.leases import Lease
from onegai.supervisor.plan import plan_for
from onegai.supervisor.service import Hooks, Service


class Supervisor:
    """Owns one ``Service`` per app that has one. An async context manager; leaving stops all."""

    def __init__(
        self, home: Home, catalog: Catalog, probe: Probe, headroom_gb: float, hooks: Hooks
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._hooks = hooks
        self._services: dict[str, Service] = {}
        self._admission = Admission(probe, round(headroom_gb * 1024), self._services)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # Readiness probes follow no proxy and keep no connection: a child may be gone at any time.
        http = await self._stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        )
        owners = await self._stack.enter_async_context(asyncio.TaskGroup())
        tasks = [owners.create_task(self._admission.run(), name="admission")]
        for spec in self._catalog.specs.values():
            if spec.has_service:
                service = Service(
                    self._home, spec, admission=self._admission, hooks=self._hooks, http=http
                )
                self._services[spec.app] = service
                tasks.append(owners.create_task(service.run(), name=f"owner of {spec.app}"))
        self._stack.callback(lambda: [task.cancel() for task in tasks])
        self._stack.push_async_callback(self._close_all)
        for service in self._services.values():
            if service.spec.autostart and service.spec.active:
                service.want()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def __contains__(self, app: str) -> bool:
        return app in self._services

    def __getitem__(self, app: str) -> Service:
        return self._services[app]

    def statuses(self) -> list[ServiceStatus]:
        """A snapshot of every service, by name. Some milliseconds of /proc."""
        return [self._services[app].status() for app in sorted(self._services)]

    def running(self) -> Iterable[str]:
        """The apps whose service is up or coming up."""
        return [app for app, service in self._services.items() if service.alive]

    async def memory(self) -> Memory:
        """One reading of the machine, off the event loop."""
        return await self._admission.memory()

    async def plan(self, app: str) -> Plan:
        """What a start of the app would do now. Changes nothing."""
        return await plan_for(self._services[app], self._admission)

    # The SDK's view (sdk.Services):

    def try_lease(self, app: str) -> Lease | None:
        """A lease if the service is ready right now. From any thread."""
        service = self._services.get(app)
        return service.try_lease() if service is not None else None

    async def lease(self, app: str, holding: frozenset[str] = frozenset()) -> Lease:
        """A lease; starts the service if needed. Raises UnknownApp, NoService, Deadlock.

        ``holding``: the services that the caller holds already, and goes on to hold.
        """
        if app not in self._services:
            if app in self._catalog.specs:
                raise NoService(app=app)
            names = ", ".join(sorted(self._services))
            raise UnknownApp(app=app, do=f"the apps with a service are: {names}")
        return await self._services[app].lease(holding)

    async def why_lost(self, app: str, reason: str) -> AppError:
        """The error for a request to ``app`` whose connection broke."""
        return await self._services[app].why_lost(reason)

    async def _close_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for service in self._services.values():
                group.create_task(service.close())
