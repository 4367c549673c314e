"""The file a person edits: places of errors, and replacement in one step."""

import json
import stat
from pathlib import Path

import pytest

from onegai.config import jsonfile
from onegai.config.jsonfile import Unreadable


def test_no_file_is_none(tmp_path: Path) -> None:
    assert jsonfile.read(tmp_path / "none.json") is None


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.json"
    value = {"text": "こんにちは", "nested": {"list": [1, None, True]}}
    jsonfile.write(path, value)
    assert jsonfile.read(path) == value
    assert "こんにちは" in path.read_text("utf-8")


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "home").mkdir()
    link, file = tmp_path / "home" / "a.json", tmp_path / "dotfiles" / "b.json"
    link.symlink_to("../dotfiles/b.json")
    for value in ({"made": 1}, {"changed": 2}):
        jsonfile.write(link, value)
        assert link.is_symlink()
        assert jsonfile.read(file) == value
    assert [path.name for path in tmp_path.glob("*/.*")] == []


def test_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert jsonfile.read(path) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{\n  "a": 1,\n  "b" 2\n}', 3, "line 3, column 7"),
        ('{"a": 1,}', 1, "line 1"),
        ("", 1, "line 1"),
        ("[1, 2]", None, "one JSON object"),
        ('"text"', None, "one JSON object"),
        ('{"a": 1, "a": 2}', None, "'a' stands there twice"),
        ('{"x": {"a": 1, "a": 2}}', None, "'a' stands there twice"),
        (b'{"a": "\xff"}', None, "not UTF-8"),
        ('{"a": ' * 100_000, None, ""),
        ('{"a": ' + "1" * 5000 + "}", None, ""),
    ],
    ids=[
        *("syntax", "trailing-comma", "empty", "array", "string"),
        *("duplicate", "nested-duplicate", "not-utf8", "too-deep", "number-too-long"),
    ],
)
def test_unreadable_says_where(
    tmp_path: Path, text: str | bytes, line: int | None, says: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(Unreadable) as caught:
        jsonfile.read(path)
    assert caught.value.line == line
    assert says in caught.value.reason


def test_comment_keys_may_repeat(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"_": "one", "_": "two", "a": 1}')
    assert jsonfile.read(path) == {"_": "two", "a": 1}


def test_folder_in_its_place_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="directory"):
        jsonfile.read(tmp_path)


def test_write_is_private_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    path.chmod(0o644)
    jsonfile.write(path, {"password": "x"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    jsonfile.write(path, {"a": 1})
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        jsonfile.write(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_value_that_is_no_json_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    jsonfile.write(path, {"a": 1})
    with pytest.raises(TypeError):
        jsonfile.write(path, {"a": object()})
    assert jsonfile.read(path) == {"a": 1}
