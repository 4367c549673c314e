"""What an entry says of functions: declared, renamed, hidden."""

from __future__ import annotations

from typing import Any

import pytest

from onegai.config.entry import AppSpec
from onegai.errors import BadArguments
from onegai.files.file import MARK
from onegai.functions.openapi.declared import Declared, declares, functions_of
from onegai.functions.openapi.document import Document
from onegai.functions.source import NOTHING, Found


def spec(kind: str = "webapi", **functions: Any) -> AppSpec:
    return AppSpec.model_validate(
        {"app": "a", "type": kind, "port": 1, "exec": "x", "functions": functions}
    )


def declared(**functions: Any) -> Found:
    return Declared().last(spec(**functions))


def renamed(**entry: Any) -> tuple[list[str], list[str]]:
    paths = {
        "/tts": {"post": {"operationId": "tts_endpoint_tts_post"}},
        "/reset": {"post": {"operationId": "reset_reset_post"}},
    }
    document = Document({"openapi": "3.1.0", "paths": paths}, "/openapi.json", "http://a")

    async def again() -> bool:
        return False

    found, wrong = functions_of("a", entry, document.operations, again)
    return list(found), wrong


def test_names_of_the_entry() -> None:
    assert renamed() == (["tts_endpoint", "reset"], [])
    assert renamed(speak="tts_endpoint") == (["speak", "reset"], [])
    assert renamed(speak="tts_endpoint_tts_post", reset=None) == (["speak"], [])
    assert renamed(speak="tts_endpoint", say="tts_endpoint") == (["speak", "say", "reset"], [])
    assert renamed(reset={"path": "/mine"}) == (["tts_endpoint"], [])
    assert renamed(tts_endpoint="tts_endpoint") == (["tts_endpoint", "reset"], [])
    assert renamed(reset="tts_endpoint", again="reset") == (["reset", "again"], [])


def test_a_name_of_what_is_not_there_is_told() -> None:
    names, wrong = renamed(speak="nothing", gone=None)
    assert names == ["tts_endpoint", "reset"]
    assert [one.partition(":")[0] for one in wrong] == [
        "functions.speak of its entry",
        "functions.gone of its entry",
    ]


def test_a_name_is_taken_from_another() -> None:
    names, wrong = renamed(reset="tts_endpoint")
    assert names == ["reset"]
    assert wrong == ["functions.reset of its entry: POST /reset has no name now"]


def test_declared_with_arguments() -> None:
    args = {"text": {"type": "string"}, "speed": {"type": "number", "default": 1}}
    found = declared(
        speak={"path": "/tts", "about": "Say it.", "args": args, "answer": "audio/wav"}
    )
    assert found.problem is None
    function = found.functions["speak"]
    assert (function.doc, function.streams, function.yields) == (
        "Say it.\n\nPOST /tts",
        True,
        bytes,
    )
    assert function.arguments({"text": "hi"}) == {"text": "hi", "speed": 1}
    with pytest.raises(BadArguments):
        function.arguments({"speed": 2})
    with pytest.raises(BadArguments):
        function.arguments({"text": "hi", "txt": "ho"})


def test_declared_with_next_to_nothing() -> None:
    function = declared(reset={"path": "/reset"}).functions["reset"]
    assert function.arguments({"whatever": 1}) == {"whatever": 1}
    assert function.doc == "POST /reset"


def test_declared_in_other_places() -> None:
    args = {"id": {"type": "integer"}, "q": {"type": "string", "default": ""}}
    found = declared(
        read={"path": "/items/{id}", "method": "GET", "args": args},
        ask={"path": "/ask", "form": "query", "args": {"q": {}}},
        login={"path": "/login", "form": "form", "args": {"user": {}}},
        hear={"path": "/hear", "args": {"sound": {"type": "file", "title": "Sound"}, "n": {}}},
        full={"path": "/{x}", "parameters": [{"in": "path", "name": "x"}], "deprecated": True},
    )
    assert found.problem is None
    schemas = {name: one.accepts.schema() for name, one in found.functions.items()}
    assert schemas["read"]["required"] == ["id"]
    assert list(schemas["full"]["properties"]) == ["x"]
    assert schemas["hear"]["properties"]["sound"][MARK] is True
    assert schemas["hear"]["properties"]["sound"]["title"] == "Sound"
    assert "Deprecated" in found.functions["full"].doc


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "path must be"),
        ({"path": "tts"}, "path must be"),
        ({"path": "/a", "method": "TRACE"}, "method must be"),
        ({"path": "/a", "arguments": {}}, "there is no key arguments"),
        ({"path": "/a", "args": ["text"]}, "args must be"),
        ({"path": "/a", "form": "xml"}, "form must be"),
        ({"path": "/a", "form": "json", "args": {"f": {"type": "file"}}}, "multipart"),
        ({"path": "/{b}"}, "{b} of the path"),
        ({"path": "/a", "args": {"n": {"minimum": "x"}}}, "a schema is wrong"),
    ],
)
def test_one_that_is_wrong_is_told_and_keeps_no_other_away(said: Any, reason: str) -> None:
    found = declared(wrong=said, good={"path": "/good"})
    assert list(found.functions) == ["good"]
    assert found.problem is not None
    assert found.problem.remark
    assert found.problem.reason.startswith("functions.wrong: ")
    assert reason in found.problem.reason


@pytest.mark.parametrize("name", ["_hidden", "two words", "1st"])
def test_names_that_cannot_be_called(name: str) -> None:
    found = declared(**{name: {"path": "/a"}})
    assert not found.functions
    assert found.problem is not None


async def test_what_is_known_is_the_same_until_the_entry_changes() -> None:
    source = Declared()
    first = source.last(spec(a={"path": "/a"}))
    assert source.last(spec(a={"path": "/a"})) is first
    assert await source.refresh(spec(a={"path": "/a"})) is first
    assert list(source.last(spec(b={"path": "/a"})).functions) == ["b"]
    assert source.last(spec()) is NOTHING
    assert source.last(spec("command", a={"exec": "a"})) is NOTHING


def test_only_objects_declare() -> None:
    assert declares({"a": {}})
    assert not declares({"a": None, "b": "c"})
    assert not declares(None)
