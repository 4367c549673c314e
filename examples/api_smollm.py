"""Extra routes of smollm. Copy to api/smollm.py and restart the server.

GET /api/smollm/ask?text=… answers as plain text, for a stream deck or a browser's address bar.
"""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from onegai.protocol import Engine


def router(engine: Engine) -> APIRouter:
    """Called once at the start, with the engine; what it raises is a listed problem."""
    routes = APIRouter()

    @routes.get("/ask")
    async def ask(text: str) -> PlainTextResponse:
        answer = await engine.answer("smollm", "main", {"text": text})
        return PlainTextResponse(str(answer.result))

    return routes
