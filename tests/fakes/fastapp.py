"""An API made with FastAPI: all kinds of parameters, bodies and answers, described by itself."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import struct
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import (
    APIRouter,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    UploadFile,
)
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field

WAV = b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(24)


class Node(BaseModel):
    name: str
    children: list[Node] = []
    parent: Node | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


class Speech(BaseModel):
    text: str = Field(min_length=1, description="what to say")
    speed: float = Field(default=1.0, ge=0.5, le=2.0)
    seed: int | None = None


class Clash(BaseModel):
    item_id: str
    note: str = ""


class Wav(Response):
    media_type = "audio/wav"


class Events(StreamingResponse):
    media_type = "text/event-stream"


api = APIRouter()
key = APIKeyHeader(name="X-Api-Key", auto_error=False)
bearer = HTTPBearer(auto_error=False)


@api.get("/items/{item_id}")
def read_item(
    item_id: int,
    q: Annotated[str | None, Query(description="what is looked for")] = None,
    tags: Annotated[list[str], Query()] = [],  # noqa: B006
    flag: bool = False,
    x_token: Annotated[str | None, Header()] = None,
    session: Annotated[str | None, Cookie()] = None,
) -> dict[str, Any]:
    """Read one.

    All kinds of parameters.
    """
    if item_id == 404:
        raise HTTPException(404, "there is no such item")
    given = {"item_id": item_id, "q": q, "tags": tags, "flag": flag}
    return {**given, "x_token": x_token, "session": session}


@api.put("/items/{item_id}", deprecated=True)
def clash(item_id: int, body: Annotated[Clash, Body()]) -> dict[str, Any]:
    return {"item_id": item_id, "body": body.model_dump()}


@api.get("/text/{text:path}")
def path_text(text: str, q: str = "") -> dict[str, str]:
    return {"text": text, "q": q}


@api.post("/tree")
def tree(node: Node) -> int:
    """How many nodes."""

    def count(one: Node) -> int:
        return 1 + sum(map(count, one.children))

    return count(node)


@api.post("/pet")
def pet(pet: Annotated[Cat | Dog, Body(discriminator="kind")]) -> str:
    return pet.kind


@api.post("/form")
def form(
    name: Annotated[str, Form()],
    sizes: Annotated[list[int], Form()] = [],  # noqa: B006
    note: Annotated[str | None, Form()] = None,
) -> dict[str, Any]:
    return {"name": name, "sizes": sizes, "note": note}


@api.post("/upload")
async def upload(
    sound: UploadFile, more: list[UploadFile] | None = None, note: Annotated[str, Form()] = ""
) -> dict[str, Any]:
    async def told(file: UploadFile) -> list[Any]:
        return [file.filename, file.content_type, len(await file.read())]

    return {
        "sound": await told(sound),
        "more": [await told(one) for one in more or []],
        "note": note,
    }


@api.post("/optional")
async def optional(sound: Annotated[UploadFile | None, File()] = None) -> int:
    return -1 if sound is None else len(await sound.read())


@api.post(
    "/bytes",
    openapi_extra={"requestBody": {"required": True, "content": {"audio/*": {}}}},
)
async def bytes_in(request: Request) -> dict[str, Any]:
    return {"size": len(await request.body()), "type": request.headers["content-type"]}


@api.post("/speak", response_class=Wav)
def speak(args: Speech) -> Wav:
    """Say a text."""
    return Wav(WAV + args.text.encode())


@api.post("/slow_sound", response_class=Wav)
async def slow_sound(pieces: Annotated[int, Body(embed=True)]) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield WAV
        for _ in range(pieces):
            await asyncio.sleep(0.05)
            yield bytes(1000)

    return StreamingResponse(parts(), media_type="audio/wav")


@api.post("/unsaid")
async def unsaid(kind: Annotated[str, Body(embed=True)]) -> Any:
    """FastAPI says nothing of what it gives."""
    if kind == "json":
        return JSONResponse({"kind": kind})
    if kind == "text":
        return PlainTextResponse("plain wörds")
    if kind == "none":
        return Response(status_code=204)
    if kind == "bad":
        return Response(b"{", media_type="application/json")
    return await words(3)


@api.get("/words", response_class=Events)
async def words(count: int, error: bool = False, die: bool = False) -> StreamingResponse:
    """Server-sent events of JSON."""

    async def events() -> AsyncIterator[str]:
        for number in range(count):
            yield f"data: {json.dumps({'number': number})}\n\n"
            await asyncio.sleep(0.02)
        if die:
            os.kill(os.getpid(), signal.SIGKILL)
        if error:
            yield 'event: error\ndata: {"message": "no more words"}\n\n'
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@api.get("/large")
def large(mib: int) -> str:
    return "x" * (mib << 20)


@api.get("/failing/{status}")
def failing(status: int) -> None:
    headers = {"Retry-After": "7"} if status == 429 else {}
    raise HTTPException(status, f"so says the app: {status}", headers)


@api.get("/guarded", dependencies=[Depends(bearer)])
def guarded(request: Request, given: Annotated[str | None, Depends(key)]) -> dict[str, str]:
    if given is None:
        raise HTTPException(401, "an API key is needed")
    return {"key": given}


@api.post("/picky")
def picky(size: Annotated[int, Body(embed=True)]) -> int:
    """It refuses more than it says."""
    if size > 10:
        raise HTTPException(422, [{"loc": ["body", "size"], "msg": "it is too large"}])
    return size


@api.post("/change")
def change(request: Request) -> str:
    """From now on there is /newer, and no /older."""
    app: FastAPI = request.app
    app.router.routes = [r for r in app.router.routes if getattr(r, "path", "") != "/older"]
    app.add_api_route("/newer", newer, methods=["GET"])
    app.openapi_schema = None
    return "changed"


@api.get("/older")
def older() -> str:
    return "older"


def newer() -> str:
    return "newer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--document", default="/openapi.json", help="where; none: nowhere")
    parser.add_argument("--prefix", default="")
    options = parser.parse_args()
    place = None if options.document == "none" else options.document
    app = FastAPI(title="api", openapi_url=place)
    for route in api.routes:
        app.router.routes.append(route)
    uvicorn.run(app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
