"""The command that an app is started with."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.errors import ExecNotFound
from onegai.supervisor.command import service_command


def web(**changes: Any) -> AppSpec:
    return AppSpec.model_validate(
        {"app": "a", "type": "webapi", "port": 5001, "exec": "./run --port {port}", **changes}
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home, with a blank in its path, whose app ``a`` has an executable ``run``."""
    home = Home(tmp_path / "my home")
    program = home.apps / "a" / "run"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return home


def test_command_is_filled_in_literally(home: Home) -> None:
    spec = web(
        exec="./run {root}/x --dir={app_dir} {port} '{\"a\": 1}' $HOME *",
        env={"MODELS": "{app_dir}/models", "ONEGAI_APP": "forged"},
    )
    arguments, folder, environment = service_command(home, spec)
    root = str(home.root)
    assert arguments == [
        f"{root}/apps/a/run",
        f"{root}/x",
        f"--dir={root}/apps/a",
        "5001",
        '{"a": 1}',
        "$HOME",
        "*",
    ]
    assert folder == home.apps / "a"
    assert environment["MODELS"] == f"{root}/apps/a/models"
    assert (environment["ONEGAI_APP"], environment["ONEGAI_HOME"]) == ("a", root)
    assert "GRADIO_SERVER_PORT" not in environment


def test_gradio_is_told_its_port_and_own_settings_win(home: Home) -> None:
    spec = web(type="gradio", env={"GRADIO_ANALYTICS_ENABLED": "True"})
    _, _, environment = service_command(home, spec)
    assert environment["GRADIO_SERVER_PORT"] == "5001"
    assert environment["GRADIO_SERVER_NAME"] == "127.0.0.1"
    assert environment["GRADIO_ANALYTICS_ENABLED"] == "True"
    assert Path(environment["GRADIO_TEMP_DIR"]).is_relative_to(home.root)


def test_program_of_the_path_and_of_the_root(home: Home) -> None:
    assert service_command(home, web(exec="sh"))[0] == [shutil.which("sh")]
    arguments, folder, _ = service_command(home, web(app="b", exec="{root}/apps/a/run"))
    assert (arguments, folder) == ([str(home.apps / "a" / "run")], home.root)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"exec": "no-such-program-x"}, "no program 'no-such-program-x' on PATH"),
        ({"exec": "venv/bin/python x"}, "venv/bin/python does not exist"),
        ({"exec": "./notes"}, "not an executable"),
        ({"exec": "./folder"}, "not an executable"),
        ({"cwd": "missing"}, "missing does not exist"),
    ],
)
def test_what_cannot_be_started_says_why(home: Home, changes: dict[str, Any], says: str) -> None:
    (home.apps / "a" / "notes").touch()
    (home.apps / "a" / "folder").mkdir()
    with pytest.raises(ExecNotFound, match="a cannot be started") as caught:
        service_command(home, web(**changes))
    assert says in caught.value.message


def test_its_gpu_is_named_unless_its_entry_names_one(home: Home) -> None:
    _, _, environment = service_command(home, web(), 1)
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    _, _, environment = service_command(home, web(env={"CUDA_VISIBLE_DEVICES": "0"}), 1)
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
