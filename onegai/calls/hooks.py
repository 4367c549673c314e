"""An app's own ``load`` and ``unload``: functions that the supervisor runs, not a caller."""

from __future__ import annotations

import asyncio

from onegai.calls.calls import Calls
from onegai.calls.readers import Whole
from onegai.calls.running import Held
from onegai.config.entry import CAP_FACTOR, AppSpec
from onegai.errors import CallTimeout
from onegai.functions.functions import Functions


class FunctionHooks:
    """It is ``supervisor.hooks.Hooks``. Its calls must be open when it is asked."""

    def __init__(self, calls: Calls, functions: Functions) -> None:
        self._calls = calls
        self._functions = functions

    async def load(self, spec: AppSpec, url: str) -> None:
        """The app's ``load``, if it has one, before its service counts as ready.

        Then it is asked what it can do, so that a call finds what is there in this life.
        """
        await self._run("load", spec, url)
        await self._functions.refresh(spec.app, url=url)

    async def unload(self, spec: AppSpec, url: str) -> None:
        """The app's ``unload``, if it has one."""
        await self._run("unload", spec, url)

    def can_unload(self, app: str) -> bool:
        """Has the app an ``unload``?"""
        return self._functions.has_hook(app, "unload")

    async def _run(self, name: str, spec: AppSpec, url: str) -> None:
        """Run a function against the service without a lease, in the time that a start may take."""
        function = await self._functions.hook(spec.app, name)
        if function is None:
            return
        seconds = spec.start_timeout * CAP_FACTOR
        context = self._calls.context(spec, seconds)
        context.granted[spec.app] = url
        reader = Whole(function, self._calls.limits("url"))
        with Held(context.release) as held:
            arguments = function.arguments({})
            try:
                async with asyncio.timeout(seconds):
                    await self._calls.running.run(function, arguments, context, held, reader)
            except TimeoutError:
                raise CallTimeout(app=spec.app, seconds=seconds) from None
