"""What is said to chat models, and how what they say is taken down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onegai.sdk import File
from onegai.sdk.chat import Asked, Chat, Failure, Message, OpenAI, Said, Talk, _events


def test_messages_in_their_order() -> None:
    history = [
        Message(role="user", content="a"),
        Message(role="assistant", tool_calls=[{"id": "1"}]),
    ]
    assert Chat(text="b", system="s", history=history).messages() == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
        {"role": "user", "content": "b"},
    ]
    assert Talk(history=history[:1]).messages() == [{"role": "user", "content": "a"}]


def test_pictures_stand_behind_the_text() -> None:
    [message] = Chat(text="look", images=[File(b"\x89PNG\r\n\x1a\nx", "a.png")]).messages()
    assert message["content"][0] == {"type": "text", "text": "look"}
    url = message["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {}),
        (
            {"max_tokens": 5, "seed": 0, "temperature": 0},
            {"max_tokens": 5, "seed": 0, "temperature": 0},
        ),
        ({"tool_choice": "auto"}, {}),
        ({"tools": [{}], "tool_choice": "none"}, {"tools": [{}], "tool_choice": "none"}),
        ({"seed": 1, "options": {"seed": 2, "top_p": 1}}, {"seed": 2, "top_p": 1}),
    ],
)
def test_what_is_not_given_is_not_asked_for(given: Any, wanted: Any) -> None:
    assert Chat(**given).wanted() == wanted


def test_a_request_of_openais_kind() -> None:
    dialect = OpenAI("/v1/c", max_tokens="max_completion_tokens")
    asked = dialect.ask("m", [{"role": "user"}], {"max_tokens": 5}, stream=False)
    body = {"model": "m", "messages": [{"role": "user"}], "max_completion_tokens": 5}
    assert asked == Asked("/v1/c", body)
    stream = dialect.ask("m", [], {}, stream=True).body
    assert (stream["stream"], stream["stream_options"]) == (True, {"include_usage": True})


def test_tool_calls_come_in_parts() -> None:
    said, dialect = Said(), OpenAI()
    for delta in (
        {"index": 1, "id": "b", "type": "function", "function": {"name": "f", "arguments": ""}},
        {
            "index": 0,
            "id": "a",
            "function": {"name": "g", "arguments": "{"},
            "extra_content": {"x": 1},
        },
        {"index": 1, "function": {"arguments": '{"y": '}},
        {"index": 0, "function": {"arguments": "}"}},
        {"index": 1, "function": {"arguments": "2}"}},
    ):
        data = {"choices": [{"delta": {"tool_calls": [delta]}, "finish_reason": None}]}
        assert dialect.piece(said, json.dumps(data)) == ""
    assert not said.over
    dialect.piece(said, '{"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}')
    assert said.over
    first, second = said.result()[1]["tool_calls"]
    assert first == {
        "id": "a",
        "type": "function",
        "function": {"name": "g", "arguments": "{}"},
        "extra_content": {"x": 1},
    }
    assert second["function"] == {"name": "f", "arguments": '{"y": 2}'}


@pytest.mark.parametrize(
    ("error", "status"),
    [({"message": "x", "code": 429}, 429), ({"code": "rate"}, 500), ("x", 500), ({"code": 7}, 500)],
)
def test_errors_in_a_stream(error: Any, status: int) -> None:
    with pytest.raises(Failure) as caught:
        OpenAI().piece(Said(), json.dumps({"error": error}))
    assert caught.value.status == status


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{}]}, {"choices": 1}])
def test_what_is_no_answer(answer: Any) -> None:
    with pytest.raises((LookupError, TypeError)):
        OpenAI().whole(Said(), answer)


def test_events() -> None:
    lines = ["event: a", "data: 1", "data:2", "", ": comment", "", "data: 3", "", "data: 4"]
    assert list(_events(lines)) == ["1\n2", "3", "4"]


def test_tokens() -> None:
    said = Said()
    said.count(7, 1)
    said.count(completion=4)
    assert said.usage == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
