"""What calls that ran as jobs have given: kept as files, read again as the answers they were."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from onegai.calls.jobs import CallResult, Jobs
from onegai.errors import BadRequest, UnknownFile
from onegai.events import Data
from onegai.files.file import File, suffix_of
from onegai.files.pieces import to_base64
from onegai.files.store import FileStore, StoredFile
from onegai.functions.function import Function
from onegai.functions.results import Binary, Outcome, enveloped, json_bytes
from onegai.protocol import Answer, raise_failure
from onegai.schema import Job


class Results:
    """Of a home's jobs. ``keep`` and ``content`` read and write files: they belong in threads."""

    def __init__(self, jobs: Jobs, files: FileStore) -> None:
        self._jobs = jobs
        self._files = files

    def keep(
        self, app: str, function: Function, outcome: Outcome, done: Data | None = None
    ) -> CallResult:
        """Keep what a call has given. ``done``: of that event; None: it has the same.

        Raises DiskFull.
        """
        body = outcome.file or outcome.body
        name = f"{app}-{function.name}{suffix_of(body.media_type)}"
        kept = self._files.keep(File(body.content, name, body.media_type), body.media_type)
        detail = outcome.detail_json if outcome.envelope else None
        base64 = outcome.file is not None
        return CallResult(kept, detail, base64, done or self._done(kept, outcome))

    def of(self, job_id: str) -> CallResult | None:
        """What a call gave; None for a job of another kind. Raises its error, and JobNotDone."""
        found = self._jobs.answer(job_id)
        if found is None:
            raise_failure(self._jobs.get(job_id))
        return found

    def content(self, result: CallResult) -> bytes:
        """What the direct answer would have had, or had in its envelope. Raises UnknownFile."""
        kept = self._files.find(result.kept.id, result.kept.name)
        content = self._files.path(kept).read_bytes()
        return b"".join((b'"', to_base64(content), b'"')) if result.base64 else content

    def _done(self, kept: StoredFile, outcome: Outcome) -> Callable[[], dict[str, Any]]:
        """Reads the data of the event ``done``, as ``main`` would have it, from what is kept."""
        value, file = outcome.value, outcome.file
        detail = json.loads(outcome.detail_json)
        if isinstance(value, Binary):
            file = value
            detail = {"media_type": file.media_type, "size": len(file.content), **detail}
        decode: Callable[[bytes], Any] = json.loads
        if file is not None:
            decode = _in_base64
        elif not outcome.envelope and isinstance(value, str):
            decode = bytes.decode

        def read() -> dict[str, Any]:
            try:
                content = self._files.path(self._files.find(kept.id, kept.name)).read_bytes()
            except (UnknownFile, OSError):  # it is kept for an hour
                return {"result": None, "detail": detail}
            return {"result": decode(content), "detail": detail}

        return read

    async def answer_of(self, job: Job) -> Answer:
        """What a job has answered, for an hour after its end. Raises its error, and JobNotDone."""
        found = self.of(job.id)
        if found is None:
            content = enveloped(json_bytes(self._jobs.get(job.id)), b"{}")
            return Answer.of("", content, "application/json")
        content = await asyncio.to_thread(self.content, found)
        if found.detail is None:
            return Answer.of(job.function, content, found.kept.media_type)
        return Answer.of(job.function, enveloped(content, found.detail), "application/json")

    def file_of_job(self, job_id: str) -> File:
        """The result of a job as a file. Raises UnknownJob, JobNotDone, BadRequest, UnknownFile."""
        answer = self._jobs.answer(job_id)
        if answer is None:
            job = self._jobs.get(job_id)
            reason = f"the job {job_id} gave no result"
            if job.error is not None:
                reason += f": {job.error['message']}"
            raise BadRequest(reason=reason, do="name a job that called a function and is done")
        kept = self._files.find(answer.kept.id, answer.kept.name)
        return File(self._files.path(kept), kept.name, kept.media_type)


def _in_base64(content: bytes) -> str:
    return to_base64(content).decode()
