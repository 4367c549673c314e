"""All that an operation takes as one flat object."""

from __future__ import annotations

from typing import Any

import pytest

from onegai.files.file import MARK
from onegai.functions.openapi.arguments import Taken, arguments
from onegai.functions.openapi.schemas import Schemas, Wrong

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
TEXT = {"type": "string"}


def taken(
    schema: Any = None,
    *parameters: dict[str, Any],
    media_type: str = JSON,
    components: dict[str, Any] | None = None,
    encoding: dict[str, Any] | None = None,
    **body: Any,
) -> Taken:
    found = Schemas({"openapi": "3.1.0", "components": {"schemas": components or {}}})
    media = {"schema": schema} | ({"encoding": encoding} if encoding else {})
    content = {media_type: media}
    raw = None if schema is None else {"content": content, **body}
    return arguments(found, parameters, raw, frozenset())


def parameter(name: str, place: str = "query", **more: Any) -> dict[str, Any]:
    return {"in": place, "name": name, "schema": TEXT, **more}


def test_an_object_is_its_fields() -> None:
    fields = {"text": TEXT, "speed": {"type": "number", "default": 1}, "id": {"readOnly": True}}
    found = taken({"type": "object", "properties": fields, "required": ["text", "id"]})
    assert found.schema == {
        "type": "object",
        "properties": {"text": TEXT, "speed": {"type": "number", "default": 1}},
        "required": ["text"],
        "additionalProperties": False,
    }
    assert found.body is not None
    assert (found.body.flat, found.body.extra) == (True, False)


@pytest.mark.parametrize(
    ("schema", "rest"),
    [
        ({"type": "object"}, True),
        ({"type": "object", "additionalProperties": False}, False),
        ({"properties": {"a": TEXT}, "additionalProperties": True}, True),
        ({"properties": {"a": TEXT}, "additionalProperties": {}}, True),
        ({"properties": {"a": TEXT}, "additionalProperties": TEXT}, TEXT),
        ({"properties": {"a": TEXT}}, False),
    ],
)
def test_more_fields_may_be_given_where_the_document_says_so(schema: Any, rest: Any) -> None:
    found = taken(schema)
    assert found.body is not None
    assert found.body.flat
    assert found.schema["additionalProperties"] == rest


def test_parts_of_all_of_are_one_object() -> None:
    components = {
        "Base": {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a"]},
        "More": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["b"]}]},
    }
    own = {"type": "object", "properties": {"b": {"maxLength": 3}, "c": TEXT}}
    found = taken({"allOf": [{"$ref": "#/components/schemas/More"}, own]}, components=components)
    assert found.schema["properties"] == {
        "a": TEXT,
        "b": {"allOf": [TEXT, {"maxLength": 3}]},
        "c": TEXT,
    }
    assert found.schema["required"] == ["a", "b"]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        TEXT,
        {"type": "array", "items": TEXT},
        {"oneOf": [{"type": "object"}, TEXT]},
        {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]},
        {"type": "object", "properties": {"a": TEXT}, "minProperties": 1},
        {"type": "object", "properties": {"a": TEXT}, "nullable": True},
        {"type": ["object", "null"], "properties": {"a": TEXT}},
        {"allOf": [TEXT]},
        {"$ref": "#/components/schemas/Loop"},
    ],
)
def test_what_is_no_object_is_the_argument_body(schema: Any) -> None:
    components = {"A": {"type": "object", "properties": {"a": TEXT}}, "Loop": {"allOf": []}}
    components["Loop"]["allOf"] = [{"$ref": "#/components/schemas/Loop"}]
    found = taken(schema, components=components, required=True)
    assert list(found.schema["properties"]) == ["body"]
    assert found.schema["required"] == ["body"]
    assert "required" not in taken(schema, components=components).schema


def test_a_body_that_may_be_left_out_as_a_whole() -> None:
    schema = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
    assert list(taken(schema, required=False).schema["properties"]) == ["body"]
    assert taken(schema).schema["required"] == ["a"]
    schema.pop("required")
    assert list(taken(schema, required=False).schema["properties"]) == ["a"]


