"""What a Gradio app tells of itself, of every generation, and what is kept of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onegai.functions.described import FILE_SCHEMA
from onegai.functions.gradio.document import (
    Endpoint,
    NotGradio,
    endpoints_of,
    identifier,
    server_of,
    told,
)

FILE_DATA = {
    "title": "FileData",
    "type": "object",
    "required": ["path"],
    "properties": {"path": {"type": "string"}, "meta": {"default": {"_type": "gradio.FileData"}}},
}


def component(number: int, kind: str, **properties: Any) -> dict[str, Any]:
    """As /config of 4 and later has one; ``api_info`` and ``skip_api`` are not properties."""
    api_info, skip = properties.pop("api_info", {"type": "string"}), properties.pop("skip", False)
    return {
        "id": number,
        "type": kind,
        "props": {"name": kind, **properties},
        "skip_api": skip,
        "api_info": api_info,
    }


def config(
    components: list[dict[str, Any]], *dependencies: dict[str, Any], **keys: Any
) -> dict[str, Any]:
    whole = {"backend_fn": True, "queue": True, "inputs": [], "outputs": [], "cancels": []}
    return {
        "version": "5.50.0",
        "api_prefix": "/gradio_api",
        "protocol": "sse_v3",
        "app_id": 15944673851016073656,
        "components": components,
        "dependencies": [{**whole, "id": n, **one} for n, one in enumerate(dependencies)],
        **keys,
    }


def endpoints(config: Any, info: Any = None) -> dict[str, Endpoint]:
    kept = json.loads(json.dumps(told(config, info)))
    return dict(endpoints_of(kept))


TEXT = component(1, "textbox", label="Some text")
OLD = {"version": "3.38.0\n", "api_prefix": None, "protocol": None, "enable_queue": True}


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"dependencies": []}, {"dependencies": [], "version": "x"}, {"version": "4.1"}],
)
def test_another_document_is_none_of_a_gradio_app(answer: Any) -> None:
    with pytest.raises(NotGradio):
        told(answer, None)


def test_nothing_that_changes_from_start_to_start_is_kept() -> None:
    one = told(config([TEXT], {"api_name": "a", "inputs": [1]}, app_id=1, root="http://x:1"), None)
    other = told(config([TEXT], {"api_name": "a", "inputs": [1]}, app_id=2, root="http://y"), None)
    assert one == other


def test_how_the_server_is_spoken_to() -> None:
    new = server_of(told(config([]), None))
    assert (new.version, new.generation, new.prefix) == ("5.50.0", 5, "/gradio_api")
    assert (new.protocol, new.sends_changes) == ("sse_v3", True)
    old = server_of(told(config([], **OLD), None))
    assert (old.version, old.generation, old.prefix) == ("3.38.0", 3, "")
    assert (old.protocol, old.sends_changes) == ("ws", False)
    first = server_of(told(config([], version="4.8.0", protocol=None, api_prefix=None), None))
    assert (first.protocol, first.sends_changes) == ("sse", False)


def test_what_gradio_does_not_show_is_no_function() -> None:
    found = endpoints(
        config(
            [TEXT],
            {"api_name": "shown", "api_visibility": "public"},
            {"api_name": False},
            {"api_name": "private", "api_visibility": "private"},
            {"api_name": "undocumented", "api_visibility": "undocumented"},
            {"api_name": "hidden", "show_api": False},
            {"api_name": "javascript", "backend_fn": False},
            {"api_name": "stop", "cancels": [0]},
            {"api_name": "stopping", "types": {"cancel": True}},
            {"api_name": "of_a_render", "rendered_in": 7},
            {"api_name": "of_nothing", "inputs": [99]},
            {"api_name": "_underscored"},
        )
    )
    assert list(found) == ["shown", "_underscored"]
    assert found["_underscored"].index == 10


def test_names_are_identifiers_and_each_is_there_once() -> None:
    names = ["a b", "a-b", "lambda", "3d", "日本語", "!!", None]
    found = endpoints(config([], *({"api_name": name} for name in names)))
    assert list(found) == ["a_b", "a_b_2", "lambda_", "_3d", "日本語", "fn_5", "fn_6"]
    assert [one.api_name for one in found.values()] == [*names[:-1], ""]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Times (1-5)", "Times_1_5"),
        ("  _x ", "x"),
        ("_x", "_x"),
        ("🎤", ""),
        ("変調(整数, 半音)", "変調_整数_半音"),
        ("class", "class_"),
        ("x" * 100, "x" * 64),
        ("", ""),
    ],
)
def test_identifier(text: str, name: str) -> None:
    assert identifier(text) == name


def test_arguments_are_named_as_the_apps_function_has_them_else_as_the_page() -> None:
    parts = [
        TEXT,
        component(2, "slider", label="Times (1-5)"),
        component(3, "textbox", label="Some text"),
        component(4, "image", label="🎤"),
        component(5, "state", skip=True),
        component(6, "number", label="x"),
    ]
    page = config(parts, {"api_name": "say", "inputs": [1, 2, 3, 4, 5, 6]})
    names = [one.name for one in endpoints(page)["say"].given]
    assert names == ["some_text", "times_1_5", "some_text_2", "image_4", "x"]
    given = [{"parameter_name": name} for name in ("name", "param_1", "from", "", "session")]
    info = {"named_endpoints": {"/say": {"parameters": given, "description": "Says it."}}}
    say = endpoints(page, info)["say"]
    assert [one.name for one in say.given] == ["name", "times_1_5", "from_", "image_4", "session"]
    assert say.about == "Says it."
    info["named_endpoints"]["/say"]["parameters"] = given[:2]  # of another one than the page's
    assert [one.name for one in endpoints(page, info)["say"].given] == names


def test_what_nobody_gives_is_hidden() -> None:
    parts = [TEXT, component(2, "state", skip=True, value=[1]), component(3, "button", skip=True)]
    parts[2]["props"]["value"] = "Go"
    ends = {"api_name": "say", "inputs": [1, 2, 3], "outputs": [1, 2]}
    say = endpoints(config(parts, ends))["say"]
    assert [(one.hidden, one.initial) for one in say.inputs] == [
        *((False, None), (True, None), (True, "Go"))
    ]
    assert [(one.label, one.hidden) for one in say.outputs] == [("Some text", False), ("", True)]
    for one in parts:
        del one["skip_api"]
    old = endpoints(config(parts, ends, **OLD))["say"]
    assert [one.hidden for one in old.inputs] == [False, True, True]


def test_what_the_page_has_at_first_need_not_be_given() -> None:
    parts = [
        component(1, "checkbox", label="a", value=False),
        component(2, "textbox", label="b", value=""),
        component(3, "textbox", label="c"),
        component(4, "textbox", label="d", value="x" * 30_000),
    ]
    ends = {"api_name": "say", "inputs": [1, 2, 3, 4]}
    info = {"named_endpoints": {"/say": {"parameters": [{"parameter_has_default": True}] * 4}}}
    say = endpoints(config(parts, ends))["say"]
    assert [one.optional for one in say.inputs] == [True, True, False, True]
    assert [one.initial for one in say.inputs] == [False, "", None, None]
    assert [one.optional for one in endpoints(config(parts, ends), info)["say"].inputs] == [
        True
    ] * 4
    old = endpoints(config(parts, ends, **OLD))["say"]  # each of its texts has an empty value
    assert [one.optional for one in old.inputs] == [True, False, False, True]


@pytest.mark.parametrize(
    ("dependency", "keys", "queued"),
    [
        ({"queue": True}, {}, True),
        ({"queue": False}, {}, False),
        ({"queue": None}, {}, True),
        ({"queue": None}, {"enable_queue": False}, False),
        ({"queue": None}, {**OLD, "enable_queue": False}, False),
        ({"queue": None}, OLD, True),
        ({"queue": None}, {"version": "3.14.0"}, False),
    ],
)
def test_which_endpoints_are_queued(
    dependency: dict[str, Any], keys: dict[str, Any], queued: bool
) -> None:
    found = endpoints(config([], {"api_name": "a", **dependency}, **keys))
    assert found["a"].queued is queued


def test_generators_are_told_apart() -> None:
    found = endpoints(
        config(
            [],
            {"api_name": "a", "types": {"generator": True}},
            {"api_name": "b", "types": {"generator": False}},
            {"api_name": "c"},
            {"api_name": "d", "queue": False},
        )
    )
    assert [one.generator for one in found.values()] == [True, False, True, False]


def test_a_file_of_any_generation_is_a_file() -> None:
    wrapped = {"type": "object", "properties": {"video": FILE_DATA, "subtitles": FILE_DATA}}
    parts = [
        component(1, "image", label="a", api_info=FILE_DATA),
        component(2, "video", label="b", api_info=wrapped),
        component(3, "video", label="c", api_info=FILE_DATA),
        component(4, "own_thing", label="d", api_info={"type": "array", "items": FILE_DATA}),
        component(5, "own_thing", label="e", api_info=None),
    ]
    inputs = endpoints(config(parts, {"api_name": "a", "inputs": [1, 2, 3, 4, 5]}))["a"].inputs
    assert [one.shape for one in inputs] == ["", "video", "", "", ""]
    assert [FILE_SCHEMA in one.schema.get("anyOf", []) for one in inputs[:3]] == [True] * 3
    assert inputs[3].schema == {"type": "array", "items": FILE_SCHEMA}
    assert inputs[4].schema == {}


def test_endpoints_and_inputs_without_end_are_left_out() -> None:
    one = {"id": 1, "type": "textbox", "props": {"label": "t"}}
    many = [{"api_name": "a", "inputs": [1], "outputs": []}] * 5000
    wide = {"api_name": "wide", "inputs": [1] * 5000, "outputs": []}
    kept = told({"version": "5.0.0", "components": [one], "dependencies": [wide, *many]}, None)
    names = {endpoint["api_name"] for endpoint in kept["endpoints"]}
    assert names == {"a"}
    assert len(list(endpoints_of(kept))) < 2000
