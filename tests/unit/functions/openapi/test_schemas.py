"""Schemas of 3.0 and 3.1 as JSON Schema of draft 2020-12, references among them."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegai.files.file import MARK
from onegai.functions.openapi import schemas as openapi_schemas
from onegai.functions.openapi.schemas import Schemas, Wrong, as_definitions


def schemas(version: str = "3.0.3", **components: Any) -> Schemas:
    return Schemas({"openapi": version, "components": {"schemas": components}})


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "nullable": True, "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        ({"nullable": True, "title": "x"}, {"title": "x"}),
        (
            {"allOf": [{"type": "object"}], "nullable": True, "title": "x"},
            {"title": "x", "anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]},
        ),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"exclusiveMaximum": 1}, {"exclusiveMaximum": 1}),
        ({"type": "integer", "example": 3}, {"type": "integer", "examples": [3]}),
        ({"type": "string", "format": "binary"}, {"type": "string"}),
        ({"type": "any", "required": True}, {}),
        ({"xml": {}, "externalDocs": {}, "x-onegai-file": True, "$id": "x"}, {}),
        (
            {"oneOf": [{"title": "a"}], "discriminator": {"propertyName": "kind"}},
            {"anyOf": [{"title": "a"}]},
        ),
        (
            {
                "type": "object",
                "properties": {"id": {"readOnly": True}, "a": {}},
                "required": ["id", "a"],
            },
            {"type": "object", "properties": {"id": {}, "a": {}}, "required": ["a"]},
        ),
        ({"items": [{"type": "string"}]}, {"prefixItems": [{"type": "string"}]}),
        ({"enum": [{"nullable": True}]}, {"enum": [{"nullable": True}]}),
        ({"default": {"$ref": "x"}}, {"default": {"$ref": "x"}}),
    ],
)
def test_what_3_0_says_otherwise(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert schemas().converted(old) == new


def test_references_become_definitions_however_deep_and_cyclic() -> None:
    found = schemas(
        Tree={
            "type": "object",
            "properties": {
                "children": {"type": "array", "items": ref("Tree")},
                "leaf": ref("Leaf"),
            },
        },
        Leaf={"type": "string", "maxLength": 3},
        Other={"type": "string"},
    )
    schema = found.converted({"type": "object", "properties": {"tree": ref("Tree")}})
    whole = as_definitions(schema, found.definitions(schema))
    assert set(whole["$defs"]) == {"Tree", "Leaf"}
    valid = jsonschema_rs.validator_for(whole).is_valid
    assert valid({"tree": {"children": [{"children": [], "leaf": "abc"}]}})
    assert not valid({"tree": {"children": [{"children": [{"leaf": "abcd"}]}]}})


def test_any_place_of_the_document_may_be_named() -> None:
    found = schemas(**{"a/b c": {"type": "object", "properties": {"x~y": {"type": "integer"}}}})
    schema = found.converted({"items": {"$ref": "#/components/schemas/a~1b%20c/properties/x~0y"}})
    assert found.definitions(schema) == {"x_y": {"type": "integer"}}


def test_two_of_one_name_are_kept_apart() -> None:
    found = Schemas({"openapi": "3.1.0", "a": {"x": {"type": "null"}}, "b": {"x": True}})
    schema = found.converted({"allOf": [{"$ref": "#/a/x"}, {"$ref": "#/b/x"}]})
    assert found.definitions(schema) == {"x": {"type": "null"}, "x_2": True}


def test_what_stands_beside_a_reference_counts_in_3_1_only() -> None:
    beside = {**ref("A"), "description": "told", "maxLength": 3}
    told = {"$ref": "#/$defs/A", "description": "told"}
    assert schemas(A={}).converted(beside) == told
    assert schemas("3.1.0", A={}).converted(beside) == {**told, "maxLength": 3}
    nullable = {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}
    assert schemas(A={}).converted({**ref("A"), "nullable": True}) == nullable


@pytest.mark.parametrize(
    "reference", ["other.yaml#/A", "https://example.org/a.json", "#anchor", "#/components/no", 3]
)
def test_what_is_not_in_the_document_is_wrong(reference: Any) -> None:
    with pytest.raises(Wrong):
        schemas().converted({"items": {"$ref": reference}})
    found = schemas(A={"items": {"$ref": reference}})
    schema = found.converted(ref("A"))
    with pytest.raises(Wrong):
        found.definitions(schema)


def test_a_reference_that_leads_to_itself_is_wrong() -> None:
    found = schemas(A=ref("B"), B=ref("A"))
    with pytest.raises(Wrong, match="itself"):
        found.followed(ref("A"), "the body")


def test_binary_parts_of_a_form_are_files() -> None:
    found = schemas("3.1.0", Sound={"type": "string", "format": "binary"})
    of = [
        {"type": "string", "format": "binary", "title": "Sound"},
        {"type": "string", "contentMediaType": "audio/wav"},
        ref("Sound"),
    ]
    for raw in of:
        assert MARK in found.converted(raw, files=True)
        assert MARK in found.converted({"type": "array", "items": raw}, files=True)["items"]
        assert MARK in found.converted({"anyOf": [raw, {"type": "null"}]}, files=True)["anyOf"][0]
        assert MARK not in str(found.converted(raw))
        inside = {"type": "object", "properties": {"a": raw}}
        assert MARK not in str(found.converted(inside, files=True)["properties"])
    assert found.converted(of[0], files=True)["title"] == "Sound"
    base64 = {"type": "string", "contentMediaType": "audio/wav", "contentEncoding": "base64"}
    assert found.converted(base64, files=True) == base64


@pytest.mark.parametrize("raw", [3, None, [], "string"])
def test_what_is_no_schema_is_wrong(raw: Any) -> None:
    with pytest.raises(Wrong):
        schemas().converted(raw)
    with pytest.raises(Wrong):
        schemas().converted({"items": {"properties": {"a": raw}}})


_KEYS = (
    "type nullable items properties required allOf anyOf oneOf enum minimum exclusiveMinimum "
    "$ref format example not additionalProperties readOnly discriminator"
).split()
_ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["string", "#/x", "#"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_KEYS), _ANY, max_size=5), st.booleans())
def test_whatever_a_document_has_is_converted_or_wrong(raw: dict[str, Any], files: bool) -> None:
    found = Schemas({"openapi": "3.0.0", "x": raw})
    try:
        schema = found.converted(raw, files=files)
        found.definitions(schema)
    except Wrong:
        return
    assert isinstance(schema, dict)


def test_files_that_stand_in_too_many_places_are_wrong() -> None:
    lists = {
        f"A{depth}": {"type": "array", "items": {"anyOf": [ref(f"A{depth + 1}")] * 2}}
        for depth in range(60)
    }
    several = schemas(**lists, A60={"type": "string", "format": "binary"})
    with pytest.raises(Wrong, match="too many"):
        several.converted(ref("A0"), files=True)


def test_ten_thousand_references_of_one_name_are_named_at_once() -> None:
    several = {f"a{number}": {"schema": {"title": str(number)}} for number in range(10_000)}
    made = Schemas({"openapi": "3.1.0", "x": several})
    refs = {name: {"$ref": f"#/x/{name}/schema"} for name in several}
    schema = made.converted({"type": "object", "properties": refs})
    definitions = made.definitions(schema)
    assert len(definitions) == 10_000
    name = schema["properties"]["a7"]["$ref"].removeprefix("#/$defs/")
    assert definitions[name] == {"title": "7"}


def test_models_of_all_operations_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_schemas, "_MOST_DEFINED", 5)
    several = schemas(A={"properties": {"b": ref("B")}}, B={})
    made = several.converted(ref("A"))
    for _ in range(2):
        assert len(several.definitions(made)) == 2
    with pytest.raises(Wrong, match="too many"):
        several.definitions(made)
