"""What a request says of how it wants to be answered."""

import pytest
from starlette.types import Scope

from onegai.auth import Head
from onegai.errors import BadRequest
from onegai.server.guards import HEAD
from onegai.server.routes.preferences import file_form, wants_events, wants_job


def scope(*headers: tuple[str, str], query: str = "") -> Scope:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"headers": raw, HEAD: Head.of("POST", "/", raw), "query_string": query.encode()}


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ([], False),
        (["*/*"], False),
        (["text/*"], False),
        (["application/json"], False),
        (["text/event-stream"], True),
        (["Text/Event-Stream; charset=utf-8"], True),
        (["text/event-stream, application/json"], True),
        (["application/json", "text/event-stream"], True),
        (["text/event-stream;q=0"], False),
        (["text/event-stream;q=0.0, */*"], False),
        (["text/event-stream;q=0.5, */*;q=0.1"], True),
        (["text/event-stream;q=0.5, application/json"], False),
        (["text/event-stream;q=none"], True),
        (["text/event-streams"], False),
        ([""], False),
        ([",;,=;q=,"], False),
    ],
)
def test_events_are_asked_for(accept: list[str], wanted: bool) -> None:
    assert wants_events(scope(*(("accept", one) for one in accept))) is wanted


@pytest.mark.parametrize(
    ("prefer", "wanted"),
    [
        ([], False),
        (["respond-async"], True),
        (["Respond-Async; wait=10"], True),
        (["return=minimal, respond-async"], True),
        (["return=minimal", "respond-async"], True),
        (["respond-asynchronously"], False),
        (["return=respond-async"], False),
    ],
)
def test_a_job_is_asked_for(prefer: list[str], wanted: bool) -> None:
    assert wants_job(scope(*(("prefer", one) for one in prefer))) is wanted


@pytest.mark.parametrize(
    ("query", "form"),
    [
        ("", "url"),
        ("other=x", "url"),
        ("files=base64", "base64"),
        ("files=url&files=signed", "signed"),
        ("files=b%61se64", "base64"),
        ("files=", None),
        ("files=all", None),
    ],
)
def test_the_form_of_files(query: str, form: str | None) -> None:
    if form is not None:
        assert file_form(scope(query=query)) == form
        return
    with pytest.raises(BadRequest) as caught:
        file_form(scope(query=query))
    assert caught.value.detail["errors"][0]["field"] == "files"
