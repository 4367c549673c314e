"""/file: what calls gave; and answers that are files."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from onegai.engine.engine import Engine
from onegai.errors import BadRange
from onegai.files.store import StoredFile

_SHOWN = ("image/", "audio/", "video/", "text/plain", "application/json")
_ACTIVE = frozenset({"image/svg+xml"})


def router(engine: Engine) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/file", tags=["files"])

    async def file(file: str, name: str) -> Response:
        return file_answer(engine, engine.files.find(file, name))

    summary = "A file that a call gave, for an hour; ranges work"
    routes.get("/{file}/{name}", summary=summary)(file)
    routes.head("/{file}/{name}", include_in_schema=False)(file)
    return routes


def file_answer(engine: Engine, kept: StoredFile) -> Response:
    """The file with its media type, in parts where they are asked for."""
    return _Ranges(
        engine.files.path(kept),
        media_type=kept.media_type,
        filename=kept.name,
        content_disposition_type="inline" if is_shown(kept.media_type) else "attachment",
        headers={
            "X-Content-Type-Options": "nosniff",
            # An app's output is no page of ours: opened in a browser, it can run nothing.
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            "Cache-Control": "private, max-age=3600",
        },
    )


class _Ranges(FileResponse):
    """Refuses a wrong range in our own form; FileResponse says 400 or 416 in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or raise BadRange."""
        asked = dict(scope["headers"]).get(b"range", b"").decode("latin-1")
        if not asked.lower().startswith("bytes="):
            # Units that are not known must be ignored (RFC 9110, 14.2).
            headers = [header for header in scope["headers"] if header[0] != b"range"]
            scope = {**scope, "headers": headers}

        async def checking(message: Message) -> None:
            if message.get("status") in (400, 416):
                raise BadRange(range=asked, size=self.headers["Content-Length"])
            await send(message)

        await super().__call__(scope, receive, checking)


def is_shown(media_type: str) -> bool:
    """May a browser show it? What can hold scripts (HTML, SVG, XML, …) is saved instead."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind.startswith(_SHOWN) and kind not in _ACTIVE
