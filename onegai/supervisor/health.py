"""Does a ready service still answer? Looked at now and then, and told; nothing is done about it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import aiohttp

from onegai.config.entry import AppSpec
from onegai.supervisor import readiness
from onegai.supervisor.leases import Gate

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Between two looks while it is in use."""
IDLE_SECONDS = 600.0
"""While it is idle: each look may be a line in its log."""
AGAIN_SECONDS = 5.0
"""Between two looks while it does not answer."""
ANSWER_SECONDS = 10.0
"""How long an answer may take."""
LOOKS = 3
"""So many in a row without an answer: it is unresponsive."""


class Health:
    """One service's. Belongs to the event loop's thread."""

    def __init__(self, entry: Callable[[], AppSpec], http: aiohttp.ClientSession) -> None:
        self.silent_since: float | None = None
        """When an unresponsive service was first found silent; None: it is not unresponsive."""
        self._entry = entry
        self._http = http

    async def watch(self, gate: Gate) -> None:
        """Look, for as long as it is ready; this holds nothing, and does not count as use.

        Only one with an HTTP health check is looked at: a port stays open though nobody is there.
        A service elsewhere is not, as it may belong to somebody else.
        """
        missed, first_missed, looked = 0, 0.0, time.monotonic()
        try:
            while True:
                await asyncio.sleep(AGAIN_SECONDS if missed else LOOK_SECONDS)
                spec = self._entry()
                pause = IDLE_SECONDS if not (missed or gate.inside) else 0.0
                if spec.url is not None or not spec.ready.http:
                    continue
                if time.monotonic() - looked < pause:
                    continue
                looked, begun = time.monotonic(), time.time()
                if await readiness.answers(spec, self._http, ANSWER_SECONDS):
                    if self.silent_since is not None:
                        log.info("%s: answers again", spec.app)
                    missed, self.silent_since = 0, None
                    continue
                missed += 1
                first_missed = begun if missed == 1 else first_missed
                if missed == LOOKS:
                    self.silent_since = first_missed
                    log.warning("%s: does not answer GET %s any more", spec.app, spec.ready.http)
        finally:
            self.silent_since = None
