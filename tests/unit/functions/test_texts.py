"""Texts of a form or of a command, for arguments of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from onegai.files.file import MARK
from onegai.functions.described import FILE_SCHEMA
from onegai.functions.texts import from_text, kinds_of

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "size": {"type": "integer"},
        "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "either": {"type": ["string", "integer"]},
        "mode": {"enum": [1, 2]},
        "style": {"enum": ["1", "2"]},
        "yes": {"type": "boolean"},
        "tree": {"$ref": "#/$defs/Tree"},
        "image": FILE_SCHEMA,
        "images": {"type": "array", "items": FILE_SCHEMA},
        "anything": {},
    },
    "$defs": {"Tree": {"type": "object"}},
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "5", "5"),
        ("size", "5", 5),
        ("size", "five", "five"),
        ("maybe", "2.5", 2.5),
        ("maybe", "null", None),
        ("either", "5", "5"),
        ("mode", "2", 2),
        ("style", "2", "2"),
        ("yes", "true", True),
        ("tree", '{"a": [1]}', {"a": [1]}),
        ("image", "5", "5"),
        ("image", '{"base64": "YQ=="}', {"base64": "YQ=="}),
        ("anything", "5", "5"),
        ("unheard", "5", "5"),
    ],
)
def test_a_text_is_what_its_argument_is(name: str, text: str, value: Any) -> None:
    assert from_text(text, kinds_of(SCHEMA)(name)) == value


def test_files_are_marked() -> None:
    kinds = kinds_of(SCHEMA)
    assert kinds("image") == {MARK}
    assert kinds("images") == {"array", MARK}
