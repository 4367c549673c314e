"""What it takes to make functions of an OpenAPI document of 200 operations."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import yaml
from seed import ROOT

sys.path.insert(0, str(ROOT))

from onegai.functions.function import Function
from onegai.functions.openapi.declared import functions_of
from onegai.functions.openapi.document import Document
from onegai.functions.openapi.text import parsed


def document(operations: int, models: int = 60) -> dict[str, Any]:
    """Each operation has three parameters and a body of a model, which has others in it."""

    def ref(number: int) -> dict[str, str]:
        return {"$ref": f"#/components/schemas/Model{number % models}"}

    text = {"type": "string", "description": "a text for people, as long as such texts are"}
    schemas = {
        f"Model{number}": {
            "type": "object",
            "required": ["name"],
            "properties": {
                **{f"field{field}": {**text, "maxLength": 100} for field in range(8)},
                "name": text,
                "next": {"anyOf": [ref(number + 1), {"type": "null"}]},
                "several": {"type": "array", "items": ref(number + 7)},
            },
        }
        for number in range(models)
    }
    paths = {
        f"/things{number}/{{id}}": {
            "post": {
                "operationId": f"make_thing_{number}",
                "summary": "Make a thing.",
                "parameters": [
                    {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}},
                    {"in": "query", "name": "q", "schema": {"type": "string", "default": ""}},
                    {"in": "header", "name": "X-Trace", "schema": {"type": "string"}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": ref(number)}},
                },
                "responses": {
                    "200": {"description": "", "content": {"application/json": {"schema": text}}}
                },
            }
        }
        for number in range(operations)
    }
    return {"openapi": "3.1.0", "paths": paths, "components": {"schemas": schemas}}


async def _again() -> bool:
    return False


def timed(rounds: int, work: Callable[[], Any]) -> float:
    """Milliseconds, the median."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - begun))
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--operations", type=int, default=200)
    options = parser.parse_args()
    made = document(options.operations)
    as_json, as_yaml = json.dumps(made).encode(), yaml.safe_dump(made).encode()

    def functions() -> dict[str, Function]:
        read = Document(made, "/openapi.json", "http://127.0.0.1:1")
        return functions_of("a", {}, read.operations, _again)[0]

    def check() -> None:
        function = next(iter(functions().values()))
        function.arguments({"id": 1, "name": "x"})

    assert len(functions()) == options.operations
    for what, work in (
        (f"read as JSON, {len(as_json) >> 10} KiB", lambda: parsed(as_json)),
        (f"read as YAML, {len(as_yaml) >> 10} KiB", lambda: parsed(as_yaml)),
        (f"made into {options.operations} functions", functions),
        ("the same, and a first call of one checked", check),
    ):
        print(f"{what:44} {timed(options.rounds, work):9.1f} ms (n {options.rounds})")


if __name__ == "__main__":
    main()
