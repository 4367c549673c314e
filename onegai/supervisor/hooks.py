"""What an app can do about its own memory: its ``load``, ``unload`` and ``release``."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import aiohttp

from onegai.config.entry import AppSpec
from onegai.errors import OneGAIError, ReleaseFailed
from onegai.supervisor.asking import Asking
from onegai.supervisor.interrupts import first
from onegai.supervisor.life import Life, Order

log = logging.getLogger(__name__)

RELEASE_SECONDS = 60.0


class Hooks(Protocol):
    """The app's own ``load`` and ``unload`` functions; called without a lease."""

    async def load(self, spec: AppSpec, url: str) -> None:
        """Load the model of the service at that URL; part of becoming ready."""
        ...

    async def unload(self, spec: AppSpec, url: str) -> None:
        """Free the model."""
        ...

    def can_unload(self, app: str) -> bool:
        """Is there such a function?"""
        ...


def knows_release(spec: AppSpec, hooks: Hooks) -> bool:
    """Can it free its VRAM without being stopped?"""
    return spec.release is not None or hooks.can_unload(spec.app)


async def release(spec: AppSpec, url: str, hooks: Hooks, asking: Asking) -> None:
    """Have it free its VRAM: by its ``release`` request, else by its ``unload``.

    Raises ReleaseFailed, KeyMissing, and what ``unload`` raises.
    """
    app, how = spec.app, spec.release
    if how is None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await hooks.unload(spec, url)
        except TimeoutError:
            reason = f"unload takes over {RELEASE_SECONDS:g} s"
            raise ReleaseFailed(app=app, reason=reason) from None
        return
    try:
        async with asking.let_in(app, "POST", url + how.post, RELEASE_SECONDS, how.body) as answer:
            if answer.status >= 300:
                raise ReleaseFailed(app=app, reason=f"{how.post} answers {answer.status}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = asking.access(app).hidden(str(error) or "no answer")
        raise ReleaseFailed(app=app, reason=f"{how.post}: {why}") from None


async def before_stop(spec: AppSpec, life: Life, hooks: Hooks) -> None:
    """Its ``unload`` before the signals, for those that have more to free than memory."""
    if not hooks.can_unload(spec.app):
        return
    try:
        async with asyncio.timeout(spec.stop_timeout):
            unload = hooks.unload(spec, life.run.url)
            if await first(unload=unload, broken=life.told(Order.BREAK)) == "broken":
                log.warning("%s: its unload was cut short", spec.app)
    except (TimeoutError, OneGAIError) as error:
        log.warning("%s: its unload did not end well: %s", spec.app, error)
