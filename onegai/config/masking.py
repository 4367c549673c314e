"""Secrets in JSON values: shown as ``MASK``, and put back where a mask comes back.

A key's name tells that its value is a secret; of a URL its user name and password are one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

MASK = "********"
_SECRET = re.compile(r"(^|_)(pass(word|wd|phrase)?|pwd|secret|token|credentials?|auth|key|apikey)$")
_USER_INFO = re.compile(r"//[^/@\s]+@")
_MASKED_USER_INFO = f"//{MASK}@"

_Refuse = Callable[[str, str], None]


def is_secret(key: str) -> bool:
    """Of a.b.hfToken the last word counts."""
    last = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key.rpartition(".")[2])
    return _SECRET.search(last.lower().replace("-", "_")) is not None


def masked(value: Any, key: str = "") -> Any:
    """The value with every secret in it replaced, told by the names of keys."""
    if value and is_secret(key):
        return MASK
    if isinstance(value, dict):
        return {name: masked(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return _USER_INFO.sub(_MASKED_USER_INFO, value) if isinstance(value, str) else value


def unmasked(sent: Mapping[str, Any], stored: Mapping[str, Any], refuse: _Refuse) -> dict[str, Any]:
    """What ``sent`` means, given that its sender was shown ``masked(stored)``.

    A mask where nothing is stored that it could stand for is told to ``refuse``, with the path of
    its key and the reason.
    """
    return {key: _unmask(item, stored.get(key), key, key, refuse) for key, item in sent.items()}


def _unmask(sent: Any, stored: Any, key: str, path: str, refuse: _Refuse) -> Any:
    if sent == masked(stored, key):
        return stored
    if isinstance(sent, dict):
        inside = stored if isinstance(stored, dict) else {}
        return {
            name: _unmask(item, inside.get(name), name, f"{path}.{name}", refuse)
            for name, item in sent.items()
        }
    if isinstance(sent, list):
        return _unmask_list(sent, stored if isinstance(stored, list) else [], path, refuse)
    if isinstance(sent, str) and (sent == MASK or _MASKED_USER_INFO in sent):
        refuse(path, f"{MASK} stands for a stored secret, and there is none: send the value itself")
    return sent


def _unmask_list(sent: list[Any], stored: Sequence[Any], path: str, refuse: _Refuse) -> list[Any]:
    """Items are told by what was shown of them: they may have been moved, or some removed."""
    left = list(stored)
    result = []
    for index, item in enumerate(sent):
        same = [old for old in left if masked(old) == item]
        if same and all(old == same[0] for old in same):
            left.remove(same[0])
            result.append(same[0])
        elif same and len(sent) == len(stored) and stored[index] in same:
            result.append(stored[index])
        else:
            # Several look alike, or it is a new one: no secret is guessed.
            result.append(_unmask(item, None, "", f"{path}.{index}", refuse))
    return result


_RUN = 8
"""Characters of a secret in a row that tell enough of it to be hidden."""
_LEFT_OUT = re.compile(r"[*•…]+|\.{3,}")
"""As some services show the key that they refuse: ``sk-ab****yz``."""
_MASKS = re.compile(r"\*{9,}")
_BEFORE = re.compile(r"[\w+/.-]{0,32}\Z")
_AFTER = re.compile(r"[\w+/=-]{0,32}")


def hidden(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, and without what it tells of them in part."""
    for secret in secrets:
        for form in dict.fromkeys((secret, quote(secret, safe=""), json.dumps(secret)[1:-1])):
            text = _without(text, form)
    return _MASKS.sub(MASK, text)


def _without(text: str, secret: str) -> str:
    if len(secret) < _RUN:
        return _unshortened(text.replace(secret, MASK) if len(secret) > 2 else text, secret)
    runs = {secret[at : at + _RUN] for at in range(len(secret) - _RUN + 1)}
    kept, shown, at = list[str](), 0, 0
    while at <= len(text) - _RUN and (at or any(run in text for run in runs)):
        end = at
        while text[end : end + _RUN] in runs:
            end += 1
        if end == at:
            at += 1
            continue
        kept += text[shown:at], MASK
        shown = at = end + _RUN - 1
    return _unshortened("".join((*kept, text[shown:])), secret)


def _unshortened(text: str, secret: str) -> str:
    kept, shown = list[str](), 0
    for found in _LEFT_OUT.finditer(text):
        first = _BEFORE.search(text, max(shown, found.start() - 32), found.start())
        last = _AFTER.match(text, found.end())
        assert first is not None
        assert last is not None
        told = first.group() + last.group()
        fits = secret.startswith(first.group()) and secret.endswith(last.group())
        if fits and len(told) > 1:
            kept += text[shown : first.start()], MASK
            shown = last.end()
    return "".join((*kept, text[shown:]))
