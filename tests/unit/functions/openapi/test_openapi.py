"""Where the OpenAPI document of an app is looked for, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from onegai.config.entry import AppSpec
from onegai.errors import ErrorAnswer, Unreachable
from onegai.functions.discovered import Untold
from onegai.functions.openapi.openapi import PLACES, OpenAPI
from onegai.handles.handle import AsyncHandle
from onegai.handles.http import Response

DOCUMENT = {"openapi": "3.1.0", "paths": {"/a": {"get": {"operationId": "a"}}}}
GOOD = json.dumps(DOCUMENT).encode()


class App:
    """What an app answers at these paths: bytes, or a status."""

    def __init__(self, **answers: bytes | int) -> None:
        self.answers = {f"/{path.replace('__', '/')}": one for path, one in answers.items()}
        self.asked: list[str] = []

    async def get(self, path: str, **_options: Any) -> Response:
        self.asked.append(path)
        found = next((a for p, a in self.answers.items() if path.startswith(p)), 404)
        if isinstance(found, int):
            raise ErrorAnswer(app="a", upstream_status=found, reason="")
        return Response("a", 200, {}, found)


def spec(**keys: Any) -> AppSpec:
    return AppSpec.model_validate({"app": "a", "type": "webapi", "port": 9, "exec": "x", **keys})


async def ask(app: App, **keys: Any) -> dict[str, Any]:
    return await OpenAPI().ask(spec(**keys), cast(AsyncHandle, app))


async def untold(app: App, **keys: Any) -> Untold:
    with pytest.raises(Untold) as caught:
        await ask(app, **keys)
    return caught.value


async def nothing_new() -> bool:
    return False


async def test_the_usual_places_are_tried_in_order() -> None:
    app = App(swagger=GOOD)
    assert await ask(app) == {"place": "/swagger.json", "document": DOCUMENT}
    assert app.asked == list(PLACES[: PLACES.index("/swagger.json") + 1])


async def test_pages_and_other_json_are_passed_over() -> None:
    app = App(openapi=b"<html>", swagger=b'{"a": 1}', v3__api=GOOD)
    assert (await ask(app))["place"] == "/v3/api-docs"


async def test_what_is_nearly_one_is_told_if_there_is_none() -> None:
    app = App(openapi=b"<html>", swagger=b'{"swagger": "2.0"}')
    error = await untold(app)
    assert "/swagger.json: it is of Swagger 2.0" in error.reason
    assert app.asked == list(PLACES)
    assert "/openapi.json: the answer is 401" in (await untold(App(openapi=401))).reason
    assert "no OpenAPI document" in (await untold(App())).reason


async def test_only_the_entry_s_place_is_asked() -> None:
    app = App(docs=GOOD)
    assert (await ask(app, openapi="/docs/x"))["place"] == "/docs/x"
    assert app.asked == ["/docs/x"]
    assert "/no: the answer is 404" in (await untold(App(), openapi="/no")).reason
    assert "HTML" in (await untold(App(no=b"<html>"), openapi="/no")).reason


async def test_a_url_of_the_app_s_own_is_asked_as_the_app_is() -> None:
    app = App(api=GOOD)
    url = "https://example.org/v1"
    found = await ask(app, url=url, openapi=f"{url}/api.json")
    assert found["place"] == f"{url}/api.json"
    assert app.asked == ["/api.json"]


async def test_declared_functions_need_no_document() -> None:
    declared = {"b": {"path": "/b"}}
    assert await ask(App(), functions=declared) == {"place": "", "document": {}}
    assert (
        "Swagger" in (await untold(App(swagger=b'{"swagger": "2.0"}'), functions=declared)).reason
    )


async def test_an_app_that_does_not_answer_is_no_app_without_a_document() -> None:
    class Silent(App):
        async def get(self, path: str, **_options: Any) -> Response:
            raise Unreachable(app="a", reason="Connection refused", do="")

    with pytest.raises(Unreachable):
        await ask(Silent())


def test_what_is_told_is_functions() -> None:
    kept = {"place": "/openapi.json", "document": DOCUMENT}
    assert list(OpenAPI().functions(spec(), kept, nothing_new)) == ["a"]
    assert OpenAPI().functions(spec(), {"place": "", "document": {}}, nothing_new) == {}


def test_what_cannot_be_called_is_told_beside_what_can() -> None:
    paths = {f"/{number}": {"get": []} for number in range(5)} | DOCUMENT["paths"]  # type: ignore[operator]
    kept = {"place": "/openapi.json", "document": {"openapi": "3.1.0", "paths": paths}}
    with pytest.raises(Untold) as caught:
        OpenAPI().functions(spec(), kept, nothing_new)
    assert list(caught.value.functions) == ["a"]
    assert caught.value.reason.endswith(", and 2 more")


def test_what_was_kept_may_be_anything() -> None:
    for kept in ({}, {"document": 3}):
        assert OpenAPI().functions(spec(), kept, nothing_new) == {}
    with pytest.raises(Untold):
        OpenAPI().functions(spec(), {"document": {"paths": 3}}, nothing_new)


def test_functions_of_an_app_with_a_func_file_are_on_offer_if_it_says_so() -> None:
    assert OpenAPI().lists(spec(), func_file=False)
    assert not OpenAPI().lists(spec(), func_file=True)
    assert OpenAPI().lists(spec(openapi="/openapi.json"), func_file=True)
