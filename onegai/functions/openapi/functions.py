"""Operations of an OpenAPI document as functions of an app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from onegai.errors import AppChanged, ErrorAnswer
from onegai.functions.function import Form, Function
from onegai.functions.openapi.answers import pieces, whole
from onegai.functions.openapi.operation import Operation
from onegai.functions.openapi.requests import Fitting, Sent, sent
from onegai.handles.context import current
from onegai.handles.handle import AsyncHandle
from onegai.handles.http import RequestOptions

DOUBT_SECONDS = 2.0
"""An app that says 404 is not asked again within these: it may mean what it says."""
_GONE = (404, 405)


class Doubt:
    """Is an app still what its document says? One for all functions that were made of it."""

    def __init__(self, again: Callable[[], Awaitable[bool]] | None) -> None:
        self._again = again
        self._looked = float("-inf")

    async def changed(self) -> bool:
        """Ask for its document once more; not each time."""
        if self._again is None or time.monotonic() - self._looked < DOUBT_SECONDS:
            return False
        self._looked = time.monotonic()
        return await self._again()


def function_of(app: str, name: str, operation: Operation, doubt: Doubt) -> Function:
    """The function of that name. Raises ValueError for a schema that is none."""
    accepts = Fitting(operation)
    call = _Call(app, operation, accepts.takes_files, doubt)
    form: Form = "main" if name == "main" else "raw" if name == "raw" else "other"
    # What main and raw give is one whole, from which the other one is derived.
    streams = operation.answers.streams and form == "other"
    return Function(
        app=app,
        name=name,
        doc=operation.doc,
        form=form,
        accepts=accepts,
        run=call.streamed if streams else call.answered,
        where="loop",
        lease="request",
        streams=streams,
        yields=operation.answers.yields if streams else None,
    )


class _Call:
    """Asks the app for what an operation gives."""

    def __init__(self, app: str, operation: Operation, has_files: bool, doubt: Doubt) -> None:
        self._app = AsyncHandle(app)
        self._operation = operation
        self._has_files = has_files
        self._doubt = doubt

    async def answered(self, arguments: dict[str, Any]) -> Any:
        """The result of a call with these arguments."""
        request = await self._request(arguments)
        try:
            response = await self._app.request(request.method, request.target, **_options(request))
        except ErrorAnswer as error:
            raise await self._explained(error) from None
        return whole(response)

    async def streamed(self, arguments: dict[str, Any]) -> AsyncIterator[Any]:
        """The same, piece by piece."""
        request = await self._request(arguments)
        try:
            async with self._app.stream(
                request.method, request.target, **_options(request)
            ) as answer:
                async for piece in pieces(answer.head, answer, self._check_size):
                    yield piece
        except ErrorAnswer as error:
            raise await self._explained(error) from None

    def _check_size(self, size: int) -> None:
        current(self._app.app).check_size(self._app.app, size)

    async def _request(self, arguments: dict[str, Any]) -> Sent:
        if self._has_files:
            return await asyncio.to_thread(sent, self._operation, arguments)
        return sent(self._operation, arguments)

    async def _explained(self, error: ErrorAnswer) -> Exception:
        """With what the document says of it."""
        operation = self._operation
        if error.upstream_status in _GONE and await self._doubt.changed():
            what = f"{operation.method} {operation.path}"
            reason = f"it answered {error.upstream_status} to {what}, and tells of other functions"
            return AppChanged(app=error.src, reason=reason, detail=error.extra)
        if operation.credentials:
            return error.with_example(operation.credentials)
        return error


def _options(request: Sent) -> RequestOptions:
    options: RequestOptions = {"headers": request.headers}
    if request.content is not None:
        options["content"] = request.content
    return options
