"""The arguments of an endpoint, by names and in the app's order."""

from __future__ import annotations

from typing import Any

import pytest

from onegai.files.file import File
from onegai.functions.function import Unfit
from onegai.functions.gradio.arguments import Arguments, session_of
from onegai.functions.gradio.document import Endpoint, Input
from onegai.functions.gradio.schema import schema_of

TEXT = Input("textbox", "text", label="Some text", schema={"type": "string"}, about="what to say")
TIMES = Input("slider", "times", optional=True, initial=2, schema={"type": "number", "minimum": 1})
STATE = Input("state", hidden=True)
PICTURE = Input("image", "picture", optional=True, schema=schema_of("image", {}, None))


def endpoint(*inputs: Input) -> Endpoint:
    return Endpoint(0, "say", queued=True, generator=False, about="", inputs=inputs, outputs=())


def wrong(takes: Arguments, given: Any) -> dict[str, str]:
    with pytest.raises(Unfit) as caught:
        takes.check(given)
    return {error["field"]: error["message"] for error in caught.value.errors}


def test_the_schema_says_what_each_is() -> None:
    schema = Arguments(endpoint(TEXT, STATE, TIMES)).schema()
    assert schema["required"] == ["text"]
    assert list(schema["properties"]) == ["text", "times", "session"]
    text = {"type": "string", "title": "Some text", "description": "what to say"}
    assert schema["properties"]["text"] == text
    assert schema["properties"]["times"]["default"] == 2


def test_by_names() -> None:
    takes = Arguments(endpoint(TEXT, STATE, TIMES))
    assert takes.check({"text": "a"}) == {"text": "a", "times": 2, "session": None}
    assert takes.check({"text": "a", "times": 3, "session": "me"})["session"] == "me"
    assert set(wrong(takes, {"times": 0, "txt": "a"})) == {"text", "times", "txt"}
    assert set(wrong(takes, {"text": "a", "session": ""})) == {"session"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (["a"], {"text": "a", "times": 2}),
        (["a", 3], {"text": "a", "times": 3}),
        (["a", None, 3], {"text": "a", "times": 3}),
    ],
)
def test_in_the_apps_order(data: list[Any], expected: dict[str, Any]) -> None:
    takes = Arguments(endpoint(TEXT, STATE, TIMES))
    assert takes.check({"data": data}) == {**expected, "session": None}
    assert takes.check({"data": data, "session": "me"})["session"] == "me"


def test_a_wrong_list_is_told_with_what_is_right() -> None:
    takes = Arguments(endpoint(TEXT, STATE, TIMES))
    assert "text, times" in wrong(takes, {"data": "a"})["data"]
    assert "4 items, and may have 2: text, times" in wrong(takes, {"data": [1, 2, 3, 4]})["data"]
    assert set(wrong(takes, {"data": []})) == {"text"}
    assert set(wrong(takes, {"data": [1]})) == {"text"}


def test_an_argument_of_the_apps_own_with_that_name_wins() -> None:
    takes = Arguments(endpoint(Input("json", "data"), Input("textbox", "session")))
    given = {"data": [1], "session": "x"}
    assert takes.check(given) == given
    assert session_of(given, endpoint(Input("textbox", "session"))) is None
    assert session_of(given, endpoint(TEXT)) == "x"


def test_files_arrive_as_files() -> None:
    takes = Arguments(endpoint(TEXT, PICTURE))
    assert takes.takes_files
    picture = {"base64": "AAAA", "name": "a.png"}
    for given in ({"text": "a", "picture": picture}, {"data": ["a", picture]}):
        file = takes.check(given)["picture"]
        assert isinstance(file, File)
        assert (file.name, file.read()) == ("a.png", b"\0\0\0")
    assert takes.check({"text": "a", "picture": None})["picture"] is None
    assert not Arguments(endpoint(TEXT)).takes_files


@pytest.mark.parametrize("initial", [{"path": "/tmp/a.png", "meta": {}}, [{"a": 1}], "5", 0])
def test_what_a_caller_cannot_give_is_no_default(initial: Any) -> None:
    odd = Input("slider", "x", optional=True, initial=initial, schema=TIMES.schema)
    takes = Arguments(endpoint(odd))
    assert "default" not in takes.schema()["properties"]["x"]
    assert takes.check({}) == {"session": None}
