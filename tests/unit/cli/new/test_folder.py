"""``onegai new --from``: an app as it is, from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onegai.cli import main as cli
from onegai.cli.backend import Failure
from onegai.config import jsonfile
from onegai.config.catalog import load_catalog
from onegai.config.home import Home

ENTRY = {"type": "gradio", "port": 28201, "exec": "venv/bin/python {root}/run/run_page.py"}
FILES = {
    "install/page.sh": "# install",
    "install/page.lock": "# lock",
    "run/run_page.py": "# run",
    "func/page.py": "# func",
    "tests/test_page.sh": "# test",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    root = tmp_path / "home"
    root.mkdir()
    monkeypatch.setenv("ONEGAI_HOME", str(root))
    jsonfile.write(root / "services.json", {"other": ENTRY})
    return Home(root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "services.local.json").write_text(json.dumps({"_": "mine", "page": ENTRY}))
    return folder


def new(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.commands, ["new", *map(str, words)])


def refused(*words: str | Path) -> Failure:
    ended = new(*words)
    assert isinstance(ended.exception, Failure), ended.output
    return ended.exception


def made(home: Home) -> dict[str, str]:
    return {
        str(path.relative_to(home.root)): path.read_text()
        for path in home.root.rglob("*")
        if path.is_file() and path.parent not in (home.root, home.root / "data")
    }


def test_an_app_is_taken_as_it_is(home: Home, folder: Path) -> None:
    ended = new("page", "--from", folder)
    assert ended.exit_code == 0, ended.output
    assert made(home) == FILES
    assert (home.root / "install/page.sh").stat().st_mode & 0o111
    entry = json.loads(home.services_local.read_text())["page"]
    assert entry == {**ENTRY, "port": entry["port"]}
    assert entry["port"] != ENTRY["port"], "other has it"
    assert load_catalog(home, {}).problems == ()


def test_nothing_of_another_name_comes_along(home: Home, folder: Path) -> None:
    for name in ("func/smollm.py", "install/lib.sh", "config.json", "onegai/errors.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    entries = {"page": ENTRY, "other": {**ENTRY, "exec": "rm -r /"}}
    (folder / "services.local.json").write_text(json.dumps(entries))
    assert new("page", "--from", folder).exit_code == 0
    assert made(home) == FILES
    assert list(json.loads(home.services_local.read_text())) == ["page"]


def test_one_without_an_entry_has_functions_only(home: Home, folder: Path) -> None:
    (folder / "services.local.json").unlink()
    for name in FILES.keys() - {"func/page.py"}:
        (folder / name).unlink()
    assert new("page", "--from", folder).exit_code == 0
    assert made(home) == {"func/page.py": "# func"}
    assert not home.services_local.exists()


def test_nothing_is_written_over(home: Home, folder: Path) -> None:
    assert new("page", "--from", folder).exit_code == 0
    before = made(home)
    assert "there is an app page already" in refused("page", "--from", folder).message
    assert made(home) == before


def test_a_lock_that_is_there_stays(home: Home, folder: Path) -> None:
    (home.root / "install").mkdir()
    (home.root / "install/page.lock").write_text("mine")
    assert new("page", "--from", folder).exit_code != 0
    assert made(home) == {"install/page.lock": "mine"}
    assert not home.services_local.exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text("{"), "services.local.json"),
        (lambda path: path.write_text('{"page": {"type": "gradio", "exec": "a && b"}}'), "exec"),
        (lambda path: (path.parent / "run/run_page.py").write_bytes(b"\xff"), "cannot be read"),
    ],
    ids=["no JSON", "a wrong entry", "no text"],
)
def test_what_cannot_be_taken(home: Home, folder: Path, spoil: object, said: str) -> None:
    assert callable(spoil)
    spoil(folder / "services.local.json")
    assert said in refused("page", "--from", folder).message
    assert made(home) == {}


def test_the_app_must_be_in_it(home: Home, folder: Path) -> None:
    assert "it has page" in refused("paper", "--from", folder).message
    (folder / "services.local.json").unlink()
    assert "it has page" in refused("paper", "--from", folder).message
    assert "is no folder" in refused("page", "--from", folder / "x").message


@pytest.mark.parametrize("more", [("--func",), ("--type", "gradio")])
def test_it_goes_with_no_other_option(home: Home, folder: Path, more: tuple[str, ...]) -> None:
    assert "no other option" in new("page", "--from", folder, *more).output


def test_the_examples_can_be_taken(home: Home, root: Path) -> None:
    apps = sorted(path.name for path in (root / "examples").iterdir() if path.is_dir())
    assert apps
    for app in apps:
        assert new(app, "--from", root / "examples" / app).exit_code == 0
    assert load_catalog(home, {}).problems == ()
