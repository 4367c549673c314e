"""An argument that may be a file, or an object with files in it."""

from __future__ import annotations

import pytest

from onegai.files.file import File
from onegai.functions.described import FILE_SCHEMA, Described
from onegai.functions.function import Unfit

PARTS = {"image": FILE_SCHEMA, "mask": FILE_SCHEMA}
DRAWN = {"type": "object", "properties": PARTS, "required": ["image", "mask"]}
FILE = {"base64": "AAAA", "name": "a.png"}


@pytest.mark.parametrize("choices", [[FILE_SCHEMA, DRAWN], [DRAWN, FILE_SCHEMA]])
def test_its_keys_tell(choices: list[dict[str, object]]) -> None:
    takes = Described({"type": "object", "properties": {"x": {"anyOf": choices}}})
    both = takes.check({"x": {"image": FILE, "mask": {"base64": "AAAA"}}})["x"]
    assert isinstance(both["image"], File)
    assert isinstance(both["mask"], File)
    assert isinstance(takes.check({"x": FILE})["x"], File)
    assert isinstance(takes.check({"x": {"job": "1"}})["x"], File)
    with pytest.raises(Unfit) as caught:
        takes.check({"x": {"image": FILE, "mask": {"bas64": "AAAA"}}})
    assert [error["field"] for error in caught.value.errors] == ["x.mask"]