def test_names_that_stand_in_several_places() -> None:
    schema = {"type": "object", "properties": {"id": TEXT}}
    places = [parameter("id", place) for place in ("cookie", "header", "query", "path")]
    found = taken(schema, *places, required=True)
    assert list(found.schema["properties"]) == ["id", "query_id", "header_id", "cookie_id", "body"]
    assert found.schema["required"] == ["id", "body"]
    assert [(one.argument, one.place) for one in found.parameters] == [
        ("id", "path"),
        ("query_id", "query"),
        ("header_id", "header"),
        ("cookie_id", "cookie"),
    ]
    found = taken(TEXT, parameter("body"), parameter("query_body", "header"))
    assert list(found.schema["properties"]) == ["query_body", "header_query_body", "body"]


def test_a_free_object_beside_parameters_is_the_argument_body() -> None:
    found = taken({"type": "object"}, parameter("q"))
    assert list(found.schema["properties"]) == ["q", "body"]


def test_what_is_told_of_a_parameter() -> None:
    told = parameter("q", description="what", deprecated=True, example="x", required=True)
    found = taken(None, told, parameter("r", content={JSON: {"schema": {"type": "object"}}}))
    assert found.schema["properties"] == {
        "q": {**TEXT, "description": "what", "deprecated": True, "examples": ["x"]},
        "r": {"type": "object"},
    }
    assert found.schema["required"] == ["q"]
    assert [one.written.as_json for one in found.parameters] == [False, True]


def test_files_of_a_form() -> None:
    binary = {"type": "string", "format": "binary"}
    fields = {"sound": binary, "more": {"type": "array", "items": binary}, "note": TEXT}
    schema = {"type": "object", "properties": fields, "required": ["sound"]}
    found = taken(schema, media_type=MULTIPART)
    assert MARK in found.schema["properties"]["sound"]
    assert MARK in found.schema["properties"]["more"]["items"]
    clash = taken(schema, parameter("note"), media_type=MULTIPART, required=True)
    body = clash.schema["properties"]["body"]
    assert MARK in body["properties"]["sound"]
    assert body["required"] == ["sound"]
    assert MARK not in str(taken(schema, media_type=FORM).schema)


def test_how_the_fields_of_a_form_are_sent() -> None:
    schema = {"type": "object", "properties": {"a": TEXT, "b": TEXT, "c": TEXT}}
    said = {
        "a": {"contentType": "image/png, image/jpeg"},
        "b": {"contentType": "image/*"},
        "c": {"style": "pipeDelimited"},
    }
    found = taken(schema, media_type=MULTIPART, encoding=said)
    assert found.body is not None
    assert found.body.parts["a"].media_type == "image/png"
    assert found.body.parts["b"].media_type == ""
    written = found.body.parts["c"].written
    assert written is not None
    assert (written.style, written.explode) == ("pipeDelimited", False)


@pytest.mark.parametrize("schema", [TEXT, {"oneOf": [{"type": "object"}]}])
def test_a_form_must_have_fields(schema: Any) -> None:
    with pytest.raises(Wrong, match="fields"):
        taken(schema, media_type=FORM)


@pytest.mark.parametrize(
    ("media_type", "kind", "sent"),
    [
        ("application/octet-stream", "file", "application/octet-stream"),
        ("audio/*", "file", "audio/*"),
        ("text/plain; charset=utf-8", "text", "text/plain"),
        ("application/xml", "text", "application/xml"),
        ("application/vnd.x+json", "json", "application/vnd.x+json"),
        ("application/*+json", "json", "application/json"),
        ("*/*", "json", "application/json"),
    ],
)
def test_bodies_of_other_kinds(media_type: str, kind: str, sent: str) -> None:
    found = taken(TEXT, media_type=media_type)
    assert found.body is not None
    assert (found.body.kind, found.body.media_type) == (kind, sent)
    assert (MARK in found.schema["properties"]["body"]) == (kind == "file")


def test_of_several_media_types_json_is_sent() -> None:
    found = Schemas({"openapi": "3.1.0"})

    def kind(*media_types: str) -> str:
        content = {name: {"schema": {"type": "object"}} for name in media_types}
        body = arguments(found, [], {"content": content}, frozenset()).body
        assert body is not None
        return body.kind

    assert kind("text/plain", MULTIPART, FORM, JSON) == "json"
    assert kind("text/plain", FORM, MULTIPART) == "multipart"
    assert kind("text/plain", FORM) == "form"
    with pytest.raises(Wrong):
        kind("multipart/mixed")
    assert arguments(found, [], {"content": {}}, frozenset()).body is None
