"""The process of one life of a service: made, watched and ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress

from onegai.config.entry import AppSpec
from onegai.config.home import Home, Stamp, stamp
from onegai.errors import Died, ExitedEarly, OneGAIError, Unreachable
from onegai.process import sockets, tree
from onegai.process.child import Child
from onegai.process.logfile import LogFile
from onegai.supervisor import left, readiness
from onegai.supervisor.asking import Asking
from onegai.supervisor.command import service_command
from onegai.supervisor.interrupts import Interrupted, unless
from onegai.supervisor.left import Left

log = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 1.0
HOUSEKEEPING_SECONDS = 60.0
LOG_LINES = 20


class Run:
    """One life's process. A service with ``url`` has none: nothing is made, nothing ends."""

    def __init__(
        self,
        home: Home,
        spec: Callable[[], AppSpec],
        log_file: LogFile,
        asking: Asking,
    ) -> None:
        """``spec`` gives the entry as it is now; what a process is started with stays the same."""
        self._home = home
        self._entry = spec
        self._log = log_file
        self._log_start = log_file.end
        self._small = ExitStack()
        self._asking = asking
        self._child: Child | None = None
        self._spawning: asyncio.Future[Child] | None = None
        self._port_closed = asyncio.Event()
        self._doubted = asyncio.Event()
        self._unreachable: Unreachable | None = None
        self._noted: tuple[int | None, bool] = (None, False)
        """The GPU that it was noted with, and whether it is."""
        self._run_files: Mapping[str, Stamp | None] = {}
        self.problems: list[str] = []

    @property
    def _spec(self) -> AppSpec:
        return self._entry()

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        if self._spec.url is not None:
            return self._spec.url.rstrip("/")
        return f"http://{readiness.HOST}:{self._spec.port}"

    @property
    def elsewhere(self) -> bool:
        """It runs on another machine, or is started by somebody else: there is only its URL."""
        return self._spec.url is not None

    @property
    def pid(self) -> int | None:
        """Pid of the process that was started."""
        return self._child.pid if self._child else None

    def pids(self, census: tree.Census | None = None) -> list[int]:
        """All its processes. Some milliseconds without a ``census``. From any thread."""
        child = self._child
        return child.pids(census) if child else []

    @property
    def seen(self) -> list[int]:
        """All its processes that were seen so far."""
        return self._child.seen if self._child else []

    def take(self, left: Left) -> None:
        """Go on with what an earlier OneGAI has left, or (without a note) only ``end`` it."""
        self._small.enter_context(self._log.kept_small())
        tag, note = tree.Tag(self._spec.app, self._home.root), left.note
        self._run_files = note.run_files if note else {}
        try:
            if note is None:
                raise ProcessLookupError
            self._child = Child.adopted(note.pid, tag, handed_over=note.handed_over)
        except ProcessLookupError:
            self._child = Child.adopted(None, tag)
        self._child.moved = self._note_again

    @property
    def edited(self) -> list[str]:
        """Files of run/ that are not as they were when it was started."""
        return [
            name
            for name, before in self._run_files.items()
            if stamp(self._home.root / name) != before
        ]

    @property
    def over(self) -> bool:
        """The process has ended, or has closed its port; or nothing answers elsewhere any more."""
        return self._port_closed.is_set() or (
            self._child is not None and self._child.ended.is_set()
        )

    async def start(self, gpu: int | None) -> None:
        """Make it and wait until it answers. On failure the process is left to ``end``."""
        if self.elsewhere:
            await readiness.check_remote(self._spec, self._asking)
            return
        spec = self._spec
        await readiness.wait_for_port(spec)
        arguments, folder, environment = service_command(self._home, spec, gpu)
        tag = tree.Tag(spec.app, self._home.root)
        self._run_files = self._home.run_files(spec.app)
        self._small.enter_context(self._log.kept_small())
        self._spawning = asyncio.ensure_future(
            Child.spawn(arguments, folder, environment, self._log, tag)
        )
        # A stop in this very moment must not lose the process that is being made.
        self._child = child = await asyncio.shield(self._spawning)
        child.moved = self._note_again
        log.info("%s: started, pid %d", spec.app, child.pid)
        await self.watched(
            readiness.wait_until_ready(
                self._entry, child, self._log, self._log_start, self._asking.session
            )
        )

    async def resume(self) -> None:
        """Wait until what was taken answers, as ``start`` does."""
        if self._child is None or self._child.pid is None:
            raise Interrupted
        log.info("%s: goes on, pid %d", self._spec.app, self._child.pid)
        await self.watched(
            readiness.wait_until_ready(
                self._entry, self._child, self._log, None, self._asking.session
            )
        )

    def note(self, gpu: int | None) -> None:
        """Write down that it is ready, so that it can go on if this process is killed."""
        self._noted = gpu, True
        self._note_again()

    def _note_again(self) -> None:
        """Its pid may be another one now: a launcher has left the real service behind."""
        gpu, noted = self._noted
        if not noted or self._child is None:
            return
        try:
            left.write(self._home, self._spec, self._child, gpu, self._run_files)
        except OSError as error:
            log.warning("%s: it could not go on without this server: %s", self._spec.app, error)

    def unnote(self) -> None:
        """It is not ready any more."""
        self._noted = None, False
        if self.pid is not None:
            with suppress(OSError):
                left.forget(self._home, self._spec.app)

    def leave(self) -> None:
        """Let it live on when this process ends, with its note; it is not this one's any more."""
        if self._child is not None and not self.over:
            log.info("%s: lives on, pid %s", self._spec.app, self.pid)
            self._child.leave()
            self._child = self._spawning = None
            self._small.close()

    async def watched(self, work: Awaitable[None]) -> None:
        """Await work on a starting process; its end is noticed at once and is a failed start."""
        child = self._child
        if child is None:
            await work
            return
        try:
            await unless(child.ended, work)
        except (Interrupted, OneGAIError):
            if not child.ended.is_set():
                raise
        if child.ended.is_set():
            lines = self._log.tail(LOG_LINES, self._log_start)
            raise ExitedEarly(app=self._spec.app, how=child.how_it_ended, detail={"log": lines})

    async def ended(self) -> None:
        """Wait for its end, meanwhile watching what it listens on."""
        if self._child is None:
            await asyncio.Event().wait()
            return
        pause = FIRST_LOOK_SECONDS
        while not self._child.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._child.ended.wait()
                    return
            await asyncio.to_thread(self._look_after, self._child)
            pause = HOUSEKEEPING_SECONDS

    def doubt(self) -> None:
        """Somebody could not reach it: a service elsewhere may be gone."""
        self._doubted.set()

    async def check_port(self) -> None:
        """Somebody could not reach it: see whether it still listens."""
        if self._child is not None and await readiness.is_port_closed(self._spec.port or 0):
            self._port_closed.set()

    async def port_closed(self) -> None:
        """Wait until it is known that it has closed its port, though it lives; or that nothing
        answers any more where a service elsewhere was.
        """
        while self.elsewhere and self._unreachable is None:
            await self._doubted.wait()
            self._doubted.clear()
            try:
                await readiness.check_remote(self._spec, self._asking)
            except Unreachable as error:
                self._unreachable = error
                self._port_closed.set()
        await self._port_closed.wait()

    def died(self) -> Died | Unreachable:
        """The error that says how it ended by itself."""
        if self._child is None:
            assert self._unreachable is not None
            return self._unreachable
        lines = self._log.tail(LOG_LINES, self._log_start)
        how = self._child.how_it_ended
        if not self._child.ended.is_set():
            how = f"it had closed its port, {self._spec.port}"
        return Died(app=self._spec.app, how=how, detail={"log": lines})

    def kill(self) -> None:
        """SIGKILL to all that belongs to it; ``end`` then need not wait."""
        if self._child is not None:
            log.info("%s: killing it", self._spec.app)
            self._child.kill()

    async def end(self) -> list[int]:
        """Stop whatever is left; a crashed leader may leave workers behind. Gives what it was."""
        if self._spawning is not None:
            # Why it could not be made has been told by ``start``.
            with suppress(Exception):
                self._child = await self._spawning
            self._spawning = None
        if self._child is not None:
            self.unnote()
            await self._child.stop(self._spec.stop_timeout)
            log.info("%s: stopped (%s)", self._spec.app, self._child.how_it_ended)
        self._small.close()
        pids = self.seen
        self._child = None
        return pids

    def _look_after(self, child: Child) -> None:
        """Some milliseconds, once a minute."""
        child.reap()
        found = sockets.listeners(child.pids())
        self.problems = [
            f"it listens on {listener.address}:{listener.port}, which other machines may reach"
            for listener in sorted(found, key=lambda listener: listener.port)
            if not listener.address.startswith("127.") and listener.address != "::1"
        ]
