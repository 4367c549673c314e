"""The whole ASGI application on a small home, spoken to in this process."""

import json
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from served import BASE, FUNCS, INSTALLS, LISTED, PASSWORD, SERVICES, Server

from onegai import errors
from onegai.config.current import Current
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.engine.engine import Engine
from onegai.memory.probe import FakeProbe
from onegai.server import guards as guard
from onegai.server.app import App


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_SECONDS", 0.01)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    for folder in ("func", "install", "data"):
        (tmp_path / folder).mkdir()
    home.services.write_text(json.dumps(SERVICES))
    for app, source in FUNCS.items():
        home.func_file(app).write_text(textwrap.dedent(source))
    for app, source in INSTALLS.items():
        home.install_script(app).write_text(source)
    path = list(sys.path)
    yield home
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "func"]:
        del sys.modules[name]


@pytest.fixture
def settings() -> Settings:
    return Settings(password=PASSWORD, cors_origins=(LISTED,), max_json=10_000)


@pytest.fixture
async def server(home: Home, settings: Settings) -> AsyncIterator[Server]:
    async with Engine(Current(home, settings), probe=FakeProbe((12,))) as engine:
        app = App(engine, settings)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
            yield Server(app.api, engine, client)


STATUSES = {
    made.code: made.status
    for made in vars(errors).values()
    if isinstance(made, type) and issubclass(made, errors.OneGAIError)
}


@pytest.fixture
def is_error() -> Any:
    """Checks the shape of an error answer."""

    def check(answer: httpx2.Response, code: str, src: str = "onegai") -> dict[str, Any]:
        assert answer.headers["content-type"] == "application/json", answer.text
        body = answer.json()
        assert set(body) == {"status", "servertime", "result", "detail"}
        assert body["status"] == 1
        assert isinstance(body["servertime"], float)
        assert isinstance(body["result"], str)
        assert body["result"]
        detail = body["detail"]
        assert (detail["code"], detail["src"]) == (code, src), body
        assert detail["hint"]
        assert answer.status_code == STATUSES[code]
        return dict(body)

    return check
