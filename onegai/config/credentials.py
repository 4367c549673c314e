"""What OneGAI shows an app of its own accord, so that it is let in there."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from onegai.config.entry import AppSpec, Credentials
from onegai.config.masking import hidden
from onegai.errors import KeyMissing

_PLACEHOLDER = re.compile(r"\{(\w+_(?:key|token))\}")
_SPACES = ("hf.space", "huggingface.co")
"""Hosts of Hugging Face Spaces, which may be private (https://huggingface.co/docs/hub/spaces)."""
_SPACES_KEY = "hf_token"


@dataclass(frozen=True)
class Access:
    """Headers, with lower-case names, and parameters of the query. No repr shows them."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What must not stand in any text that leaves."""
    place: str = ""
    """Where they can be corrected, in words; empty: there are none."""

    def hidden(self, text: str) -> str:
        """The text, for people, with none of the secrets in it."""
        return hidden(text, self.secrets) if self.secrets else text


NO_ACCESS = Access()


def access(spec: AppSpec, keys: Mapping[str, SecretStr]) -> Access:
    """What the app's entry says, with these ``keys`` of config.json. Raises KeyMissing."""
    credentials = spec.credentials
    if credentials is None:
        if not (_SPACES_KEY in keys and spec.type == "gradio" and _is_space(spec.url)):
            return NO_ACCESS
        credentials = Credentials(bearer=SecretStr(f"{{{_SPACES_KEY}}}"))
    filled = _Filled(spec.app, keys)
    headers = {name.lower(): filled.text(value) for name, value in credentials.header.items()}
    query = {name: filled.text(value) for name, value in credentials.query.items()}
    if credentials.bearer is not None:
        headers["authorization"] = f"Bearer {filled.text(credentials.bearer)}"
    if credentials.basic is not None:
        user = filled.text(credentials.basic[0], secret=False)
        password = filled.text(credentials.basic[1])
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers["authorization"] = f"Basic {pair}"
        filled.secrets.append(pair)
    return Access(headers, query, tuple(filled.secrets), filled.place)


def secrets(specs: Iterable[AppSpec], keys: Mapping[str, SecretStr]) -> Iterator[str]:
    """All that is secret in these entries and keys."""
    yield from (key.get_secret_value().strip() for key in keys.values())
    for spec in specs:
        if spec.credentials is not None:
            with suppress(KeyMissing):
                yield from access(spec, keys).secrets


class _Filled:
    """Values with the keys that they name."""

    def __init__(self, app: str, keys: Mapping[str, SecretStr]) -> None:
        self._app = app
        self._keys = keys
        self._named: dict[str, None] = {}
        self.secrets: list[str] = []

    @property
    def place(self) -> str:
        return " and ".join(self._named) or f"apps.{self._app}.credentials"

    def text(self, value: SecretStr, *, secret: bool = True) -> str:
        """Raises KeyMissing."""
        written = value.get_secret_value()
        found = _PLACEHOLDER.sub(self._key, written)
        if found == written and secret:
            # "Token abc": the whole of it, and what is secret in it.
            self.secrets += {written: None, written.rpartition(" ")[2]: None}
        return found

    def _key(self, match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in self._keys:
            raise KeyMissing(app=self._app, key=name)
        self._named[name] = None
        key = self._keys[name].get_secret_value().strip()
        self.secrets.append(key)
        return key


def _is_space(url: str | None) -> bool:
    parts = urlsplit(url or "")
    host = parts.hostname or ""
    return parts.scheme == "https" and any(
        host == known or host.endswith(f".{known}") for known in _SPACES
    )
