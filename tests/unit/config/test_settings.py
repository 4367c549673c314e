"""config.json: defaults, precedence, problems, refusals."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from onegai.config import jsonfile
from onegai.config.home import Home
from onegai.config.settings import Settings, is_loopback, load_settings
from onegai.errors import ConfigError

LONG = "a-long-enough-password"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def write(home: Home, **values: Any) -> None:
    jsonfile.write(home.config, {"password": LONG, **values})


def test_first_start_makes_a_private_file_with_a_password(home: Home) -> None:
    settings, problems, made = load_settings(home, {}, {})
    assert made
    assert problems == []
    assert len(settings.password) >= 12
    assert json.loads(home.config.read_text())["password"] == settings.password
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    assert (settings.host, settings.port) == ("127.0.0.1", 58080)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [({"port": -1}, {}), ({"host": "0.0.0.0"}, {"ONEGAI_PASSWORD": "short"})],
)
def test_first_start_that_fails_makes_no_file(
    home: Home, arguments: dict[str, Any], environ: dict[str, str]
) -> None:
    """Else its password would never be shown."""
    with pytest.raises(ConfigError):
        load_settings(home, arguments, environ)
    assert not home.config.exists()


def test_second_start_keeps_the_password_and_two_homes_differ(home: Home, tmp_path: Path) -> None:
    first, _, _ = load_settings(home, {}, {})
    again, _, made = load_settings(home, {}, {})
    other, _, _ = load_settings(Home(tmp_path / "other"), {}, {})
    assert (again.password, made) == (first.password, False)
    assert other.password != first.password


def test_precedence_default_file_environment_argument(home: Home) -> None:
    assert load_settings(home, {}, {})[0].port == 58080
    write(home, port=1111)
    assert load_settings(home, {}, {})[0].port == 1111
    environ = {"ONEGAI_PORT": "2222"}
    assert load_settings(home, {}, environ)[0].port == 2222
    assert load_settings(home, {"port": None}, environ)[0].port == 2222
    assert load_settings(home, {"port": 3333}, environ)[0].port == 3333
    assert jsonfile.read(home.config) == {"password": LONG, "port": 1111}


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("ONEGAI_PASSWORD", "123456789012", "password", "123456789012"),
        ("ONEGAI_DISABLE_DOCS", "1", "disable_docs", True),
        ("ONEGAI_VRAM_HEADROOM", "0.5", "vram_headroom", 0.5),
        (
            "ONEGAI_CORS_ORIGINS",
            '["http://a", "http://b"]',
            "cors_origins",
            ("http://a", "http://b"),
        ),
        ("ONEGAI_MAX_JSON", "1024", "max_json", 1024),
    ],
)
def test_environment(home: Home, name: str, text: str, key: str, value: object) -> None:
    write(home)
    assert getattr(load_settings(home, {}, {name: text})[0], key) == value


def test_environment_of_other_things_is_left_alone(home: Home) -> None:
    write(home)
    settings, problems, _ = load_settings(home, {}, {"ONEGAI_HOME": "/x", "ONEGAI_APPS": "{}"})
    assert (settings.apps, problems) == ({}, [])


def test_unknown_keys_are_listed_and_contract_keys_are_not(home: Home) -> None:
    write(home, prot=1, _note="x", loapi={}, file_roots=[], openai_key="k", my_key="k")
    _, problems, _ = load_settings(home, {}, {})
    assert [(problem.key, problem.file) for problem in problems] == [("prot", "config.json")]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"port": "many"}, "port"),
        ({"port": 65536}, "port"),
        ({"port": None}, "port"),
        ({"host": 7}, "host"),
        ({"password": ""}, "password"),
        ({"username": "a:b"}, "username"),
        ({"username": ""}, "username"),
        ({"max_json": 0}, "max_json"),
        ({"vram_headroom": -1}, "vram_headroom"),
        ({"password": f"{LONG} "}, "password"),
        ({"password": f" {LONG}"}, "password"),
        ({"password": f"{LONG}\n"}, "password"),
        ({"username": "two\nlines"}, "username"),
        ({"vram_headroom": float("inf")}, "vram_headroom"),
        ({"vram_headroom": 1e308}, "vram_headroom"),
        ({"file_roots": ["~nobody-is-called-so/x"]}, "file_roots"),
        ({"file_roots": ["/a\0b"]}, "file_roots"),
        ({"cors_origins": "http://a"}, "cors_origins"),
        ({"apps": []}, "apps"),
        ({"apps": {"a": 1}}, "apps.a"),
    ],
)
def test_wrong_values_are_named(home: Home, values: dict[str, Any], key: str) -> None:
    write(home, **values)
    with pytest.raises(ConfigError) as caught:
        load_settings(home, {}, {})
    assert caught.value.message.startswith(f"config.json: {key}: ")


def test_missing_password_is_named(home: Home) -> None:
    jsonfile.write(home.config, {"port": 1})
    with pytest.raises(ConfigError, match="password"):
        load_settings(home, {}, {})


def test_wrong_value_is_blamed_on_its_source(home: Home) -> None:
    write(home)
    with pytest.raises(ConfigError, match="environment variable ONEGAI_PORT"):
        load_settings(home, {}, {"ONEGAI_PORT": "x"})
    with pytest.raises(ConfigError, match="argument --port"):
        load_settings(home, {"port": -1}, {"ONEGAI_PORT": "1"})


def test_file_that_does_not_parse_is_left_as_it_is(home: Home) -> None:
    text = '{\n "password": "x",\n "port": }\n'
    home.config.write_text(text)
    with pytest.raises(ConfigError, match="line 3"):
        load_settings(home, {}, {})
    assert home.config.read_text() == text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.5", "example.com"])
def test_open_host_wants_a_long_password(home: Home, host: str) -> None:
    write(home, password="short", host=host)
    with pytest.raises(ConfigError, match="12 characters") as caught:
        load_settings(home, {}, {})
    assert "short" not in caught.value.message.replace("shorter", "")
    write(home, host=host)
    assert load_settings(home, {}, {})[0].open_to_network


def test_an_empty_host_would_be_every_address(home: Home) -> None:
    write(home, host="")
    with pytest.raises(ConfigError, match="host"):
        load_settings(home, {}, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_short_password_is_fine_on_loopback(home: Home, host: str) -> None:
    write(home, password="short", host=host)
    assert is_loopback(host)
    assert not load_settings(home, {}, {})[0].open_to_network


def test_open_host_by_argument_is_checked_too(home: Home) -> None:
    write(home, password="short")
    with pytest.raises(ConfigError, match="open to the network"):
        load_settings(home, {"host": "0.0.0.0"}, {})


def test_errors_do_not_show_the_password(home: Home) -> None:
    write(home, password=["hunter2hunter2"])
    with pytest.raises(ConfigError) as caught:
        load_settings(home, {}, {})
    assert "hunter2" not in str(caught.value) + str(caught.value.detail)


def test_settings_do_not_change() -> None:
    settings = Settings(password="x")
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_keys_of_providers(home: Home) -> None:
    given = {"openai_key": "sk-1", "hf_token": " hf ", "a_key": "", "b_key": "é", "c_token": 5}
    write(home, **given, openai_keys="x", _note_key="y")
    settings, problems, _ = load_settings(home, {}, {})
    assert {name: key.get_secret_value() for name, key in settings.keys.items()} == {
        "openai_key": "sk-1",
        "hf_token": " hf ",
    }
    assert [problem.key for problem in problems] == ["openai_keys", "b_key", "c_token"]
    assert "sk-1" not in repr(settings)
