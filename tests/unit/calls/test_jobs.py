"""Jobs: states, output, cancelling, joining, forgetting."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from onegai.calls import jobs as jobs_module
from onegai.calls.jobs import CallResult, Jobs, Record, Report
from onegai.errors import Busy, InstallFailed, JobNotDone, UnknownJob
from onegai.files.store import StoredFile
from onegai.schema import Job, JobState


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    async with asyncio.timeout(60), Jobs() as jobs:
        yield jobs


async def for_ever(report: Report) -> None:
    report("begun")
    await asyncio.Event().wait()


async def running(jobs: Jobs, job: Job) -> None:
    """Wait until its work has begun."""
    async for event in jobs.events(job.id):
        if event.event == "output":
            return


async def test_done(jobs: Jobs) -> None:
    async def work(report: Report) -> dict[str, int]:
        report("half way")
        return {"n": 1}

    job = jobs.submit("install", "a", work)
    assert (job.kind, job.app, job.state) == ("install", "a", JobState.QUEUED)
    job = await jobs.wait(job.id)
    assert (job.state, job.result, job.error, job.log) == (
        JobState.DONE,
        {"n": 1},
        None,
        ["half way"],
    )
    assert job.started is not None
    assert job.ended is not None
    assert job.created <= job.started <= job.ended
    assert jobs.get(job.id) == job
    assert await jobs.cancel(job.id) == job


async def test_the_job_that_changes_an_app_is_told_until_it_ends(jobs: Jobs) -> None:
    job = jobs.submit("install", "a", for_ever)
    await running(jobs, job)
    found = jobs.under_way("a", {"install", "update"})
    assert found is not None
    assert (found.id, found.log) == (job.id, ["begun"])
    assert jobs.under_way("a", {"update"}) is None
    assert jobs.under_way("b", {"install"}) is None
    await jobs.cancel(job.id)
    assert jobs.under_way("a", {"install"}) is None


async def test_a_long_line_of_output_is_cut(jobs: Jobs) -> None:
    async def work(report: Report) -> None:
        report("x" * 100_000)

    job = await jobs.wait(jobs.submit("install", "a", work).id)
    assert job.log == ["x" * jobs_module.LINE + " …"]


async def test_the_log_of_a_call_has_its_newest_progress(jobs: Jobs) -> None:
    given = CallResult(StoredFile("id", "a.txt", "text/plain", 1, 0.0), None, False, {"result": 1})
    late: list[Record] = []

    async def work(record: Record) -> CallResult:
        record.tell("starting", {"app": "a"})
        for number in range(100):
            record.tell("progress", {"text": f"step {number}"})
        record.tell("progress", {"n": 1})
        record.tell("output", {"result": "words and "})
        record.tell("output", {"result": "words"})
        late.append(record)
        return given

    job = await jobs.wait(jobs.call("a", "main", work, lambda: None).id)
    assert job.log == ["waiting for a to be ready", "step 99", "words and words"]
    late[0].tell("progress", {"text": "too late"})
    assert jobs.get(job.id).log == job.log
    events = [(event.event, event.data) async for event in jobs.events(job.id)]
    assert events[-2] == ("done", {"result": 1})


async def test_of_the_older_ones_that_have_ended_it_is_known_how(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "KEPT", 2)

    async def work(report: Report) -> None:
        for _ in range(10):
            report("line")

    ended = [(await jobs.wait(jobs.submit("install", "a", work).id)).id for _ in range(4)]
    told = [[event.event async for event in jobs.events(job)] for job in ended]
    assert told[:2] == [["gap", "output", "state"]] * 2
    assert told[2:] == [["state", *["output"] * 10, "state"]] * 2


async def test_failed_with_an_error_of_the_tree(jobs: Jobs) -> None:
    async def work(report: Report) -> None:
        raise InstallFailed(app="a", reason="exit status 1", log="x.log", detail={"log": ["oh"]})

    job = await jobs.wait(jobs.submit("install", "a", work).id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "exit status 1" in job.error["message"]
    assert (job.error["code"], job.error["src"], job.error["log"]) == (
        "install_failed",
        "a",
        ["oh"],
    )


async def test_failed_with_any_exception(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    async def work(report: Report) -> None:
        raise ZeroDivisionError("oh")

    with caplog.at_level(logging.ERROR):
        job = await jobs.wait(jobs.submit("install", "a", work).id)
    assert job.error is not None
    assert job.error["code"] == "internal_error"
    assert "ZeroDivisionError: oh" in job.error["message"]
    assert "Traceback" in caplog.text


async def test_events_tell_the_whole_story(jobs: Jobs) -> None:
    async def work(report: Report) -> int:
        report("one")
        report("two")
        return 3

    job = jobs.submit("install", "a", work)
    events = [event async for event in jobs.events(job.id)]
    assert [event.id for event in events] == [1, 2, 3, 4]
    told = [event.data.get("line") or event.data["state"] for event in events]
    assert told == ["running", "one", "two", "done"]
    assert events[-1].data["result"] == 3
    later = [event.id async for event in jobs.events(job.id, after=2)]
    assert later == [3, 4]


async def test_cancel(jobs: Jobs) -> None:
    cleaned: list[bool] = []

    async def work(report: Report) -> None:
        try:
            await for_ever(report)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    job = jobs.submit("install", "a", work)
    await running(jobs, job)
    job = await jobs.cancel(job.id)
    assert (job.state, cleaned) == (JobState.CANCELLED, [True])
    assert job.ended is not None


async def test_cancel_before_it_began(jobs: Jobs) -> None:
    job = jobs.submit("install", "a", for_ever)
    async with asyncio.timeout(60):
        job = await jobs.cancel(job.id)
    assert job.state is JobState.CANCELLED


async def test_leaving_ends_what_runs_and_what_has_not_begun() -> None:
    async with Jobs() as jobs:
        begun = jobs.submit("install", "a", for_ever)
        await running(jobs, begun)
        waiting = asyncio.create_task(jobs.wait(begun.id))
        new = jobs.submit("install", "b", for_ever)
    async with asyncio.timeout(60):
        assert (await waiting).state is JobState.CANCELLED
    assert jobs.get(new.id).state is JobState.CANCELLED


async def test_second_of_a_kind_joins_the_first(jobs: Jobs) -> None:
    first = jobs.submit("install", "a", for_ever)
    assert jobs.submit("install", "a", for_ever).id == first.id
    others = {jobs.submit("install", "b", for_ever).id, jobs.submit("update", "a", for_ever).id}
    assert len(others | {first.id}) == 3
    await running(jobs, first)
    await jobs.cancel(first.id)
    assert jobs.submit("install", "a", for_ever).id != first.id


async def test_excluded_kinds_and_other_variants_are_busy(jobs: Jobs) -> None:
    first = jobs.submit("update", "a", for_ever, variant=1)
    for kind, variant in (("uninstall", 1), ("update", 2)):
        with pytest.raises(Busy) as busy:
            jobs.submit(kind, "a", for_ever, excluding=("install", "update"), variant=variant)
        assert (busy.value.params["kind"], busy.value.params["app"]) == ("update", "a")
        assert busy.value.detail["job"] == first.id
    assert jobs.submit("update", "a", for_ever, variant=1).id == first.id
    assert jobs.running("update", "a", variant=1) is not None
    assert jobs.running("update", "b", variant=1) is None
    jobs.submit("uninstall", "b", for_ever, excluding=("install", "update"))
    await running(jobs, first)
    await jobs.cancel(first.id)
    jobs.submit("uninstall", "a", for_ever, excluding=("install", "update"))


async def test_a_second_cancel_does_not_cut_the_first_ones_cleaning_short(jobs: Jobs) -> None:
    cleaning, clean = asyncio.Event(), asyncio.Event()
    cleaned: list[bool] = []

    async def work(report: Report) -> None:
        try:
            await for_ever(report)
        finally:
            cleaning.set()
            await clean.wait()
            cleaned.append(True)

    job = jobs.submit("update", "a", work)
    await running(jobs, job)
    first = asyncio.create_task(jobs.cancel(job.id))
    await cleaning.wait()
    second = asyncio.create_task(jobs.cancel(job.id))
    await asyncio.sleep(0)
    clean.set()
    assert (await first).state is (await second).state is JobState.CANCELLED
    assert cleaned == [True]


async def test_calls_do_not_join_and_give_their_result_once_they_are_done(jobs: Jobs) -> None:
    may_end = asyncio.Event()
    given = CallResult(StoredFile("id", "a.txt", "text/plain", 1, 0.0), None, False, {"result": 1})
    cleaned: list[int] = []

    async def work(record: Record) -> CallResult:
        await may_end.wait()
        return given

    made = [jobs.call("a", "main", work, lambda: cleaned.append(1)) for _ in range(2)]
    assert made[0].id != made[1].id
    with pytest.raises(JobNotDone, match="queued"):
        jobs.answer(made[0].id)
    assert jobs.running("install", "a", excluding=("update",)) is None
    may_end.set()
    job = await jobs.wait(made[0].id)
    assert (job.kind, job.function, job.state) == ("call", "main", JobState.DONE)
    assert (job.result, job.result_url) == (None, f"/job/{job.id}/result")
    assert jobs.answer(job.id) is given
    await jobs.wait(made[1].id)
    await asyncio.sleep(0)
    assert cleaned == [1, 1]


async def test_a_call_that_never_began_is_cleaned_up_too(jobs: Jobs) -> None:
    cleaned: list[int] = []

    async def work(record: Record) -> CallResult:
        raise AssertionError

    job = jobs.call("a", "main", work, lambda: cleaned.append(1))
    assert (await jobs.cancel(job.id)).state is JobState.CANCELLED
    await asyncio.sleep(0)
    assert cleaned == [1]
    assert jobs.answer(job.id) is None


async def test_all_newest_first(jobs: Jobs) -> None:
    made = [jobs.submit("install", app, for_ever).id for app in "abc"]
    assert [job.id for job in jobs.all()] == made[::-1]


async def test_unknown(jobs: Jobs) -> None:
    with pytest.raises(UnknownJob, match="'x'"):
        jobs.get("x")
    with pytest.raises(UnknownJob):
        jobs.events("x")
    with pytest.raises(UnknownJob):
        await jobs.cancel("x")


@pytest.mark.parametrize(("most", "left"), [(5000, 5), (4, 4)])
async def test_jobs_whose_results_can_be_had_are_remembered(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, most: int, left: int
) -> None:
    monkeypatch.setattr(jobs_module, "KEPT", 3)
    monkeypatch.setattr(jobs_module, "MOST", most)

    async def work(report: Report) -> Any:
        return None

    ended = [(await jobs.wait(jobs.submit("install", "a", work).id)).id for _ in range(5)]
    assert [job.id for job in jobs.all()] == list(reversed(ended))[:left]


async def test_only_ended_jobs_are_forgotten(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "KEPT", 3)
    monkeypatch.setattr(jobs_module, "SECONDS", -1.0)

    async def work(report: Report) -> Any:
        return None

    alive = jobs.submit("install", "alive", for_ever)
    ended = [(await jobs.wait(jobs.submit("install", "a", work).id)).id for _ in range(5)]
    kept = [job.id for job in jobs.all()]
    assert alive.id in kept
    assert ended[-1] in kept
    assert ended[0] not in kept
    assert len(kept) == 3


async def test_only_the_last_lines_are_kept(jobs: Jobs) -> None:
    async def work(report: Report) -> None:
        for number in range(200):
            report(f"line {number}")

    job = await jobs.wait(jobs.submit("install", "a", work).id)
    assert len(job.log) == jobs_module.LOG_LINES
    assert job.log[-1] == "line 199"
