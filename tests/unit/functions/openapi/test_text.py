"""OpenAPI documents as texts: JSON and YAML, and what is none."""

import json

import pytest

from onegai.functions.openapi import text as openapi_text
from onegai.functions.openapi.text import NoDocument, parsed

YAML = """
openapi: 3.0.3
info: {title: shop, version: 1.0}
# a comment
paths:
  /a:
    get:
      operationId: no
      summary: 2024-01-02
      responses:
        200: {description: yes}
        default: {description: ~, x-b: [on, 0x1F, 012, 1e3, -4, .5, true]}
"""


def test_json() -> None:
    assert parsed(b'\xef\xbb\xbf {"openapi": "3.1.0"}') == {"openapi": "3.1.0"}


def test_yaml_is_read_by_the_rules_of_json() -> None:
    document = parsed(YAML.encode())
    assert document["info"] == {"title": "shop", "version": 1.0}
    operation = document["paths"]["/a"]["get"]
    assert (operation["operationId"], operation["summary"]) == ("no", "2024-01-02")
    assert operation["responses"] == {
        "200": {"description": "yes"},
        "default": {"description": None, "x-b": ["on", "0x1F", "012", 1000.0, -4, 0.5, True]},
    }


def test_yaml_may_repeat_with_anchors_and_merges() -> None:
    text = "openapi: 3.0.0\nx: &x {a: 1}\ny: {<<: *x, b: 2}\nz: *x"
    assert parsed(text.encode()) == {
        "openapi": "3.0.0",
        "x": {"a": 1},
        "y": {"a": 1, "b": 2},
        "z": {"a": 1},
    }


@pytest.mark.parametrize(
    ("content", "reason", "close"),
    [
        (b"", "it is empty", False),
        (b"<!doctype html><html>", "it is HTML or XML", False),
        (b"\xff\xfe", "it is no text in UTF-8", False),
        (b'{"detail": "Not Found"}', "it is no OpenAPI document", False),
        (b"[1]", "it is no OpenAPI document", False),
        (b"hello", "it is no OpenAPI document", False),
        (b'{"openapi": ', "it is not JSON", True),
        (b"openapi: 3.0.0\n a: [", "it is neither JSON nor YAML", False),
        (b'{"swagger": "2.0"}', "it is of Swagger 2.0, not of OpenAPI 3", True),
        (b'{"openapi": "4.0"}', "it is of OpenAPI 4.0, and 3.0 and 3.1 are read", True),
        (b'{"openapi": 3}', "it is of OpenAPI 3, ", True),
        (b'{"openapi": "3.1.0", "a": ' + b"[" * 200 + b"]" * 200 + b"}", "too deep", True),
        (b'{"a": ' + b"[" * 100_000, "too deep", True),
        (b"!!python/object/apply:os.system [ls]", "it is neither JSON nor YAML", False),
        (b"openapi: 3.0.0\n? [1]\n: 2", "it is neither JSON nor YAML", False),
    ],
)
def test_what_is_no_document(content: bytes, reason: str, close: bool) -> None:
    with pytest.raises(NoDocument) as caught:
        parsed(content)
    assert reason in caught.value.reason
    assert caught.value.close is close


def test_a_document_that_contains_itself_is_refused() -> None:
    with pytest.raises(NoDocument, match="too deep"):
        parsed(b"openapi: 3.0.0\na: &a {b: *a}")


def test_a_bomb_is_refused_before_it_is_written_out() -> None:
    lines = ["openapi: 3.0.0", "l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(NoDocument, match="values"):
        parsed("\n".join(lines).encode())


def test_a_large_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"openapi": "3.1.0", "x": "x" * 1000}).encode()
    monkeypatch.setattr(openapi_text, "MOST_YAML_BYTES", 500)
    assert parsed(text)["openapi"] == "3.1.0"
    with pytest.raises(NoDocument, match="YAML"):
        parsed(b"openapi: 3.1.0\nx: " + b"x" * 1000)
    monkeypatch.setattr(openapi_text, "MOST_BYTES", 500)
    with pytest.raises(NoDocument, match="larger"):
        parsed(text)
