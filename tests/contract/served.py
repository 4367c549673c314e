"""A small home with one of everything, and a client of the application that serves it."""

from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi import FastAPI

from onegai.engine.engine import Engine

PASSWORD = "correct horse battery"
BASE = "http://127.0.0.1:58080"
LISTED = "http://obs.example:1"

SERVICES = {
    "echo": {"type": "inline"},
    "twin": {"type": "inline"},
    "a": {"type": "inline"},
    "a_b": {"type": "inline"},
    "off": {"type": "inline", "active": 0},
    "torn": {"type": "inline"},
    "broken": {"type": "webapi"},
    "absent": {"type": "webapi", "port": 1, "exec": "venv/bin/python x"},
    "busy": {"type": "inline"},
}
FUNCS = {
    "echo": """
        import asyncio, time
        from pydantic import BaseModel
        class Inner(BaseModel):
            size: int = 1
        class Speech(BaseModel):
            text: str
            inner: Inner = Inner()
        class Other:
            class Inner(BaseModel):
                colour: str = "red"
        class Paint(BaseModel):
            inner: Other.Inner = Other.Inner()
        def main(args: Speech):
            '''Say it again.'''
            return args.text, {"size": args.inner.size}
        def paint(args: Paint): return args
        def audio(args): return b"RIFF....WAVE"
        async def later(args): return args
        def steps(args):
            '''Step by step.'''
            yield "one"
            yield "two"
        def fails(args): raise ValueError("broken on purpose")
        def stops(args): return next(iter([]))
        def circle(args):
            ring = []
            ring.append(ring)
            return ring
        def surrogate(args): return {"text": "\\ud800"}
        def raw_surrogate(args): return b"x", {"text": "\\ud800"}
        """,
    "twin": """
        from pydantic import BaseModel
        class Inner(BaseModel):
            weight: float
        class Speech(BaseModel):
            inner: Inner
        def raw(args: Speech): return {"weight": args.inner.weight}
        """,
    "a": "def b_c(args): return 1",
    "a_b": "def c(args): return 2",
    "off": "def main(args): return 1",
    "torn": "def main(args)",
}
INSTALLS = {"absent": "exit 1", "busy": "mkdir busy"}


@dataclass
class Server:
    """An application's routes and a client of it, with and without the password."""

    app: FastAPI
    engine: Engine
    client: httpx2.AsyncClient

    async def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """With the password."""
        options.setdefault("auth", ("onegai", PASSWORD))
        return await self.client.request(method, path, **options)

    async def edit_func(self, app: str, source: str) -> None:
        """Change its func file, and look at it."""
        self.engine.home.func_file(app).write_text(source)
        await self.engine.functions_of(app)

    async def stranger(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Without it."""
        return await self.client.request(method, path, **options)
