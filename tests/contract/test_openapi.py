"""The OpenAPI document: whole, without collisions, and what it was."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from served import Server

from onegai.config.home import Home
from onegai.server.routes import openapi

SNAPSHOT = Path(__file__).parent / "openapi.json"


@pytest.fixture
async def document(server: Server) -> dict[str, Any]:
    answer = await server.send("GET", "/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def arguments(document: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of a function's arguments."""
    content = document["paths"][path]["post"]["requestBody"]["content"]
    return resolved(document, content["application/json"]["schema"])


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


async def test_whole(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "OneGAI"
    assert document["security"]
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    for method, path, operation in operations(document):
        assert operation["responses"], path
        assert operation["summary"], path
        assert {"4XX", "5XX"} <= set(operation["responses"]), path
        in_path = set(re.findall(r"{(\w+)}", path))
        declared = {
            parameter["name"]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "path"
        }
        assert in_path == declared, (method, path)


async def test_every_reference_resolves(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        kind, _, name = reference.removeprefix("#/components/").partition("/")
        assert name in document["components"][kind], reference


async def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert sorted(set(ids)) == sorted(ids)


async def test_one_path_per_function(document: dict[str, Any], server: Server) -> None:
    expected = {
        f"/api/{app}/{function.name}"
        for app, functions in (await server.engine.functions()).items()
        for function in functions
    }
    assert {path for path in document["paths"] if path.startswith("/api/")} == expected | {
        "/api/{app}",
    }
    assert {"/api/echo/main", "/api/echo/raw", "/api/twin/main", "/api/a_b/c"} <= expected
    assert not any(path.startswith("/api/off/") for path in expected)
    assert document["paths"]["/api/echo/main"]["post"]["summary"] == "Say it again."


async def test_functions_that_stream_say_so(document: dict[str, Any]) -> None:
    for path, streams in (("/api/echo/steps", True), ("/api/echo/main", False)):
        answers = document["paths"][path]["post"]["responses"]["200"]["content"]
        assert ("text/event-stream" in answers) is streams
        assert "application/json" in answers


async def test_models_of_the_same_name_do_not_collide(document: dict[str, Any]) -> None:
    def inner(path: str) -> set[str]:
        schema = arguments(document, path)
        return set(resolved(document, schema["properties"]["inner"])["properties"])

    assert inner("/api/echo/main") == {"size"}
    assert inner("/api/twin/raw") == {"weight"}
    assert set(arguments(document, "/api/echo/main")["properties"]) == {"text", "inner"}


async def test_models_of_the_same_name_in_one_file_do_not_collide(document: dict[str, Any]) -> None:
    schema = arguments(document, "/api/echo/paint")
    assert set(resolved(document, schema["properties"]["inner"])["properties"]) == {"colour"}
    schema = arguments(document, "/api/echo/main")
    assert set(resolved(document, schema["properties"]["inner"])["properties"]) == {"size"}


async def test_own_routes_are_what_they_were(document: dict[str, Any]) -> None:
    """A changed route is a changed contract: correct openapi.json here with it."""
    own: dict[str, list[str]] = {}
    for method, path, _ in operations(document):
        if path == "/api/{app}" or not path.startswith("/api/"):
            own.setdefault(path, []).append(method)
    assert {path: sorted(methods) for path, methods in own.items()} == json.loads(
        SNAPSHOT.read_text()
    )


async def test_it_is_made_anew_only_when_functions_have_changed(
    server: Server, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def describing(app: FastAPI, functions: openapi.Functions) -> dict[str, Any]:
        made.append(threading.get_ident())
        return describe(app, functions)

    describe = openapi.describe
    monkeypatch.setattr(openapi, "describe", describing)

    async def paths() -> set[str]:
        return set((await server.send("GET", "/openapi.json")).json()["paths"])

    async def until(expected: set[str]) -> None:
        async with asyncio.timeout(60):
            while await paths() != expected:
                await asyncio.sleep(0.02)

    found = await asyncio.gather(*(paths() for _ in range(5)))
    assert len(made) == 1
    assert threading.get_ident() not in made
    home.func_file("a").write_text("def other(args): return 1\n")
    await until(found[0] - {"/api/a/b_c"} | {"/api/a/other"})
    assert len(made) == 2
    home.services_local.write_text('{"a": {"active": 0}}')
    await until(found[0] - {"/api/a/b_c"})
    assert len(made) == 3


async def test_own_documented_routes_exist(document: dict[str, Any], server: Server) -> None:
    for method, path, _ in operations(document):
        answer = await server.stranger(method, re.sub(r"{\w+}", "x", path))
        assert answer.status_code == 401, path
