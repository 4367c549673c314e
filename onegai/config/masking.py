"""Secrets in JSON values: shown as ``MASK``, and put back where a mask comes back.

A key's name tells that its value is a secret; of a URL its user name and password are one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
