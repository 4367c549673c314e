"""docs/functions.md names all of a handle, of a request, of an answer, and errors that exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from test_documents import names, rows

from onegai import sdk
from onegai.calls import running
from onegai.handles.handle import AsyncHandle, Handle, SendOptions
from onegai.handles.http import Response

NOT_FOR_FUNCTIONS = {"app", "checked", "error", "failure"}
"""Of an answer: what the handles themselves use."""


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs" / "functions.md").read_text(encoding="utf-8")


def public(made: type) -> set[str]:
    return {name for name in dir(made) if not name.startswith("_")}


def test_a_handle(text: str) -> None:
    documented = {
        name.partition("(")[0] for row in rows(text, "of a handle") for name in names(row[0])
    }
    assert documented == public(Handle) | {"websocket"} == public(AsyncHandle)


def test_options_of_a_request(text: str) -> None:
    documented = {names(row[0])[0] for row in rows(text, "option of a request")}
    assert documented == set(SendOptions.__annotations__) | SendOptions.__optional_keys__


def test_an_answer(text: str) -> None:
    [sentence] = re.findall(r"^The answer has .*?\.(?= )", text, re.MULTILINE)
    named = {field.name for field in fields(Response)}
    found = public(Response) | {name for name in named if not name.startswith("_")}
    assert {name.removesuffix("()") for name in names(sentence)} == found - NOT_FOR_FUNCTIONS


def test_everything_that_a_func_file_may_import(text: str) -> None:
    for name in sdk.__all__:
        assert re.search(rf"\b{name}\b", text), name


def test_errors_that_are_named_exist_with_their_status(root: Path, text: str) -> None:
    errors = rows((root / "docs" / "errors.md").read_text(encoding="utf-8"), "code")
    statuses = {names(code)[0]: status for code, status, *_ in errors}
    for _what, status, codes in rows(text, "what happens")[:-1]:
        for code in names(codes):
            assert status in statuses[code], code
    plugins = (root / "docs" / "plugins.md").read_text(encoding="utf-8")
    shown = {
        name
        for _, how in rows(plugins, "what is wrong")
        for name in names(how)
        if re.fullmatch(r"[a-z]+(_[a-z]+)+", name)
    }
    assert shown
    assert shown <= statuses.keys()


@pytest.mark.parametrize("page", ["functions.md", "functions.ja.md"])
def test_how_many_sync_functions_run_at_once(root: Path, page: str) -> None:
    told = (root / "docs" / page).read_text(encoding="utf-8")
    [number] = re.findall(r"at most (\d+) of\s+them at once|同時に (\d+) 個まで", told)
    assert int("".join(number)) == running.MOST_THREADS
