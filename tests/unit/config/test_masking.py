"""Secrets: hidden when shown, kept when a mask comes back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from onegai.config.masking import MASK, hidden, masked, unmasked


def back(sent: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    refused: list[tuple[str, str]] = []
    result = unmasked(sent, stored, lambda path, reason: refused.append((path, reason)))
    assert refused == []
    return result


def test_masked_keeps_what_is_no_secret() -> None:
    value = {"keys": 1, "monkey": "x", "max_tokens": 5, "password": "", "author": "me", "n": [1]}
    assert masked(value) == value


def test_masked_finds_what_is_one() -> None:
    names = "api_key apiKey HF_TOKEN hfToken client-secret credentials pwd pin_auth".split()
    value = {name: ["a", {"b": "c"}] for name in names}
    assert masked({"deep": [value]}) == {"deep": [dict.fromkeys(names, MASK)]}
    assert masked({"url": "https://me:pw@box/x"}) == {"url": f"https://{MASK}@box/x"}


STORED = {
    "password": "p",
    "openai_key": "sk",
    "url": "https://me:pw@box/x",
    "plain": [1, "two"],
    "apps": {"voice": {"hf_token": "hf", "speakers": [{"api_key": "a"}, {"api_key": "b", "n": 1}]}},
}


def test_what_was_shown_comes_back_as_what_is_stored() -> None:
    assert back(masked(STORED), STORED) == STORED


def test_changes_beside_masks_keep_the_secrets() -> None:
    sent = masked(STORED)
    sent["plain"] = []
    sent["apps"]["voice"]["speed"] = 2
    sent["password"] = "new"
    assert back(sent, STORED) == {
        **STORED,
        "plain": [],
        "password": "new",
        "apps": {"voice": {**STORED["apps"]["voice"], "speed": 2}},
    }


def test_items_of_lists_are_told_by_what_is_shown_of_them() -> None:
    stored = {"x": [{"key": "a", "n": 1}, {"key": "b", "n": 2}]}
    first, second = masked(stored)["x"]
    assert back({"x": [second, first]}, stored) == {"x": stored["x"][::-1]}
    assert back({"x": [second]}, stored) == {"x": [stored["x"][1]]}


def test_items_that_look_alike_are_told_by_their_place_only() -> None:
    stored = {"x": [{"key": "a"}, {"key": "b"}]}
    assert back(masked(stored), stored) == stored
    refused: list[str] = []
    unmasked({"x": [{"key": MASK}]}, stored, lambda path, _reason: refused.append(path))
    assert refused == ["x.0.key"]
    unmasked({"x": [*masked(stored)["x"], 1]}, stored, lambda path, _reason: refused.append(path))
    assert refused == ["x.0.key", "x.0.key", "x.1.key"]


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"other_key": MASK}, "other_key"),
        ({"title": MASK}, "title"),
        ({"apps": {"new": {"hf_token": MASK}}}, "apps.new.hf_token"),
        ({"url": f"https://{MASK}@elsewhere/x"}, "url"),
        ({"list": ["a", MASK]}, "list.1"),
    ],
)
def test_a_mask_of_nothing_is_named(sent: dict[str, Any], path: str) -> None:
    refused: list[tuple[str, str]] = []
    unmasked(sent, STORED, lambda *what: refused.append(what))
    assert [where for where, _ in refused] == [path]
    assert "send the value itself" in refused[0][1]


def test_stars_that_a_person_stored_are_kept() -> None:
    assert back({"title": MASK}, {"title": MASK}) == {"title": MASK}


KEY = "sk-proj-abcDEF123/+456wxyz"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"wrong: {KEY}.", "wrong: ********."),
        (f"{KEY}{KEY}", "********"),
        (f"{KEY} {KEY}", "******** ********"),
        ("wrong: abcDEF123/+ or so", "wrong: ******** or so"),
        ("wrong: sk-pr****wxyz", "wrong: ********"),
        ("wrong: sk-proj-…yz", "wrong: ********"),
        ("wrong: sk-proj-a...", "wrong: ********..."),
        ("sk-proj-abcDEF123%2F%2B456wxyz", "********"),
        ("loading... wait***", "loading... wait***"),
        ("keys begin with sk-", "keys begin with sk-"),
        ("", ""),
    ],
)
def test_hidden(text: str, shown: str) -> None:
    assert hidden(text, [KEY]) == shown


def test_short_secrets_are_hidden_whole() -> None:
    assert hidden("a pass of pas, a", ["pass", "a", ""]) == "a ******** of pas, a"


def test_hidden_in_what_json_makes_of_it() -> None:
    secret = 'a"b\\c'
    assert secret not in hidden(json.dumps(secret), [secret])
    assert hidden(json.dumps(secret), [secret]) == f'"{MASK}"'


def test_hiding_in_a_long_text_takes_no_long() -> None:
    begun = time.monotonic()
    assert hidden("x" * 1_000_000, [KEY]) == "x" * 1_000_000
    assert time.monotonic() - begun < 10
