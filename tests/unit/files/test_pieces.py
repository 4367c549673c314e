"""Large texts and bytes are taken apart, and come out whole."""

import base64
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.files import pieces
from onegai.files.pieces import from_base64, json_of_text, to_base64, utf8


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """So that a few bytes are several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", 6)
        patch.setattr(pieces, "_BASE64_PIECE", 8)
        yield


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_of_a_text(text: str) -> None:
    assert utf8(text) == text.encode()
    assert json_of_text(text) == json.dumps(text, ensure_ascii=False).encode()


@given(st.binary())
def test_base64(content: bytes) -> None:
    assert to_base64(content) == base64.b64encode(content)
    assert from_base64(to_base64(content).decode()) == content
    assert from_base64(base64.encodebytes(content).decode()) == content


@given(st.text("Qg=é ", max_size=20))
def test_what_is_no_base64_is_refused_as_ever(text: str) -> None:
    try:
        expected = base64.b64decode(text.replace(" ", ""), validate=True)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            from_base64(text)
    else:
        assert from_base64(text) == expected
