"""Apps that describe themselves by an OpenAPI document: HTTP servers, here and elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from onegai.config.entry import AppSpec
from onegai.errors import ErrorAnswer, reason
from onegai.functions.discovered import Again, Untold
from onegai.functions.function import Function
from onegai.functions.openapi.declared import declares, functions_of
from onegai.functions.openapi.document import Document
from onegai.functions.openapi.text import MOST_BYTES, NoDocument, parsed
from onegai.handles.context import current
from onegai.handles.handle import AsyncHandle

PLACES = (
    "/openapi.json",
    "/openapi.yaml",
    "/swagger.json",
    "/v3/api-docs",
    "/api/openapi.json",
    "/schema/openapi.json",
    "/swagger/v1/swagger.json",
    "/openapi/v1.json",
    "/docs/openapi.json",
    "/api-docs",
)
"""Where a document may be, of FastAPI, Spring, Litestar, .NET and others."""
_ACCEPT = {"accept": "application/json, application/yaml;q=0.9, */*;q=0.5"}
_SHOWN = 3
"""Operations that are told to be wrong; of the others only how many."""


class OpenAPI:
    """It is a ``discovered.Kind``."""

    type = "webapi"

    def lists(self, spec: AppSpec, *, func_file: bool) -> bool:
        """See Kind. Those of an app with a func file are on offer only where its entry says so."""
        return spec.openapi is not None or not func_file

    async def ask(self, spec: AppSpec, app: AsyncHandle) -> dict[str, Any]:
        """Its document, and where that was found. See Kind."""
        if spec.openapi is not None:
            places: tuple[str, ...] = (spec.openapi,)
        else:
            places = PLACES
        close = ""
        for place in places:
            try:
                document = await _document(spec, app, place)
            except NoDocument as wrong:
                if wrong.close or spec.openapi is not None:
                    close = close or f"{_bare(place)}: {wrong.reason}"
                continue
            return {"place": place, "document": document}
        if spec.openapi is None and not close and declares(spec.functions):
            return {"place": "", "document": {}}
        raise _untold(spec, close)

    def functions(
        self, spec: AppSpec, document: Mapping[str, Any], again: Again
    ) -> dict[str, Function]:
        """See Kind. What is wrong with one operation keeps no other from being called."""
        place, told = str(document.get("place", "")), document.get("document")
        base = spec.url.rstrip("/") if spec.url else f"http://127.0.0.1:{spec.port}"
        read = Document(told if isinstance(told, Mapping) else {}, place, base)
        found, wrong = functions_of(spec.app, spec.functions or {}, read.operations, again)
        remarks = [*wrong, *read.remarks]
        if not found and not remarks and place:
            remarks = [f"{_bare(place)} has no operation that can be called"]
        if remarks:
            more = f", and {len(remarks) - _SHOWN} more" if len(remarks) > _SHOWN else ""
            text = "; ".join(remarks[:_SHOWN]) + more
            raise Untold(text, "the others can be called" if found else "", found)
        return found


def _bare(place: str) -> str:
    """Without its query, in which there may be a key."""
    return place.partition("?")[0]


def _untold(spec: AppSpec, close: str) -> Untold:
    if spec.openapi is not None:
        return Untold(f"its OpenAPI document is not usable: {close}", "correct openapi")
    if close:
        return Untold(
            f"its OpenAPI document is not usable: {close}",
            f"name another with openapi, or write func/{spec.app}.py",
        )
    return Untold(
        "it has no OpenAPI document at " + ", ".join(PLACES[:4]) + " and the like",
        f"say where it is with openapi, declare functions, or write func/{spec.app}.py",
    )


async def _document(spec: AppSpec, app: AsyncHandle, place: str) -> dict[str, Any]:
    """Raises NoDocument, and AppError where the app itself does not answer."""
    path = _own_path(spec, place)
    if path is None:
        content = await _elsewhere(place)
    else:
        try:
            content = (await app.get(path, headers=_ACCEPT)).content
        except ErrorAnswer as error:
            status = error.upstream_status
            near = status in (401, 403)  # it is there, but not for us
            why = ": it wants credentials" if near else ""
            raise NoDocument(f"the answer is {status}{why}", close=near) from None
    return await asyncio.to_thread(parsed, content)


def _own_path(spec: AppSpec, place: str) -> str | None:
    """The path below the app's base URL; None for what is not the app's own."""
    if "://" not in place:
        return place
    base = (spec.url or f"http://127.0.0.1:{spec.port}").rstrip("/")
    if not place.startswith(f"{base}/"):
        return None
    there = urlsplit(place)
    path = place.removeprefix(base)
    return path if there.scheme else None


async def _elsewhere(url: str) -> bytes:
    """What is at a URL of the entry's, asked without anybody's credentials."""
    session = current("").transport.asynchronous
    try:
        async with session.get(url, headers=_ACCEPT) as answer:
            if answer.status >= 400:
                raise NoDocument(f"the answer is {answer.status}")
            return await _limited(answer.content.iter_any())
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoDocument(reason(error)) from None


async def _limited(pieces: AsyncIterator[bytes]) -> bytes:
    found, size = [], 0
    async for piece in pieces:
        size += len(piece)
        if size > MOST_BYTES:
            raise NoDocument(f"it is larger than {MOST_BYTES >> 20} MiB")
        found.append(piece)
    return b"".join(found)
