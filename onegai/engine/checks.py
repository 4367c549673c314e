"""What is looked at before a call begins: its app, its function, its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from onegai.apps.installed import check_installed, is_installed
from onegai.config.current import Current
from onegai.config.entry import AppSpec
from onegai.files.local import as_files, has_paths
from onegai.files.workspace import Workspace
from onegai.functions.function import Function
from onegai.functions.functions import Functions
from onegai.schema import State
from onegai.supervisor.supervisor import Supervisor
from onegai.threads import in_writer


class Asked(NamedTuple):
    """A call that may begin."""

    spec: AppSpec
    function: Function
    arguments: Any


class Checks:
    """Of the calls of a home's functions."""

    def __init__(self, current: Current, functions: Functions, supervisor: Supervisor) -> None:
        self._current = current
        self._functions = functions
        self._supervisor = supervisor

    async def asked(self, app: str, name: str, given: Any) -> Asked:
        """Raises what is wrong with the app, that there is no such function, and BadArguments."""
        spec = self._current.catalog.active(app)
        function = self._functions.last(app).functions.get(name)
        if function is None:
            start = is_installed(self._current.home, spec)
            function = await self._functions.function(app, name, start=start)
            spec = self._current.catalog.active(app)
        # What runs is installed.
        if not (spec.has_service and self._supervisor[app].state is State.READY):
            check_installed(self._current.home, spec)
        if function.accepts.takes_files:  # they may be large, and are decoded
            return Asked(spec, function, await asyncio.to_thread(function.arguments, given))
        return Asked(spec, function, function.arguments(given))

    async def with_files(self, arguments: Any, workspace: Workspace | None = None) -> Any:
        """``as_files`` for arguments that have a Path."""
        if not isinstance(arguments, Mapping) or not has_paths(arguments):
            return arguments
        most = self._current.settings.max_upload
        return await in_writer(as_files, arguments, most, workspace)
