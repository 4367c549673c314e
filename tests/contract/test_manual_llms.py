"""docs/llms.md has the functions, the models by name and the settings that there are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from onegai.config.home import Home
from onegai.functions.function import Function
from onegai.functions.imports import import_file, mount

APPS = ("llamacpp", "ollama")


@pytest.fixture
def functions(root: Path) -> dict[str, dict[str, Function]]:
    """Of each of the apps."""
    home = Home(root)
    mount(home)
    found = {app: import_file(home, app, again=True) for app in APPS}
    assert not [file.problem for file in found.values() if file.problem]
    return {app: dict(file.functions) for app, file in found.items()}


@pytest.fixture(scope="module")
def program(root: Path) -> ModuleType:
    """install/llamacpp_models.py."""
    spec = importlib.util.spec_from_file_location(
        "made_models", root / "install/llamacpp_models.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/llms.md").read_text()


def named(text: str) -> list[str]:
    """What stands first in the rows of the tables."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_functions_are_all_there(page: str, functions: dict[str, dict[str, Function]]) -> None:
    before, _, rest = page.partition("## Models")
    assert sorted({*named(before), "raw"}) == sorted(functions["llamacpp"])
    _, _, own = rest.partition("## Ollama")
    assert sorted({*named(own), "main", "stream", "raw"}) == sorted(functions["ollama"])


def test_functions_that_need_no_service(functions: dict[str, dict[str, Function]]) -> None:
    modes = {name: function.lease for name, function in functions["llamacpp"].items()}
    assert {name for name, mode in modes.items() if mode == "none"} == {"models", "pull"}


def test_models_by_name(page: str, program: ModuleType) -> None:
    page, _, _ = page.partition("## Settings")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([\w./-]+)` \|", page, re.MULTILINE))
    assert rows == program.NAMES


def test_settings_are_those_that_are_read(root: Path, page: str) -> None:
    _, _, settings = page.partition("## Settings")
    settings, _, ollama = settings.partition("## Ollama")
    install = set(re.findall(r"app_setting (\w+)", (root / "install/llamacpp.sh").read_text()))
    run = set(re.findall(r'settings\.get\("(\w+)"\)', (root / "run/run_llamacpp.py").read_text()))
    assert install | run | {"vram"} == set(named(settings))
    script = (root / "install/ollama.sh").read_text()
    for key in {*re.findall(r"app_setting (\w+)", script), "model", "vram"}:
        assert f"`{key}`" in ollama


@pytest.mark.parametrize(
    ("files", "quant", "parts", "eyes"),
    [
        (["a-Q8_0.gguf", "a-Q4_K_M.gguf", "a-Q4_0.gguf"], "", ["a-Q4_K_M.gguf"], ""),
        (["a-Q8_0.gguf", "a-Q4_0.gguf"], "", ["a-Q4_0.gguf"], ""),
        (["a-Q8_0.gguf", "a-Q4_0.gguf"], "q8_0", ["a-Q8_0.gguf"], ""),
        (["a-BF16.gguf", "README.md"], "", ["a-BF16.gguf"], ""),
        (["a.gguf"], "", ["a.gguf"], ""),
        (["x/a-IQ4_XS.gguf", "imatrix-a.gguf"], "IQ4_XS", ["x/a-IQ4_XS.gguf"], ""),
        (
            ["b-Q4_0-00002-of-00002.gguf", "b-Q4_0-00001-of-00002.gguf", "mmproj-b-Q8_0.gguf"],
            "",
            ["b-Q4_0-00001-of-00002.gguf", "b-Q4_0-00002-of-00002.gguf"],
            "mmproj-b-Q8_0.gguf",
        ),
        (
            ["mmproj-BF16.gguf", "mmproj-F16.gguf", "c.Q4_K_M.gguf", "mtp-c-Q4_K_M.gguf"],
            "",
            ["c.Q4_K_M.gguf"],
            "mmproj-F16.gguf",
        ),
    ],
)
def test_which_files_are_a_model(
    program: ModuleType, files: list[str], quant: str, parts: list[str], eyes: str
) -> None:
    assert program.chosen(files, quant) == (parts, eyes)


def test_a_model_of_ones_own_is_found_by_its_name(program: ModuleType, tmp_path: Path) -> None:
    for name in ("mine.gguf", "user/repo/b-Q4_0-00001-of-00002.gguf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"GGUF")
    for name in ("mine", "mine.gguf"):
        assert program.find(name, str(tmp_path)) == ("mine.gguf", "")
    with pytest.raises(program.Unknown, match="not there whole"):
        program.find("user/repo", str(tmp_path))
    with pytest.raises(program.Unknown):
        program.find("12b", str(tmp_path))
    assert [one["name"] for one in program.listed(str(tmp_path)) if one["there"]] == [
        "mine.gguf",
        "user/repo:Q4_0",
    ]
