"""``onegai config``: nothing secret is shown, nothing unusable is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from onegai.cli import main as cli
from onegai.cli.backend import Failure
from onegai.config import jsonfile
from onegai.config.masking import MASK
from onegai.errors import OneGAIError

SECRETS = ["long enough password", "sk-openai", "hf_token_value", "nested secret"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONEGAI_HOME", str(tmp_path))
    voice = {"type": "inline"}
    gpu = {"type": "webapi", "port": 50000, "exec": "x"}
    jsonfile.write(tmp_path / "services.json", {"voice": voice, "gpu": gpu})
    jsonfile.write(
        tmp_path / "config.json",
        {
            "_comment": "mine",
            "username": "onegai",
            "password": SECRETS[0],
            "openai_key": SECRETS[1],
            "apps": {"voice": {"hf_token": SECRETS[2], "deep": {"client_secret": SECRETS[3]}}},
        },
    )
    return tmp_path


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli.commands, ["config", *words], input=stdin)


def stored(home: Path) -> dict[str, Any]:
    return dict(json.loads((home / "config.json").read_text()))


def test_no_way_of_showing_shows_a_secret(home: Path) -> None:
    every = [run(), run("password"), run("openai_key"), run("apps"), run("apps.voice")]
    every += [run("apps.voice.hf_token"), run("apps.voice.deep"), run("password", "x" * 20)]
    for shown in every:
        assert shown.exit_code == 0
        assert MASK in shown.output
        assert not [secret for secret in [*SECRETS, "x" * 20] if secret in shown.output]
    assert stored(home)["password"] == "x" * 20


def test_everything_with_defaults(home: Path) -> None:
    lines = run().output.splitlines()
    assert "username = onegai" in lines
    assert "port = 58080   (default)" in lines
    assert "mine" not in run().output


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("port", "58081", 58081),
        ("host", "127.0.0.2", "127.0.0.2"),
        ("disable_docs", "1", 1),
        ("cors_origins", '["http://a"]', ["http://a"]),
        ("username", "12345", "12345"),
        ("username", "true", "true"),
        ("password", "123456789012", "123456789012"),
        ("other_key", "123", "123"),
        ("vram_headroom", "0.5", 0.5),
    ],
)
def test_set(home: Path, key: str, text: str, value: Any) -> None:
    before = stored(home)
    assert run(key, text).exit_code == 0
    assert stored(home) == {**before, key: value}
    assert (home / "config.json").stat().st_mode & 0o777 == 0o600


def test_set_a_setting_of_an_app(home: Path) -> None:
    assert run("apps.gpu.vram", "0").exit_code == 0
    assert run("apps.voice.speaker", "mei").exit_code == 0
    apps = stored(home)["apps"]
    assert apps["gpu"] == {"vram": 0}
    assert apps["voice"] == {
        "hf_token": SECRETS[2],
        "deep": {"client_secret": SECRETS[3]},
        "speaker": "mei",
    }
    assert run("apps.gpu.vram").output == "0\n"


def test_typos_and_settings_of_the_apps_own_are_told(home: Path) -> None:
    assert "(unknown key; did you mean vram?)" in run("apps.gpu.vrma", "6").output
    assert "(a setting of gpu's own; from the next start on)" in run("apps.gpu.x", "1").output
    assert "(from the next start on)" in run("apps.gpu.vram", "6").output
    lines = run().output.splitlines()
    assert "apps.gpu.vrma = 6   (unknown key; did you mean vram?)" in lines
    assert "apps.gpu.x = 1   (a setting of gpu's own)" in lines
    assert "apps.gpu.vram = 6" in lines


def test_value_of_an_entry_with_the_file_that_has_it(home: Path) -> None:
    jsonfile.write(home / "services.local.json", {"gpu": {"vram": 2, "env": {"HF_TOKEN": "hf"}}})
    for key, value, file in (
        ("port", "50000", "(services.json)"),
        ("vram", "2", "(services.local.json)"),
        ("env", f'{{"HF_TOKEN": "{MASK}"}}', "(services.local.json)"),
        ("ready", '{"http": "/"}', "(default)"),
    ):
        shown = run(f"apps.gpu.{key}")
        assert (shown.stdout, shown.stderr) == (f"{value}\n", f"{file}\n")
    for key in ("apps.nosuch.port", "apps.gpu.colour"):
        assert isinstance(run(key).exception, Failure | OneGAIError)


def test_an_app_that_may_be_in_a_file_that_does_not_parse(home: Path) -> None:
    (home / "services.local.json").write_text("{,}")
    for words in (("apps.mine.vram", "6"), ("apps.mine.vram",)):
        error = run(*words).exception
        assert isinstance(error, OneGAIError)
        assert (error.code, "line 1" in error.message) == ("unreadable_file", True)
    assert run("apps.gpu.vram", "0").exit_code == 0


def test_secret_from_stdin(home: Path) -> None:
    for end in ("\n", "\r\n"):
        assert run("password", "-", stdin=f"typed or piped{end}").exit_code == 0
        assert stored(home)["password"] == "typed or piped"
    assert 'user = "onegai:typed or piped"' in (home / "data" / "curlrc").read_text()


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("prot", "1", "prot: unknown key; did you mean port?"),
        ("port", "many", "port: "),
        ("port", "70000", "port: "),
        ("host.x", "1", "no key"),
        ("password", "", "password: "),
        ("password", "correct horse ", "password: "),
        ("apps", "{}", "one app"),
        ("apps.gpu", "{}", "one app"),
        ("apps.nosuch.vram", "1", "no app 'nosuch'"),
        ("apps.gpu.vram", "lots", "apps.gpu.vram: "),
        ("apps.gpu.type", "server", "apps.gpu.type: "),
    ],
)
def test_refused_and_the_file_is_as_it_was(home: Path, key: str, text: str, said: str) -> None:
    before = (home / "config.json").read_bytes()
    error = run(key, text).exception
    assert isinstance(error, Failure | OneGAIError)
    assert said in error.message
    assert (home / "config.json").read_bytes() == before


def test_open_host_wants_a_long_password(home: Path) -> None:
    run("password", "short")
    error = run("host", "0.0.0.0").exception
    assert isinstance(error, Failure)
    assert "shorter than 12" in error.message
    assert "host" not in stored(home)


def test_unknown_key_and_broken_file(home: Path) -> None:
    assert isinstance(run("nosuch").exception, Failure)
    (home / "config.json").write_text('{"password": "x",}')
    for words in ((), ("port",), ("port", "1")):
        error = run(*words).exception
        assert isinstance(error, OneGAIError)
        assert "line 1" in error.message
    assert (home / "config.json").read_text() == '{"password": "x",}'


def test_without_a_file(home: Path) -> None:
    (home / "config.json").unlink()
    assert "made at the first start" in run().output
    assert run("port").output == "58080\n"
    assert not (home / "config.json").exists()
    assert run("port", "58081").exit_code == 0
    assert len(stored(home)["password"]) >= 16
    assert stored(home)["password"] not in run().output
