"""Arguments described by a JSON Schema: checked as it stands, files taken out of it."""

from pathlib import Path
from typing import Any

import pytest

from onegai.files.file import File
from onegai.functions.described import FILE_SCHEMA, Described
from onegai.functions.function import Unfit


def described(properties: dict[str, Any], **more: Any) -> Described:
    return Described({"type": "object", "properties": properties, **more})


def unfit(of: Described, given: Any) -> dict[str, str]:
    with pytest.raises(Unfit) as refused:
        of.check(given)
    return {error["field"]: error["message"] for error in refused.value.errors}


def test_what_is_right_passes_with_defaults() -> None:
    takes = described({"text": {"type": "string"}, "speed": {"type": "number", "default": 1}})
    assert takes.check({"text": "a", "more": [1]}) == {"text": "a", "speed": 1, "more": [1]}
    assert takes.check({"speed": 2}) == {"speed": 2}
    assert not takes.takes_files


def test_every_field_that_is_wrong_is_named() -> None:
    takes = described(
        {
            "text": {"type": "string"},
            "speed": {"type": "number", "minimum": 0},
            "size": {"$ref": "#/$defs/Size"},
        },
        required=["text"],
        additionalProperties=False,
        **{"$defs": {"Size": {"type": "object", "properties": {"w": {"type": "integer"}}}}},
    )
    assert set(unfit(takes, {"speed": -1, "size": {"w": "x"}, "sped": 1})) == {
        "text",
        "speed",
        "size.w",
        "sped",
    }
    assert unfit(takes, {})["text"] == "Field required"
    assert list(unfit(takes, [1])) == [""]
    assert list(unfit(takes, {"text": "a", "speed": float("nan")}))


def test_a_file_comes_in_every_form(tmp_path: Path) -> None:
    takes = described({"image": FILE_SCHEMA}, required=["image"])
    assert takes.takes_files
    for form in ("data:,ab", {"base64": "YWI="}, b"ab", File(b"ab")):
        file = takes.check({"image": form})["image"]
        assert isinstance(file, File)
        assert file.read() == b"ab"
    assert takes.check({"image": tmp_path})["image"].source == tmp_path
    assert list(unfit(takes, {"image": 5})) == ["image"]
    assert list(unfit(takes, {})) == ["image"]


def test_files_inside_of_other_values() -> None:
    takes = described(
        {
            "maybe": {"anyOf": [FILE_SCHEMA, {"type": "null"}], "default": None},
            "several": {"type": "array", "items": FILE_SCHEMA, "maxItems": 2},
            "one_or_more": {"anyOf": [FILE_SCHEMA, {"type": "array", "items": FILE_SCHEMA}]},
            "card": {"$ref": "#/$defs/Card"},
        },
        **{
            "$defs": {
                "Card": {
                    "type": "object",
                    "properties": {
                        "face": FILE_SCHEMA,
                        "name": {"type": "string"},
                        "next": {"$ref": "#/$defs/Card"},
                    },
                    "required": ["face"],
                }
            }
        },
    )
    taken = takes.check(
        {
            "several": ["data:,a", "data:,b"],
            "one_or_more": ["data:,c"],
            "card": {"face": "data:,d", "name": "x", "next": {"face": "data:,e"}},
        }
    )
    assert taken["maybe"] is None
    assert [file.read() for file in taken["several"]] == [b"a", b"b"]
    assert [file.read() for file in taken["one_or_more"]] == [b"c"]
    assert taken["card"]["face"].read() == b"d"
    assert taken["card"]["next"]["face"].read() == b"e"
    assert takes.check({"one_or_more": "data:,f"})["one_or_more"].read() == b"f"
    wrong = {"several": ["data:,a", 4, "data:,c"], "card": {"face": 1, "name": 2}}
    assert set(unfit(takes, wrong)) == {"several.1", "several", "card.face", "card.name"}


def test_a_schema_that_names_itself_is_followed_as_far_as_values_go() -> None:
    takes = described(
        {"tree": {"$ref": "#/$defs/Tree"}},
        **{
            "$defs": {
                "Tree": {
                    "type": "object",
                    "properties": {
                        "leaf": {"type": "string"},
                        "inner": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                    },
                    "additionalProperties": False,
                },
                "Loop": {"$ref": "#/$defs/Loop"},
            }
        },
    )
    assert not takes.takes_files
    deep: dict[str, Any] = {"leaf": "a"}
    for _ in range(50):
        deep = {"inner": [deep]}
    takes.check({"tree": deep})
    assert list(unfit(takes, {"tree": {"inner": [{"leaf": 1}]}})) == ["tree.inner.0.leaf"]
    looped = described(
        {"a": {"$ref": "#/$defs/Loop"}}, **{"$defs": {"Loop": {"$ref": "#/$defs/Loop"}}}
    )
    assert not looped.takes_files


def test_only_an_object_describes_arguments() -> None:
    with pytest.raises(ValueError, match="object"):
        Described({"type": "string"})
