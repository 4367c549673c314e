"""config.json as one frozen object. Precedence: default < file < ONEGAI_* < argument."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import category

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from onegai.config import jsonfile
from onegai.config.home import Home
from onegai.errors import ConfigError
from onegai.schema import MOST_GB, Problem, Switch

MIB = 1 << 20
MIN_PASSWORD = 12
ENV_PREFIX = "ONEGAI_"


class Settings(BaseModel):
    """Everything config.json can say, checked. Sizes are bytes, memory is GB as in the file."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, SecretStr] = Field(init=False)

    username: str = Field(
        default="onegai", min_length=1, pattern=r"^[^:]*$", description="for BASIC; without a colon"
    )
    password: str = Field(
        min_length=1,
        description="for BASIC, or alone as Bearer token or X-Api-Key; no blank at either end",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen on; 0.0.0.0: open to the network",
    )
    port: int = Field(default=58080, ge=0, le=65535, description="port to listen on; 0: any")
    disable_docs: Switch = Field(default=False, description="1: no /docs")
    cors_origins: tuple[str, ...] = Field(
        default=(), description="pages of other sites that may call, like https://example.com"
    )
    remote_edit: Switch = Field(
        default=False, description="1: everything can be changed over HTTP, commands too"
    )
    stop_children: Switch = Field(
        default=True, description="0: services live on when OneGAI stops, and it goes on with them"
    )
    vram_headroom: float = Field(
        default=0.0, ge=0, le=MOST_GB, description="GB that stay free on the GPU"
    )
    max_json: int = Field(default=32 * MIB, gt=0, description="bytes of a request body of JSON")
    max_upload: int = Field(
        default=2048 * MIB, gt=0, description="bytes of a form with files, and of a fetched file"
    )
    max_result: int = Field(
        default=256 * MIB,
        gt=0,
        description="bytes of a call's result, and of an app's answer that a function reads whole",
    )
    file_roots: tuple[str, ...] = Field(
        default=(), description="folders from which a call may name files by path"
    )
    apps: dict[str, dict[str, Any]] = Field(
        default={}, description="per app: any key of its entry, and settings of its own"
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_else_but_keys(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {
            key: value
            for key, value in values.items()
            if key in cls.model_fields or (is_key(key) and usable_key(value))
        }

    @field_validator("username", "password")
    @classmethod
    def _can_be_sent(cls, text: str) -> str:
        """RFC 7617, 2: no control characters."""
        if any(category(sign) == "Cc" for sign in text):
            raise ValueError("contains a control character")
        return text

    @field_validator("password")
    @classmethod
    def _same_in_every_header(cls, password: str) -> str:
        """A header's value is read without the blanks around it (RFC 9110, 5.5)."""
        if password != password.strip(" "):
            raise ValueError("begins or ends with a blank, which Bearer and X-Api-Key cannot send")
        return password

    @field_validator("file_roots")
    @classmethod
    def _whole_paths(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            try:
                whole = Path(root).expanduser().is_absolute() and "\0" not in root
            except RuntimeError:
                raise ValueError(f"{root!r} names the home of a user who is not there") from None
            if not whole:
                raise ValueError(f"{root!r} must be a whole path, from / or ~ on")
        return roots

    @property
    def keys(self) -> Mapping[str, SecretStr]:
        """Keys and tokens of providers, by name: what ends with ``_key`` or ``_token``."""
        return self.__pydantic_extra__

    @property
    def open_to_network(self) -> bool:
        """True when machines other than this one can reach the server."""
        return not is_loopback(self.host)


FILE_ONLY = frozenset({"apps", "remote_edit"})
"""Settings that no environment variable can give."""

AT_START = frozenset({"host", "port", "disable_docs", "max_json", "max_upload"})
"""Settings that are read when the server starts; a change of one waits for the next start."""

LATER = frozenset({"loapi"})
"""Keys of the contract that are accepted and do nothing yet."""


_KEY = re.compile(r"\w+_(key|token)")


def is_key(name: str) -> bool:
    """Is this the name of a provider's key, which ``credentials`` of entries may use?"""
    return name not in Settings.model_fields and _KEY.fullmatch(name) is not None


def usable_key(value: Any) -> bool:
    """A key that can be sent: one line of ASCII."""
    return (
        isinstance(value, str) and value.isascii() and value.isprintable() and bool(value.strip())
    )


def is_loopback(host: str) -> bool:
    """True for 127.0.0.0/8, ::1 and localhost."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(
    home: Home, arguments: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> tuple[Settings, list[Problem], bool]:
    """As ``read_settings``, making config.json where there is none; True: it was made just now."""
    while True:
        settings, problems, first = read_settings(home, arguments, environ)
        if first is None:
            return settings, problems, False
        if make_config(home, first):
            return settings, problems, True


def read_settings(
    home: Home, arguments: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> tuple[Settings, list[Problem], dict[str, Any] | None]:
    """Read config.json; where there is none, think of one with a random password.

    ``arguments`` with the value None are not given. Returns the settings, the problems that do not
    stop a start (unknown keys), and what ``make_config`` is to write, None where there is a file.
    Raises ConfigError for a file that does not parse, a value of a wrong type, and a weak password
    on an open host.
    """
    where = home.relative(home.config)
    try:
        stored = jsonfile.read(home.config)
    except jsonfile.Unreadable as error:
        raise ConfigError(
            where=where,
            reason=error.reason,
            do="correct it there; or move the file away, and a new one with a new password is made",
        ) from None
    first = _first_config(home) if stored is None else None
    settings, problems = effective_settings(home, stored or first or {}, arguments, environ)
    return settings, problems, first


def make_config(home: Home, first: Mapping[str, Any]) -> bool:
    """Write config.json, unless another program has just done that (then False)."""
    with home.editing():
        if home.config.exists():
            return False
        jsonfile.write(home.config, first)
    return True


def _first_config(home: Home) -> dict[str, Any]:
    values: dict[str, Any] = {
        "username": "onegai",
        "password": secrets.token_urlsafe(15),
        "host": "127.0.0.1",
        "port": 58080,
        "apps": {},
    }
    if home.schema("config").is_file():
        values = {"$schema": home.relative(home.schema("config")), **values}
    return values


def effective_settings(
    home: Home,
    stored: Mapping[str, Any],
    arguments: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
) -> tuple[Settings, list[Problem]]:
    """What a config.json with this content means here, and which keys of it are unknown.

    Raises ConfigError as ``load_settings``.
    """
    where = home.relative(home.config)
    values = jsonfile.content(stored)
    known = set(Settings.model_fields)
    problems = [
        Problem(file=where, key=key, reason=f"unknown key{jsonfile.meant(key, known | LATER)}")
        for key in values
        if key not in known and key not in LATER and not is_key(key)
    ]
    problems += (
        Problem(file=where, key=key, reason="is not used: a key is one line of ASCII characters")
        for key, value in values.items()
        if is_key(key) and value and not usable_key(value)
    )
    origin = dict.fromkeys(values, where)
    for key in known - FILE_ONLY:
        name = ENV_PREFIX + key.upper()
        if name in environ:
            values[key], origin[key] = _from_text(environ[name]), f"environment variable {name}"
    for key, value in arguments.items():
        if value is not None:
            values[key], origin[key] = value, f"argument --{key}"
    return _checked(values, origin, where), problems


def overridden_keys(
    arguments: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> set[str]:
    """The keys over which an argument or an environment variable wins."""
    given = {key for key, value in arguments.items() if value is not None}
    named = Settings.model_fields.keys() - FILE_ONLY
    return given | {key for key in named if ENV_PREFIX + key.upper() in environ}


def _checked(values: Mapping[str, Any], origin: Mapping[str, str], where: str) -> Settings:
    """Raises ConfigError, naming where the wrong value came from."""
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            where=origin.get(key, where),
            reason=f"{'.'.join(map(str, first['loc']))}: {said}",
            do=f"correct {key}",
        ) from None
    check_network(settings, origin.get("password", where))
    return settings


def check_network(settings: Settings, where: str) -> None:
    """Raises ConfigError for a weak password on a host that other machines reach."""
    if settings.open_to_network and len(settings.password) < MIN_PASSWORD:
        raise ConfigError(
            where=where,
            reason=f"host {settings.host} is open to the network, and the password is shorter than "
            f"{MIN_PASSWORD} characters",
            do="set a longer password, or host 127.0.0.1",
        )


def stored_config(home: Home) -> dict[str, Any]:
    """What config.json holds, unchecked; empty when there is none.

    Raises ConfigError when the file does not parse.
    """
    try:
        return jsonfile.read(home.config) or {}
    except jsonfile.Unreadable as error:
        raise ConfigError(
            where=home.relative(home.config), reason=error.reason, do="correct it first"
        ) from None


def check_config(home: Home, values: Mapping[str, Any]) -> Settings:
    """What a config.json of these values would mean. Raises ConfigError when it is unusable."""
    where = home.relative(home.config)
    return _checked(jsonfile.content(values), {}, where)


def _from_text(text: str) -> Any:
    """An environment variable's value: JSON lists as lists, everything else as text."""
    if text.startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text
