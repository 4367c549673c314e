"""Arguments as a request: styles of parameters, bodies, and what cannot be sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onegai.errors import BadArguments
from onegai.files.file import File
from onegai.functions.openapi.document import Document
from onegai.functions.openapi.functions import Doubt, function_of
from onegai.functions.openapi.operation import Operation
from onegai.functions.openapi.requests import sent, text_of

OBJECT = {"R": 100, "G": 200}
ARRAY = ["blue", "a b"]


def operation(path: str = "/x", method: str = "post", **raw: Any) -> Operation:
    document = Document({"openapi": "3.1.0", "paths": {path: {method: raw}}}, "", "http://a")
    assert document.remarks == []
    return document.operations[0]


def with_parameter(place: str, **more: Any) -> Operation:
    path = "/x/{c}" if place == "path" else "/x"
    return operation(path, parameters=[{"in": place, "name": "c", "schema": {}, **more}])


def with_body(media_type: str, schema: Any, **more: Any) -> Operation:
    return operation(requestBody={"content": {media_type: {"schema": schema, **more}}})


@pytest.mark.parametrize(
    ("how", "value", "target"),
    [
        ({}, "a b&c=ü/?#%", "/x?c=a%20b%26c%3D%C3%BC%2F%3F%23%25"),
        ({}, "", "/x?c="),
        ({}, None, "/x"),
        ({}, True, "/x?c=true"),
        ({}, 1.5, "/x?c=1.5"),
        ({}, 2.0, "/x?c=2"),
        ({}, ARRAY, "/x?c=blue&c=a%20b"),
        ({}, [], "/x"),
        ({}, OBJECT, "/x?R=100&G=200"),
        ({"explode": False}, ARRAY, "/x?c=blue,a%20b"),
        ({"explode": False}, OBJECT, "/x?c=R,100,G,200"),
        ({"explode": False}, [], "/x"),
        ({"style": "spaceDelimited"}, ARRAY, "/x?c=blue%20a%20b"),
        ({"style": "pipeDelimited"}, ARRAY, "/x?c=blue%7Ca%20b"),
        ({"style": "pipeDelimited", "explode": True}, ARRAY, "/x?c=blue&c=a%20b"),
        ({"style": "deepObject"}, OBJECT, "/x?c%5BR%5D=100&c%5BG%5D=200"),
        ({"style": "deepObject"}, {"a": {"b": [1, 2]}}, "/x?c%5Ba%5D%5Bb%5D=1&c%5Ba%5D%5Bb%5D=2"),
        ({"allowReserved": True}, "a/b?c&d=e#", "/x?c=a/b?c%26d%3De%23"),
        (
            {"content": {"application/json": {"schema": {}}}},
            OBJECT,
            "/x?c=%7B%22R%22%3A100%2C%22G%22%3A200%7D",
        ),
        ({}, [{"a": 1}], "/x?c=%7B%22a%22%3A1%7D"),
    ],
)
def test_in_a_query(how: dict[str, Any], value: Any, target: str) -> None:
    assert sent(with_parameter("query", **how), {"c": value}).target == target


@pytest.mark.parametrize(
    ("how", "value", "target"),
    [
        ({}, "a/b ü", "/x/a%2Fb%20%C3%BC"),
        ({}, ARRAY, "/x/blue,a%20b"),
        ({}, OBJECT, "/x/R,100,G,200"),
        ({"explode": True}, OBJECT, "/x/R=100,G=200"),
        ({"style": "label"}, "blue", "/x/.blue"),
        ({"style": "label", "explode": True}, OBJECT, "/x/.R=100.G=200"),
        ({"style": "label"}, ARRAY, "/x/.blue,a%20b"),
        ({"style": "matrix"}, "blue", "/x/;c=blue"),
        ({"style": "matrix"}, ARRAY, "/x/;c=blue,a%20b"),
        ({"style": "matrix", "explode": True}, ARRAY, "/x/;c=blue;c=a%20b"),
        ({"style": "matrix", "explode": True}, OBJECT, "/x/;R=100;G=200"),
    ],
)
def test_in_a_path(how: dict[str, Any], value: Any, target: str) -> None:
    assert sent(with_parameter("path", **how), {"c": value}).target == target


def test_in_headers_and_cookies() -> None:
    assert sent(with_parameter("header"), {"c": ARRAY}).headers["c"] == "blue,a b"
    assert sent(with_parameter("header", explode=True), {"c": OBJECT}).headers["c"] == "R=100,G=200"
    assert sent(with_parameter("cookie"), {"c": "a;b"}).headers["cookie"] == "c=a%3Bb"
    assert sent(with_parameter("cookie"), {}).headers.keys() == {"accept"}


@pytest.mark.parametrize(
    ("place", "value"),
    [("path", ""), ("path", "."), ("path", ".."), ("path", []), ("header", "a\r\nb: c")],
)
def test_what_cannot_be_sent_is_refused(place: str, value: Any) -> None:
    function = function_of("a", "f", with_parameter(place), Doubt(None))
    with pytest.raises(BadArguments) as caught:
        function.arguments({"c": value})
    assert [one["field"] for one in caught.value.extra["errors"]] == ["c"]


FIELDS = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "n": {}, "none": {}},
    "additionalProperties": True,
}


def test_json_has_its_fields_and_no_parameters() -> None:
    made = operation(
        parameters=[{"in": "query", "name": "q"}],
        requestBody={"content": {"application/json": {"schema": FIELDS}}},
    )
    request = sent(made, {"q": 1, "text": "ü", "more": [1], "none": None})
    assert request.target == "/x?q=1"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content or b"") == {"text": "ü", "more": [1], "none": None}
    assert sent(made, {}).content == b"{}"


def test_a_body_that_is_not_given_is_not_sent() -> None:
    made = with_body("application/json", {})
    request = sent(made, {})
    assert (request.content, "content-type" in request.headers) == (None, False)
    assert sent(made, {"body": None}).content == b"null"


def test_a_form() -> None:
    media_type = "application/x-www-form-urlencoded"
    made = with_body(media_type, FIELDS, encoding={"n": {"style": "form", "explode": False}})
    request = sent(made, {"text": "a b&", "n": [1, 2], "none": None, "o": {"a": 1}, "l": [1, 2]})
    assert request.headers["content-type"] == media_type
    assert request.content == b"text=a%20b%26&n=1,2&o=%7B%22a%22%3A1%7D&l=1&l=2"


def test_a_form_of_several_parts() -> None:
    binary = {"type": "string", "format": "binary"}
    schema = {"type": "object", "properties": {"f": binary, "fs": {"items": binary}, "o": {}}}
    made = with_body("multipart/form-data", schema, encoding={"f": {"contentType": "audio/x-own"}})
    files = [File(b"one", "a.txt"), File(b"\0two")]
    request = sent(made, {"f": File(b"\x01", "ä.bin"), "fs": files, "o": {"a": 1}, "n": None})
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    content = (request.content or b"").decode("latin-1")
    assert content.count("Content-Disposition") == 4
    assert 'name="f"; filename="Ã¤.bin"\r\nContent-Type: audio/x-own\r\n\r\n\x01' in content
    assert 'name="fs"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\none' in content
    assert 'name="o"\r\nContent-Type: application/json\r\n\r\n{"a":1}' in content


@pytest.mark.parametrize(
    ("media_type", "sent_type"),
    [
        ("audio/*", "text/plain"),
        ("audio/wav", "audio/wav"),
        ("application/octet-stream", "application/octet-stream"),
    ],
)
def test_a_file_is_the_body(media_type: str, sent_type: str) -> None:
    request = sent(with_body(media_type, {}), {"body": File(b"x", "a.txt")})
    assert (request.content, request.headers["content-type"]) == (b"x", sent_type)


def test_text_is_the_body() -> None:
    request = sent(with_body("text/plain", {"type": "string"}), {"body": "ü"})
    assert request.content == "ü".encode()
    assert request.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e20, "1e+20"), (-0.5, "-0.5"), (10**20, "1" + "0" * 20), (None, ""), ([1], "[1]")],
)
def test_values_as_text(value: Any, text: str) -> None:
    assert text_of(value) == text
