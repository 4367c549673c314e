"""``onegai new``: what it makes, what it refuses, and that it never leaves a part behind."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onegai.cli import main as cli
from onegai.cli.backend import Failure
from onegai.cli.new import files as newfiles
from onegai.config import jsonfile
from onegai.config.catalog import load_catalog
from onegai.config.home import Home

LIBRARY = ("--type", "library", "--package", "pyfiglet==1.0.4")
KINDS = {
    "library": LIBRARY,
    "server": ("--type", "webapi", "--package", "x[a]>=1,<2", "--exec", "venv/bin/x -p {port}"),
    "elsewhere": ("--type", "webapi", "--url", "https://example.com/v1"),
    "space": ("--type", "gradio", "--url", "http://box:7860"),
    "program": ("--type", "command", "--exec", "date -u +'%Y %m'"),
    "words": ("--type", "command", "--exec", "tr 'a\"b' \"it's\" {text} --x={other}"),
    "functions": ("--type", "functions"),
    "files": ("--type", "command", "--package", "y", "--exec", "venv/bin/y {input} {output}"),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ONEGAI_HOME", str(tmp_path))
    jsonfile.write(tmp_path / "services.json", {})
    return Home(tmp_path)


def new(*words: str) -> Result:
    return CliRunner().invoke(cli.commands, ["new", *words])


def refused(*words: str) -> Failure:
    ended = new(*words)
    assert isinstance(ended.exception, Failure), ended.output
    assert ended.exception.status == 2
    assert ended.exception.hint
    return ended.exception


def files(home: Home) -> dict[str, str]:
    return {
        str(path.relative_to(home.root)): path.read_text()
        for path in home.root.rglob("*")
        if path.is_file() and path != home.root / "data" / "edit.lock"
    }


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("app", ["x", "a_name_of_64_characters_" + "x" * 40])
def test_what_is_made_is_well_formed(home: Home, root: Path, name: str, app: str) -> None:
    ended = new(app, *KINDS[name])
    assert ended.exit_code == 0, ended.output
    catalog = load_catalog(home, {})
    assert (list(catalog.specs), catalog.problems) == ([app], ())
    made = files(home)
    for path, text in made.items():
        assert "{{" not in text, path
        assert path in ended.output or path == "services.json"
    tools = Path(sys.executable).parent
    shell = [str(home.root / path) for path in made if path.endswith(".sh")]
    python = [str(home.root / path) for path in made if path.endswith(".py")]
    assert all(Path(path).stat().st_mode & 0o111 for path in shell)
    ruff = [tools / "ruff", "--config", root / "pyproject.toml"]
    isort = ["--config", 'lint.isort.known-first-party = ["onegai"]']
    for words in (
        [*ruff, "format", "--diff", *python],
        [*ruff, *isort, "check", *python],
        [tools / "shellcheck", "-x", "-P", root, *shell],
    ):
        done = subprocess.run(words, cwd=home.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_entries_that_are_there_stay(home: Home) -> None:
    jsonfile.write(home.services_local, {"_": "mine", "old": {"type": "inline"}}, 0o644)
    assert new("x", *LIBRARY).exit_code == 0
    entries = json.loads(home.services_local.read_text())
    assert list(entries) == ["_", "old", "x"]
    assert home.services_local.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("X", *LIBRARY), "an app's name is a-z"),
        (("../x", *LIBRARY), "an app's name is a-z"),
        (("api", *LIBRARY), "reserved"),
        (("class", *LIBRARY), "a word of Python"),
        (("old", *LIBRARY), "there is an app old already"),
        (("broken", *LIBRARY), "there is an app broken already"),
        (("x", "--type", "library"), "needs --package"),
        (("x", "--type", "functions", "--url", "http://y"), "--url does not go with"),
        (("x", "--type", "functions", "--exec", "y"), "--exec has no meaning here"),
        (("x", *LIBRARY, "--git", "/r"), "--git does not go with"),
        (("x", *LIBRARY, "--exec", "y"), "--exec has no meaning here"),
        (("x", "--type", "library", "--package", "a; rm"), "no name of a package"),
        (("x", "--type", "library", "--package", "-r/etc"), "no name of a package"),
        (("x", "--type", "gradio"), "needs --git or --url"),
        (("x", "--type", "gradio", "--git", "/r", "--url", "http://y"), "one of --git or --url"),
        (("x", "--type", "gradio", "--git", "ext::sh"), "no address of a Git repository"),
        (("x", "--type", "gradio", "--git", "--upload-pack=x"), "no address of a Git"),
        (("x", "--type", "gradio", "--git", "https://me:pw@b/r"), "has a password in it"),
        (("x", "--type", "gradio", "--url", "ftp://y"), "--url: "),
        (("x", "--type", "webapi", "--package", "y"), "needs --exec"),
        (("x", "--type", "webapi", "--url", "http://y", "--exec", "z"), "--url is not started"),
        (("x", "--type", "webapi", "--package", "y", "--exec", "a && b"), "contains '&&'"),
        (("x", "--type", "command"), "needs --exec"),
        (("x", "--type", "command", "--exec", "a | b"), "contains '|'"),
        (("x", "--type", "command", "--exec", "a 'b"), "cannot be split"),
        (("x", "--type", "command", "--exec", "{a} b"), "cannot choose the program"),
        (("x", "--type", "command", "--exec", "a {port}"), "{port} cannot be the name"),
        (("x", "--type", "command", "--exec", "a {}"), "{} cannot be the name"),
        (("x", "--type", "command", "--exec", "a {json}"), "{json} cannot be the name"),
        (("x", "--type", "command", "--exec", "a {if}"), "{if} cannot be the name"),
    ],
)
def test_refusals(home: Home, words: tuple[str, ...], said: str) -> None:
    jsonfile.write(home.services, {"old": {"type": "inline"}, "broken": {"type": "sever"}})
    before = files(home)
    failure = refused(*words)
    assert said in failure.message
    assert "pw@" not in failure.message
    assert files(home) == before


def test_unknown_type_names_the_right_ones(home: Home) -> None:
    ended = new("x", "--type", "inline")
    assert ended.exit_code == 2
    assert "'gradio', 'webapi', 'command', 'library', 'functions'" in ended.output


def test_files_that_are_there_are_listed_and_kept(home: Home) -> None:
    home.func_file("x").parent.mkdir()
    home.func_file("x").write_text("mine")
    (home.root / "tests").mkdir()
    (home.root / "tests/test_x.sh").symlink_to("nowhere")
    failure = refused("x", *LIBRARY)
    assert failure.message.endswith("already: func/x.py, tests/test_x.sh")
    assert home.func_file("x").read_text() == "mine"
    assert not home.services_local.exists()


def test_unreadable_entries(home: Home) -> None:
    home.services_local.write_text('{\n "x": 1,\n}\n')
    assert "services.local.json: " in refused("y", *LIBRARY).message
    assert home.services_local.read_text() == '{\n "x": 1,\n}\n'


def test_port_is_nobody_elses(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        busy = listener.getsockname()[1]
        assert newfiles.free_port([2], [busy, 2, 3]) == 3
        with pytest.raises(Failure, match="no port") as caught:
            newfiles.free_port([2, 3], [busy, 2, 3])
        assert caught.value.hint
    local, broken, own, mine = newfiles.PORTS[:4]
    jsonfile.write(home.services, {"a": {"type": "webapi", "exec": "x", "port": local}})
    jsonfile.write(home.services_local, {"b": {"port": broken}})
    jsonfile.write(home.config, {"password": "long enough password", "port": own})
    jsonfile.write(
        home.config,
        {"password": "x" * 20, "port": own, "apps": {"a": {"port": mine}}},
    )
    monkeypatch.setattr(newfiles, "listening_ports", lambda: {newfiles.PORTS[4]})
    assert new("x", *LIBRARY).exit_code == 0
    assert load_catalog(home, {}).specs["x"].port == newfiles.PORTS[5]


def test_config_is_not_made(home: Home) -> None:
    new("x", *LIBRARY)
    assert not home.config.exists()


@pytest.mark.parametrize("limit", [10, 1000, 2500])
def test_full_disk_leaves_nothing_behind(home: Home, root: Path, limit: int) -> None:
    """A limit on the size of files fails at the first one, at a later one, at the entry."""
    jsonfile.write(home.services_local, {"_": "x" * 3000})
    before = files(home)
    (home.root / "data").mkdir()
    folders = {path for path in home.root.rglob("*") if path.is_dir()}
    done = subprocess.run(
        [sys.executable, "-m", "onegai", "new", "x", *LIBRARY],
        cwd=root,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(home) == before
    assert {path for path in home.root.rglob("*") if path.is_dir()} == folders


def test_folder_that_cannot_be_written(home: Home) -> None:
    (home.root / "tests").touch()
    ended = new("x", *LIBRARY)
    assert isinstance(ended.exception, OSError)
    assert set(files(home)) == {"services.json", "tests"}


def has_open(pid: int, name: str) -> bool:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if link.readlink().name == name:
                return True
    return False


def test_one_waits_for_another(home: Home, root: Path) -> None:
    words = [sys.executable, "-m", "onegai", "new", "x", *LIBRARY]
    with ExitStack() as processes:
        with home.editing():
            process = processes.enter_context(
                subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL)
            )
            while not has_open(process.pid, "edit.lock"):
                assert process.poll() is None
            entry = {"type": "webapi", "exec": "x", "port": newfiles.free_port([])}
            jsonfile.write(home.services_local, {"first": entry})
        assert process.wait(60) == 0
    catalog = load_catalog(home, {})
    assert list(catalog.specs) == ["first", "x"]
    assert catalog.problems == ()


# --- repositories ------------------------------------------------------------------------------


def repository(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)
    identity = ("-c", "user.name=n", "-c", "user.email=e@x")
    for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


SPACE = """---
title: A Space
sdk: gradio
sdk_version: "4.44.1"   # the newest
python_version: '3.10'
app_file: "my app.py"
---
# Title
sdk: docker
"""


def test_space_says_what_it_needs(home: Home, tmp_path: Path) -> None:
    texts = {"README__md": SPACE, "my app__py": "import spaces\n", "requirements__txt": "numpy\n"}
    space = repository(home.root / "space", **texts)
    ended = new("x", "--type", "gradio", "--git", f"file://{space}")
    assert ended.exit_code == 0, ended.output
    assert load_catalog(home, {}).specs["x"].exec == "venv/bin/python 'my app.py'"
    script = home.install_script("x").read_text()
    head = subprocess.run(
        ["git", "log", "-1", "--format=%H %cs"],
        cwd=space,
        capture_output=True,
        text=True,
        check=True,
    )
    commit, day = head.stdout.split()
    assert f"app_git file://{space} {commit} #" in script
    words = [line.split(" #")[0] for line in script.splitlines() if line.startswith("app_")]
    assert words[1:] == [
        "app_venv 3.10",
        f"app_packages --exclude-newer {day} -r requirements.txt",
        f"app_packages --exclude-newer {day} gradio==4.44.1 spaces",
        "app_check 'import gradio'",
    ]


@pytest.mark.parametrize(
    ("texts", "steps"),
    [
        ({"app__py": "x"}, ["app_packages gradio"]),
        ({"app__py": "x", "requirements__txt": "gradio\n"}, ["app_packages -r requirements.txt"]),
        ({"app__py": "x", "pyproject__toml": "x"}, ["app_packages ."]),
        (
            {"app__py": "x", "README__md": "---\nsdk_version: 5.49.1\n---\n"},
            ["app_packages gradio==5.49.1"],
        ),
        (
            {"app__py": "x", "README__md": "---\nsdk_version: 5; rm -rf\n---\n"},
            ["app_packages gradio"],
        ),
    ],
)
def test_repository_that_is_no_space(home: Home, texts: dict[str, str], steps: list[str]) -> None:
    folder = repository(home.root / "r", **texts)
    assert new("x", "--type", "gradio", "--git", str(folder)).exit_code == 0
    lines = home.install_script("x").read_text().splitlines()
    assert [line.split(" #")[0] for line in lines if line.startswith("app_packages")] == steps


@pytest.mark.parametrize(
    ("texts", "said", "hint"),
    [
        ({"main__py": "x"}, "has no app.py", "(there are main.py)"),
        ({"README__md": "---\nsdk: docker\n---\n"}, "is a docker Space", "--type webapi"),
        ({"README__md": "---\napp_file: ../x.py\n---\n"}, "has no ../x.py", "--exec"),
    ],
)
def test_repository_that_does_not_do(
    home: Home, texts: dict[str, str], said: str, hint: str
) -> None:
    folder = repository(home.root / "r", **texts)
    failure = refused("x", "--type", "gradio", "--git", str(folder))
    assert said in failure.message
    assert hint in failure.hint
    assert not home.services_local.exists()


def test_repository_that_is_not_there(home: Home) -> None:
    ended = new("x", "--type", "gradio", "--git", f"{home.root}/nosuch")
    assert isinstance(ended.exception, Failure)
    assert ended.exception.status == 1
    assert "does not exist" in " ".join(ended.exception.lines)
    assert list(files(home)) == ["services.json"]


def test_git_is_missing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    ended = new("x", "--type", "gradio", "--git", "/r")
    assert isinstance(ended.exception, Failure)
    assert ended.exception.hint == "sudo apt install git"


def test_server_from_a_repository(home: Home) -> None:
    folder = repository(home.root / "r", setup__py="x")
    start = "venv/bin/python serve.py"
    ended = new("x", "--type", "webapi", "--git", str(folder), "--exec", start)
    assert ended.exit_code == 0, ended.output
    assert "note: exec does not name {port}" in ended.output
    assert "app_packages ." in home.install_script("x").read_text()
