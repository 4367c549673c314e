"""What an app is shown, and what no text may tell of it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from onegai.config.credentials import NO_ACCESS, Access, access, secrets
from onegai.config.entry import AppSpec
from onegai.errors import KeyMissing

KEYS = {"my_key": SecretStr("sk-1234567890"), "hf_token": SecretStr("hf_abcdefgh")}


def spec(credentials: Any, **keys: Any) -> AppSpec:
    entry = {"app": "a", "type": "webapi", "url": "https://example.com", **keys}
    return AppSpec.model_validate({**entry, "credentials": credentials})


def shown(credentials: Any, **keys: Any) -> Access:
    return access(spec(credentials, **keys), KEYS)


def test_none() -> None:
    assert shown(None) is NO_ACCESS


@pytest.mark.parametrize(
    ("credentials", "headers", "query", "place"),
    [
        ({"bearer": "{my_key}"}, {"authorization": "Bearer sk-1234567890"}, {}, "my_key"),
        ({"header": {"X-Api-Key": "{my_key}"}}, {"x-api-key": "sk-1234567890"}, {}, "my_key"),
        ({"header": {"A": "Token {my_key}!"}}, {"a": "Token sk-1234567890!"}, {}, "my_key"),
        ({"query": {"Key": "{my_key}"}}, {}, {"Key": "sk-1234567890"}, "my_key"),
        ({"bearer": "plain"}, {"authorization": "Bearer plain"}, {}, "apps.a.credentials"),
        (
            {"header": {"x": "{other}"}, "query": {"k": "{}"}},
            {"x": "{other}"},
            {"k": "{}"},
            "apps.a.credentials",
        ),
        (
            {"bearer": "{my_key}", "query": {"t": "{hf_token}"}},
            {"authorization": "Bearer sk-1234567890"},
            {"t": "hf_abcdefgh"},
            "hf_token and my_key",
        ),
    ],
)
def test_ways(credentials: Any, headers: dict[str, str], query: dict[str, str], place: str) -> None:
    found = shown(credentials)
    assert (found.headers, found.query, found.place) == (headers, query, place)


def test_basic() -> None:
    found = shown({"basic": ["ねこ", "{my_key}"]})
    kind, _, pair = found.headers["authorization"].partition(" ")
    assert (kind, base64.b64decode(pair).decode()) == ("Basic", "ねこ:sk-1234567890")
    assert found.hidden(f"ねこ {pair}") == "ねこ ********"


def test_a_key_that_is_not_there() -> None:
    with pytest.raises(KeyMissing) as caught:
        shown({"bearer": "{your_key}"})
    assert caught.value.params["key"] == "your_key"


def test_no_repr_tells() -> None:
    entry = spec({"bearer": "sk-literal-99", "basic": None, "query": {"q": "sk-literal-99"}})
    told = repr(entry) + str(entry.credentials) + repr(shown({"bearer": "sk-literal-99"}))
    told += entry.model_dump_json() + str(entry.model_dump())
    assert "sk-literal-99" not in told


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"bearer": ""},
        {"bearer": "a\nb"},
        {"bearer": "ｓｋ"},
        {"header": {"X Y": "z"}},
        {"header": {"Host": "z"}},
        {"header": {"X": "1", "x": "2"}},
        {"header": {"authorization": "z"}, "bearer": "y"},
        {"basic": ["a", "b"], "bearer": "y"},
        {"basic": ["a"]},
        {"cookie": {}},
    ],
)
def test_what_is_refused(credentials: Any) -> None:
    with pytest.raises(ValidationError):
        spec(credentials)


@pytest.mark.parametrize(
    ("keys", "whether"),
    [
        ({"type": "gradio", "url": "https://me-mine.hf.space"}, True),
        ({"type": "gradio", "url": "https://huggingface.co/spaces/me/mine"}, True),
        ({"type": "gradio", "url": "http://me-mine.hf.space"}, False),
        ({"type": "gradio", "url": "https://hf.space.evil.com"}, False),
        ({"type": "gradio", "url": "https://evilhf.space"}, False),
        ({"type": "webapi", "url": "https://me-mine.hf.space"}, False),
        ({"type": "gradio", "port": 7, "exec": "x", "url": None}, False),
    ],
)
def test_spaces_are_shown_the_token_of_hugging_face(keys: dict[str, Any], whether: bool) -> None:
    found = shown(None, **keys)
    assert found.headers == ({"authorization": "Bearer hf_abcdefgh"} if whether else {})
    assert access(spec(None, **keys), {}) is NO_ACCESS


def test_a_space_may_have_other_credentials() -> None:
    found = shown({"bearer": "{my_key}"}, type="gradio", url="https://me.hf.space")
    assert found.headers == {"authorization": "Bearer sk-1234567890"}


def test_all_secrets() -> None:
    entries = [spec({"bearer": "literal"}), spec({"bearer": "{your_key}"}), spec(None)]
    assert set(secrets(entries, KEYS)) == {"sk-1234567890", "hf_abcdefgh", "literal"}
