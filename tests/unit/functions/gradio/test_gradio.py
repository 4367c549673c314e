"""Why an app does not tell what it can do, and what to do about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onegai.config.entry import AppSpec
from onegai.functions.discovered import Untold
from onegai.functions.gradio.gradio import Gradio
from onegai.handles.http import Response

PAGE = b"<!doctype html><title>Space</title>"
CONFIG = json.dumps({"version": "6.31.0", "dependencies": [], "components": []}).encode()


class App:
    app = "a"

    def __init__(self, status: int, content: bytes) -> None:
        self._answer = Response("a", status, {}, content)
        self.asked: list[str] = []

    async def get(self, path: str, **_: Any) -> Response:
        self.asked.append(path)
        return self._answer


def entry(url: str | None = None) -> AppSpec:
    where = {"url": url} if url else {"port": 1, "exec": "x"}
    return AppSpec.model_validate({"app": "a", "type": "gradio", **where})


async def untold(url: str | None, status: int = 200, content: bytes = PAGE) -> Untold:
    with pytest.raises(Untold) as caught:
        await Gradio().ask(entry(url), App(status, content))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("url", "status", "reason", "do"),
    [
        (None, 401, "asks for a login", "auth="),
        (None, 404, "HTTP 404", "type gradio"),
        (None, 200, "no JSON", "its port"),
        ("https://x.example", 403, "asks for a login", "apps.a.credentials"),
        ("https://a-b.hf.space", 401, "private", "hf_token"),
        ("https://a-b.hf.space", 404, "private", "hf_token"),
        ("https://a-b.hf.space", 200, "sleeps", "in a minute"),
        ("https://a-b.hf.space", 503, "sleeps", "in a minute"),
        ("https://huggingface.co/spaces/Aka/My.App", 200, "page", "https://aka-my-app.hf.space"),
    ],
)
async def test_no_config(url: str | None, status: int, reason: str, do: str) -> None:
    told = await untold(url, status)
    assert reason in told.reason
    assert do in told.do


async def test_the_json_of_another_program() -> None:
    assert "not that of a Gradio app" in (await untold(None, 200, b'{"openapi": "3.1"}')).reason
    assert "no JSON" in (await untold(None, 200, b"[1]")).reason


async def test_what_is_asked_for() -> None:
    started, elsewhere = App(200, CONFIG), App(200, CONFIG)
    await Gradio().ask(entry(), started)  # type: ignore[arg-type]
    await Gradio().ask(entry("https://a-b.hf.space"), elsewhere)  # type: ignore[arg-type]
    assert started.asked == ["/config", "/info"]
    assert elsewhere.asked == ["/config", "/info", "/app_id"]  # it may become another one


def test_what_is_kept_by_another_version_is_asked_for_anew() -> None:
    async def again() -> bool:
        return False

    for kept in ({}, {"version": "6", "prefix": "", "protocol": "ws", "endpoints": [{"x": 1}]}):
        with pytest.raises(Untold):
            Gradio().functions(entry(), kept, again)
