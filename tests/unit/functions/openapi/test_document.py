"""Documents as operations: what can be called, where it is, what it answers, what is wrong."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegai.errors import BadArguments
from onegai.functions.openapi.document import Document
from onegai.functions.openapi.functions import Doubt, function_of
from onegai.functions.openapi.operation import Answers, Operation
from onegai.functions.openapi.requests import sent

BASE = "http://127.0.0.1:9000"
PLACE = "/openapi.json"


def document(paths: dict[str, Any], base: str = BASE, place: str = PLACE, **more: Any) -> Document:
    return Document({"openapi": "3.1.0", "paths": paths, **more}, place, base)


def one(
    operation: dict[str, Any], path: str = "/a", method: str = "post", **more: Any
) -> Operation:
    found = document({path: {method: operation}}, **more)
    assert found.remarks == []
    [made] = found.operations
    return made


def test_one_wrong_operation_keeps_no_other_away() -> None:
    found = document(
        {
            "/good": {"get": {}, "head": {}, "options": {}, "x-note": 1},
            "/{missing}": {"get": {}},
            "/outside": {"post": {"requestBody": {"$ref": "bodies.yaml#/A"}}},
            "/gone": {"get": {"parameters": [{"$ref": "#/components/parameters/A"}]}},
            "/odd": {"get": [], "put": {}},
            "/no": None,
            "/schema": {
                "get": {"parameters": [{"in": "query", "name": "a", "schema": {"minimum": "3"}}]}
            },
            "/place": {"get": {"parameters": [{"in": "body", "name": "a"}]}},
            "/style": {"get": {"parameters": [{"in": "path", "name": "a", "style": "form"}]}},
            "/name": {"get": {"parameters": [{"in": "query"}]}},
        }
    )
    assert [(one.method, one.path) for one in found.operations] == [
        ("GET", "/good"),
        ("PUT", "/odd"),
    ]
    told = [remark.partition(": ")[0] for remark in found.remarks]
    assert told == [
        "GET /{missing}",
        "POST /outside",
        "GET /gone",
        "GET /odd",
        "/no",
        "GET /schema",
        "GET /place",
        "GET /style",
        "GET /name",
    ]
    assert "bodies.yaml" in found.remarks[1]


@pytest.mark.parametrize("paths", [None, [], "x"])
def test_paths_that_are_none(paths: Any) -> None:
    found = Document({"openapi": "3.1.0", "paths": paths}, PLACE, BASE)
    assert (found.operations, len(found.remarks)) == ([], 1)


def test_a_path_and_its_parameters_may_be_shared() -> None:
    shared = {
        "parameters": [
            {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}},
            {"in": "query", "name": "q", "schema": {"type": "integer"}},
        ],
        "get": {"parameters": [{"in": "query", "name": "q", "schema": {"type": "string"}}]},
    }
    found = document(
        {"/a/{id}": {"$ref": "#/components/pathItems/A"}}, components={"pathItems": {"A": shared}}
    )
    [made] = found.operations
    assert made.schema["properties"] == {"id": {"type": "integer"}, "q": {"type": "string"}}
    assert made.schema["required"] == ["id"]


@pytest.mark.parametrize(
    ("raw", "doc"),
    [
        (
            {"summary": "Say it.", "description": "With a voice."},
            "Say it.\n\nWith a voice.\n\nPOST /a",
        ),
        ({"description": "Say it.\nWith a voice."}, "Say it.\n\nWith a voice.\n\nPOST /a"),
        ({"summary": "Say", "description": "Say"}, "Say\n\nPOST /a"),
        (
            {"operationId": "read_it_a_post", "summary": "Read It", "description": "Look."},
            "Look.\n\nPOST /a",
        ),
        ({"operationId": "readIt", "summary": "Read it"}, "Read it\n\nPOST /a"),
        ({}, "POST /a"),
        ({"summary": 3, "deprecated": True}, "POST /a\n\nDeprecated: the app may lose it."),
    ],
)
def test_what_is_told_of_it(raw: dict[str, Any], doc: str) -> None:
    assert one(raw).doc == doc


@pytest.mark.parametrize(
    ("servers", "base", "path"),
    [
        ([{"url": "/v1"}], BASE, "/v1/a"),
        ([{"url": "/"}], BASE, "/a"),
        ([{"url": "v1/"}], BASE, "/v1/a"),
        ([{"url": "https://example.org/x"}], BASE, "/a"),
        ([{"url": "https://example.org/x"}, {"url": "/y"}], BASE, "/y/a"),
        ([{"url": "http://localhost:5/z"}], BASE, "/z/a"),
        ([{"url": "https://example.org/v1"}], "https://example.org/v1", "/a"),
        ([{"url": "https://example.org/v1"}], "https://example.org", "/v1/a"),
        ([{"url": "/v1"}], "https://example.org/v1", "/a"),
        ([{"url": "/{b}", "variables": {"b": {"default": "v2"}}}], BASE, "/v2/a"),
        ([{"url": 3}, None], BASE, "/a"),
        ([], BASE, "/a"),
    ],
)
def test_where_it_is(servers: list[Any], base: str, path: str) -> None:
    assert one({}, base=base, servers=servers).path == path


def test_an_operation_may_have_servers_of_its_own() -> None:
    assert one({"servers": [{"url": "/own"}]}, servers=[{"url": "/v1"}]).path == "/own/a"


JSON = {"application/json": {"schema": {"type": "string"}}}
UNSAID = {"application/json": {"schema": {}}}


@pytest.mark.parametrize(
    ("responses", "answers"),
    [
        ({}, Answers()),
        (None, Answers()),
        ({"204": {"description": ""}}, Answers()),
        ({"200": {"content": JSON}}, Answers("application/json, */*;q=0.1")),
        ({"200": {"content": UNSAID}}, Answers("application/json, */*;q=0.1", True)),
        ({"404": {"content": UNSAID}}, Answers()),
        ({"default": {"content": JSON}}, Answers("application/json, */*;q=0.1")),
        ({"2XX": {"content": {"audio/wav": {}}}}, Answers("audio/wav, */*;q=0.1", True, bytes)),
        ({200: {"content": {"*/*": {}}}}, Answers("*/*", True)),
        ({"200": {"content": {"text/plain": {}}}}, Answers("text/plain, */*;q=0.1", True, str)),
        (
            {"200": {"content": {**JSON, "text/event-stream": {}}}},
            Answers("text/event-stream, application/json, */*;q=0.1", True),
        ),
        ({"200": {"$ref": "#/components/responses/A"}}, Answers()),
    ],
)
def test_what_it_answers(responses: Any, answers: Answers) -> None:
    assert one({"responses": responses}).answers == answers


def test_credentials_are_not_asked_of_the_caller() -> None:
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "query": {"type": "apiKey", "in": "query", "name": "token"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
        "basic": {"type": "http", "scheme": "Basic"},
        "oauth": {"type": "oauth2", "flows": {}},
    }
    parameters = [
        {"in": "header", "name": "x-key", "required": True},
        {"in": "header", "name": "Authorization", "required": True},
        {"in": "header", "name": "Accept"},
        {"in": "query", "name": "token"},
        {"in": "query", "name": "x-key"},
        {"in": "cookie", "name": "sid"},
    ]
    wanted = {
        "key": '{"header": {"X-Key": "…"}}',
        "query": '{"query": {"token": "…"}}',
        "cookie": '{"header": {"Cookie": "sid=…"}}',
        "basic": '{"basic": ["…", "…"]}',
        "oauth": '{"bearer": "…"}',
        "unknown": "",
    }
    for name, credentials in wanted.items():
        made = one(
            {"parameters": parameters, "security": [{name: []}]},
            components={"securitySchemes": schemes},
        )
        assert list(made.schema["properties"]) == ["x-key"]
        assert "required" not in made.schema
        assert made.credentials == credentials
    everywhere = one({}, components={"securitySchemes": schemes}, security=[{"oauth": []}])
    assert everywhere.credentials == '{"bearer": "…"}'
    assert one({"security": []}, security=[{"oauth": []}]).credentials == ""


def test_more_operations_than_anybody_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onegai.functions.openapi.document.MOST", 3)
    found = document({f"/{number}": {"get": {}} for number in range(5)})
    assert (len(found.operations), found.remarks) == (3, ["there are more than 3 operations"])


GOOD: dict[str, Any] = {
    "openapi": "3.0.3",
    "servers": [{"url": "/{v}", "variables": {"v": {"default": "v1"}}}],
    "security": [{"key": []}],
    "paths": {
        "/a/{id}": {
            "parameters": [{"in": "path", "name": "id", "required": True, "schema": {}}],
            "post": {
                "operationId": "a",
                "summary": "A",
                "description": "B",
                "parameters": [
                    {"in": "query", "name": "q", "style": "form", "explode": True, "schema": {}},
                    {"in": "header", "name": "h", "content": {"application/json": {"schema": {}}}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": {
                                "type": "object",
                                "required": ["f"],
                                "properties": {
                                    "f": {"type": "string", "format": "binary"},
                                    "n": {"$ref": "#/components/schemas/N"},
                                },
                            },
                            "encoding": {"f": {"contentType": "a/b"}, "n": {"style": "form"}},
                        }
                    },
                },
                "responses": {"200": {"content": {"application/json": {"schema": {}}}}},
            },
        }
    },
    "components": {
        "schemas": {"N": {"allOf": [{"properties": {"n": {"$ref": "#/components/schemas/N"}}}]}},
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "K"}},
    },
}
JUNK = st.sampled_from(
    [
        None,
        True,
        0,
        -1.5,
        "",
        "x",
        [],
        [[]],
        [None],
        {},
        {"$ref": 3},
        {"$ref": "#/paths"},
        {"": None},
    ]
)


def places_of(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, one in inside:
        found.append((*at, key))
        if isinstance(one, dict | list):
            found += places_of(one, (*at, key))
    return found


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(places_of(GOOD)), JUNK), min_size=1, max_size=3))
def test_whatever_is_wrong_in_a_document_is_a_remark(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    broken = copy.deepcopy(GOOD)
    for (*at, last), junk in changes:
        part: Any = broken
        try:
            for key in at:
                part = part[key]
            part[last] = copy.deepcopy(junk)
        except (KeyError, IndexError, TypeError):
            continue
    found = Document(broken, PLACE, BASE)
    for made in found.operations:
        function = function_of("a", "f", made, Doubt(None))
        with suppress(BadArguments):
            sent(made, function.arguments({"id": 1, "q": [1], "h": {}, "f": "data:,x", "n": {}}))
