"""The func file that is written from what an app tells of itself is good Python, and asks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from onegai.cli.new.written import func_file
from onegai.functions.described import FILE_SCHEMA
from onegai.functions.function import Unfit
from onegai.functions.signature import public_functions
from onegai.schema import FunctionInfo

PAINT = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "minLength": 1, "description": 'what to "draw"'},
        "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
        "style": {"enum": ["ink", "oil"], "default": "ink"},
        "image": {"anyOf": [FILE_SCHEMA, {"type": "null"}], "default": None},
        "masks": {"type": "array", "items": FILE_SCHEMA},
        "class": {"type": "boolean"},
        "max-size": {"type": "number", "exclusiveMinimum": 0},
        "tree": {"$ref": "#/$defs/Tree"},
        "model_config": {},
        "copy": {"type": "integer"},
    },
    "required": ["prompt", "class"],
    "$defs": {
        "Tree": {
            "type": "object",
            "properties": {"inner": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        }
    },
}
FUNCTIONS = [
    FunctionInfo(name="paint", about='Paint it.\n\nIt is "art" \\ """\n', schema=PAINT),
    FunctionInfo(name="field", about='A "field"', schema={"type": "object"}),
    FunctionInfo(name="main", derived=True, schema=PAINT),
]


def loaded(source: str) -> ModuleType:
    module = ModuleType("func.space")
    exec(compile(source, "func/space.py", "exec", dont_inherit=True), vars(module))
    return module


def test_it_has_a_function_with_a_model_for_each() -> None:
    functions = public_functions(loaded(func_file("space", FUNCTIONS)), "space")
    assert set(functions) == {"paint", "field"}
    paint = functions["paint"]
    assert paint.summary == "Paint it."
    schema = paint.accepts.schema()
    assert set(schema["properties"]) == set(PAINT["properties"])
    assert schema["required"] == ["prompt", "class"]
    assert paint.accepts.takes_files
    given: dict[str, Any] = {
        "prompt": "a cat",
        "class": True,
        "max-size": 0.5,
        "masks": ["data:,a"],
    }
    checked = paint.accepts.check(given)
    assert checked.masks[0].read() == b"a"
    assert checked.model_dump(by_alias=True, exclude_unset=True).keys() == given.keys()
    for wrong in ({}, {**given, "steps": 51}, {**given, "style": "chalk"}, {**given, "prompt": ""}):
        with pytest.raises(Unfit):
            paint.accepts.check(wrong)


def test_no_tool_complains_of_it(tmp_path: Path) -> None:
    path = tmp_path / "space.py"
    path.write_text(func_file("space", FUNCTIONS))
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F,I", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
