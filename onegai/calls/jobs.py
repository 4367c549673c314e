"""Jobs: recorded work that outlives its HTTP request. In memory, so they end with the server."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from onegai.errors import Busy, InternalError, JobNotDone, OneGAIError, UnknownJob
from onegai.events import Data, Ring
from onegai.files.store import SECONDS, StoredFile
from onegai.protocol import Lines
from onegai.schema import Event, Job, JobState

log = logging.getLogger(__name__)

KEPT, MOST = 200, 5000
"""The last so many are remembered; more of them, but not too many, while their results are kept: of
those no more than how they have ended."""
LOG_LINES = 50
LINE = 4096
"""Characters after which a line of output is cut: a thousand of them are stored."""

Report = Callable[[str], None]
"""Takes one line of output."""
Work = Callable[[Report], Awaitable[Any]]


@dataclass(frozen=True)
class CallResult:
    """What a call gave: a file, and how the direct answer would have carried it.

    ``detail`` is JSON, None for an answer without an envelope. ``base64``: the envelope has the
    file as base64; otherwise the file is the JSON that stands in it. ``done``: the data of the
    event of that name, or what reads it from there.
    """

    kept: StoredFile
    detail: bytes | None
    base64: bool
    done: Data


class Record:
    """One job with what is needed to follow and to cancel it."""

    def __init__(self, kind: str, app: str, variant: object, function: str = "") -> None:
        self.variant = variant
        self.job = Job(
            id=secrets.token_hex(8),
            kind=kind,
            app=app,
            function=function,
            state=JobState.QUEUED,
            created=time.time(),
        )
        self.answer: CallResult | None = None
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self._text = Lines()
        self._progressed = False
        """Is the last line one of progress?"""
        self.ring = Ring()
        self.ended = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def set(self, state: JobState, **changes: Any) -> None:
        """Enter a state, and tell."""
        now = time.time()
        if state is JobState.RUNNING:
            changes["started"] = now
        if state.ended:
            changes["ended"] = now
        self.job = self.job.model_copy(update={"state": state, **changes})
        self.ring.emit("state", self.snapshot().model_dump(mode="json", exclude={"log"}))
        if state.ended:
            self.ring.close()
            self.ended.set()

    def cancel(self) -> None:
        """Once: a second time would cut short what the first one cleans up."""
        if self.task is not None and not self.task.cancelling():
            self.task.cancel()

    def settle(self) -> None:
        """A task that is cancelled before it begins runs not even its ``finally``."""
        if not self.job.state.ended:
            self.set(JobState.CANCELLED)

    def done(self, result: Any) -> None:
        """It has gone well."""
        if isinstance(result, CallResult):
            self.answer = result
            self.ring.emit("done", result.done)
            self.set(JobState.DONE, result_url=f"/job/{self.job.id}/result")
        else:
            self.set(JobState.DONE, result=result)

    def fail(self, error: OneGAIError) -> None:
        """It has not."""
        if self.job.function:
            self.ring.emit("error", error.data)
        self.set(JobState.FAILED, error=error.data)

    def report(self, line: str) -> None:
        """A line of its output."""
        self.tell("output", {"line": _cut(line)})

    def tell(self, event: str, data: dict[str, Any], size: int = 0) -> None:
        """Something has happened to it; the ``data`` takes ``size`` bytes. Not after its end."""
        if self.job.state.ended:
            return
        lines = self._text.feed(event, data)
        if lines and event == "progress" and self._progressed:
            self.lines.pop()  # of progress the newest is told
        self.lines.extend(map(_cut, lines))
        self._progressed = event == "progress" and (bool(lines) or self._progressed)
        self.ring.emit(event, data, size)

    def snapshot(self) -> Job:
        """The job as it is now."""
        rest = [_cut(self._text.rest)] if self._text.rest else []
        return self.job.model_copy(update={"log": [*self.lines, *rest]})


def _cut(line: str) -> str:
    return f"{line[:LINE]} …" if len(line) > LINE else line


class Jobs:
    """All jobs of this server's run. An async context manager; leaving cancels what runs."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for record in self._records.values():
            record.cancel()
        await self._tasks.__aexit__(None, None, None)

    def submit(
        self,
        kind: str,
        app: str,
        work: Work,
        *,
        excluding: Collection[str] = (),
        variant: object = None,
    ) -> Job:
        """Begin work in the background, or join what ``running`` finds. Raises Busy."""
        if (joined := self.running(kind, app, excluding=excluding, variant=variant)) is not None:
            return joined
        record = Record(kind, app, variant)
        self._begin(record, lambda: work(record.report))
        return record.snapshot()

    def call(
        self,
        app: str,
        function: str,
        work: Callable[[Record], Awaitable[CallResult]],
        cleanup: Callable[[], None],
    ) -> Job:
        """Begin a call in the background, which tells its record of its events. It joins no other.

        ``cleanup`` is called at its end, also where that comes before its beginning.
        """
        record = Record("call", app, None, function)
        self._begin(record, lambda: work(record))
        assert record.task is not None
        record.task.add_done_callback(lambda _task: cleanup())
        return record.snapshot()

    def _begin(self, record: Record, work: Callable[[], Awaitable[Any]]) -> None:
        job = record.job
        self._records[job.id] = record
        self._forget_old()
        record.task = self._tasks.create_task(_run(record, work), name=f"{job.kind} of {job.app}")
        record.task.add_done_callback(lambda _task: record.settle())

    def running(
        self, kind: str, app: str, *, excluding: Collection[str] = (), variant: object = None
    ) -> Job | None:
        """The job of this kind and ``variant`` that has not ended; there is one at most per app.

        Raises Busy where another variant, or a kind of ``excluding``, is under way for the app.
        """
        for record in self._records.values():
            job = record.job
            if job.app != app or job.state.ended:
                continue
            if job.kind == kind and record.variant == variant:
                return record.snapshot()
            if job.kind == kind or job.kind in excluding:
                raise Busy(app=app, kind=job.kind, job=job.id, detail={"job": job.id})
        return None

    def under_way(self, app: str, kinds: Collection[str]) -> Job | None:
        """The app's job of one of these kinds that has not ended."""
        for record in self._records.values():
            job = record.job
            if job.app == app and job.kind in kinds and not job.state.ended:
                return record.snapshot()
        return None

    def all(self) -> list[Job]:
        """Every job that is remembered, newest first."""
        return [record.snapshot() for record in reversed(self._records.values())]

    def get(self, job_id: str) -> Job:
        """One job. Raises UnknownJob."""
        return self._record(job_id).snapshot()

    def answer(self, job_id: str) -> CallResult | None:
        """What a call gave; None where the job gave none: it was no call, or it failed.

        Raises UnknownJob, and JobNotDone for one that has not ended.
        """
        record = self._record(job_id)
        if not record.job.state.ended:
            raise JobNotDone(job=job_id, state=record.job.state.value)
        return record.answer

    async def wait(self, job_id: str) -> Job:
        """The job once it has ended, in whatever way."""
        record = self._record(job_id)
        await record.ended.wait()
        return record.snapshot()

    async def cancel(self, job_id: str) -> Job:
        """End the job and wait for its end; nothing happens to one that has ended."""
        record = self._record(job_id)
        record.cancel()
        await record.ended.wait()
        return record.snapshot()

    def events(self, job_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """Its events from the one behind ``after`` on, until it ends. Raises UnknownJob at once."""
        return self._record(job_id).ring.follow(after)

    def _record(self, job_id: str) -> Record:
        try:
            return self._records[job_id]
        except KeyError:
            raise UnknownJob(job=job_id) from None

    def _forget_old(self) -> None:
        gone: list[str] = []
        for key, record in self._records.items():
            left = len(self._records) - len(gone)
            if left <= KEPT:
                break
            if (ended := record.job.ended) is not None:
                if left <= MOST and time.time() < ended + SECONDS:
                    break
                gone.append(key)
        for key in gone:
            del self._records[key]
        for record in islice(self._records.values(), max(len(self._records) - KEPT, 0)):
            if record.job.state.ended:
                record.ring.forget()


async def _run(record: Record, work: Callable[[], Awaitable[Any]]) -> None:
    try:
        record.set(JobState.RUNNING)
        result = await work()
    except asyncio.CancelledError:
        record.set(JobState.CANCELLED)
    except OneGAIError as error:
        record.fail(error)
    except BaseException as error:
        log.exception("job %s failed", record.job.id)
        record.fail(InternalError(reason=f"{type(error).__name__}: {error}"))
    else:
        record.done(result)
