"""JSON Schema of a component's value."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from onegai.functions.described import FILE_SCHEMA
from onegai.functions.gradio.schema import schema_of, with_files

FILE_DATA = {
    "type": "object",
    "title": "FileData",
    "properties": {"path": {"type": "string"}, "meta": {"type": "object"}},
}
ONE = {"allow_custom_value": False}
PAIRS = [["Red", "red"], ["Green", "green"]]


@pytest.mark.parametrize(
    ("component", "properties", "good", "bad"),
    [
        ("textbox", {}, ["", "x"], [None, 1]),
        ("textbox", {"max_length": 2}, ["ab"], ["abc"]),
        ("number", {}, [1, 1.5, None], ["1", True]),
        ("number", {"precision": 0, "minimum": 1}, [1, None], [0, 1.5]),
        ("slider", {"minimum": 1, "maximum": 5}, [1, 2.5, 5], [0, 6, None, "2"]),
        ("checkbox", {}, [True], [None, 1]),
        ("dropdown", {"choices": PAIRS, **ONE}, ["red", None], ["Red", "blue", ["red"]]),
        ("dropdown", {"choices": PAIRS, "value": "red", **ONE}, ["green"], [None]),
        ("dropdown", {"choices": ["a", "b"]}, ["a", None, ["b"]], ["c", ["c"]]),
        ("dropdown", {"choices": []}, ["what comes later"], []),
        ("dropdown", {"choices": PAIRS, "allow_custom_value": True}, ["blue", None], [["red"]]),
        (
            "dropdown",
            {"choices": PAIRS, "multiselect": True, "max_choices": 1},
            [[], ["red"]],
            ["red", ["blue"], ["red", "green"], None],
        ),
        ("radio", {"choices": [1, 2]}, [1], [3, "1"]),
        ("checkboxgroup", {"choices": PAIRS}, [[], ["red", "green"]], ["red", ["x"]]),
        ("dataframe", {}, [[["a", 1]], {"data": [[1]]}, None], ["x", ["x"], {"headers": []}]),
        ("chatbot", {}, [[], [["a", "b"]]], ["x", None]),
        ("json", {}, [None, 1, {"a": []}], []),
    ],
)
def test_what_a_component_takes(
    component: str, properties: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    validator = jsonschema_rs.Draft202012Validator(schema_of(component, properties, None))
    assert [value for value in good if not validator.is_valid(value)] == []
    assert [value for value in bad if validator.is_valid(value)] == []


@pytest.mark.parametrize("component", ["image", "audio", "video", "file", "model3d"])
def test_a_file_may_be_left_empty_as_on_the_page(component: str) -> None:
    assert schema_of(component, {}, None) == {"anyOf": [FILE_SCHEMA, {"type": "null"}]}


def test_several_files() -> None:
    several = {"type": "array", "items": FILE_SCHEMA}
    expected = {"anyOf": [several, {"type": "null"}]}
    assert schema_of("file", {"file_count": "multiple"}, None) == expected
    assert schema_of("file", {"file_count": "directory"}, None) == expected
    assert schema_of("gallery", {}, None) == expected


def test_a_drawing_has_parts_and_from_4_on_may_be_a_picture_alone() -> None:
    drawn, _null = schema_of("image", {"tool": "sketch"}, None)["anyOf"]
    assert set(drawn["properties"]) == {"image", "mask"}
    drawn, alone, _null = schema_of("imageeditor", {}, None)["anyOf"]
    assert set(drawn["properties"]) == {"background", "layers", "composite"}
    assert alone == FILE_SCHEMA


def test_references_are_resolved_and_files_found_wherever_they_lie() -> None:
    told = {
        "type": "object",
        "title": "MultimodalData",
        "additional_description": None,
        "$defs": {"FileData": FILE_DATA},
        "properties": {
            "text": {"type": "string", "default": "", "title": "Text"},
            "files": {"type": "array", "items": {"$ref": "#/$defs/FileData"}},
            "either": {"oneOf": [{"$ref": "#/$defs/FileData"}, {"type": "null"}]},
            "pair": {"prefixItems": [{"$ref": "#/$defs/FileData"}, {"const": 1}]},
            "map": {"additionalProperties": {"$ref": "#/$defs/FileData"}},
        },
    }
    assert with_files(told) == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "files": {"type": "array", "items": FILE_SCHEMA},
            "either": {"anyOf": [FILE_SCHEMA, {"type": "null"}]},
            "pair": {"prefixItems": [FILE_SCHEMA, {"const": 1}]},
            "map": {"additionalProperties": FILE_SCHEMA},
        },
    }


@pytest.mark.parametrize(
    "told",
    [
        {"type": {}, "description": "any valid json"},
        {"type": "Any"},
        {"type": ["string", "file"]},
        {"$ref": "#/$defs/missing"},
        {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        {"anyOf": [True, {}]},
    ],
)
def test_what_is_no_schema_takes_anything(told: dict[str, Any]) -> None:
    schema = schema_of("own_thing", {}, told)
    assert jsonschema_rs.Draft202012Validator(schema).is_valid([1])


def test_a_schema_that_branches_into_itself_is_small() -> None:
    branches = {f"c{number}": {"$ref": "#/$defs/N"} for number in range(50)}
    told = {"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "properties": branches}}}
    made = with_files(told)
    assert made["type"] == "object"
    assert len(json.dumps(made)) < 1 << 20
