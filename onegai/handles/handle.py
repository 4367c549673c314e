"""Lazy handles to services. Each request or stream starts the service if needed and leases it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Unpack

import aiohttp

from onegai.errors import CallTimeout, SdkMisuse, reason
from onegai.handles.connections import CONNECT_SECONDS, Answer
from onegai.handles.context import CallContext, Hold, current
from onegai.handles.http import (
    BuildOptions,
    Incoming,
    Lines,
    Request,
    RequestOptions,
    Response,
    SendOptions,
    build,
)
from onegai.handles.redirects import REDIRECTS, is_redirect, redirected
from onegai.handles.websocket import WebSocket, connected


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _request(
    context: CallContext, app: str, method: str, path: str, **options: Unpack[BuildOptions]
) -> Request:
    """With what the app is shown. Raises KeyMissing: before anything is started."""
    return replace(build(method, path, **options), access=context.access(app))


def _response(
    app: str, answer: Answer | aiohttp.ClientResponse, content: bytes, request: Request
) -> Response:
    return Response(app, answer.status, answer.headers, content, request.access)


def _reason(context: CallContext, app: str, error: Exception) -> str:
    return context.access(app).hidden(reason(error))


class Handle:
    """A service, for ordinary functions. Making one does no I/O.

    All requests raise AppError: ErrorAnswer from HTTP 400 on (unless ``check`` is False), Died and
    Unreachable for a lost connection, CallTimeout past ``timeout`` seconds or the call's own end.
    """

    def __init__(self, app: str) -> None:
        self.app = app

    def request(
        self,
        method: str,
        path: str,
        *,
        timeout: float | None = None,
        check: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Response:
        """Send one request and read the whole answer."""
        context = current(self.app)
        request = _request(context, self.app, method, path, **options)
        hold = self._hold(context)
        try:
            answer = self._send(context, hold.url, request, timeout)
            content = self._whole(context, answer)
            response = _response(self.app, answer, content, request)
        finally:
            hold.release()
        return response.checked() if check else response

    def get(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """POST."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """PUT."""
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """DELETE."""
        return self.request("DELETE", path, **options)

    @contextmanager
    def stream(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Iterator[Iterator[bytes]]:
        """The answer's bytes as they come; the lease lasts as long as the ``with`` block.

        Its connection is not used again: llama.cpp closes it after a stream without saying so.
        """
        context = current(self.app)
        request = _request(context, self.app, method, path, **options, last=True)
        with self.lease() as base:
            answer = self._send(context, base, request, None)
            try:
                if answer.status >= 400:
                    content = self._whole(context, answer)
                    _response(self.app, answer, content, request).checked()
                yield self._pieces(context, answer)
            finally:
                answer.close()

    @contextmanager
    def lines(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Iterator[Iterator[str]]:
        """As ``stream``: the answer's lines, without their ends (events, JSON lines)."""
        with self.stream(method, path, **options) as pieces:
            yield self._lines(pieces)

    @contextmanager
    def lease(self) -> Iterator[str]:
        """Hold the service for several requests; gives its base URL."""
        hold = self._hold(current(self.app))
        try:
            yield hold.url
        finally:
            hold.release()

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end; leased until the call ends.

        For other clients of HTTP: requests, gradio_client, the openai SDK.
        """
        context = current(self.app)
        if self.app not in context.pinned and self.app not in context.granted:
            context.pinned[self.app] = self._hold(context)
        return context.granted.get(self.app) or context.pinned[self.app].url

    def _hold(self, context: CallContext) -> Hold:
        if _running_loop() is context.loop:
            raise SdkMisuse(
                reason=f"the handle of {self.app} would block the event loop",
                do="in an async function, make the handle with async_service()",
            )
        hold = context.at_hand(self.app)
        if hold is not None:
            return hold
        asked = asyncio.run_coroutine_threadsafe(context.lease(self.app), context.loop)
        context.waits.add(asked)
        try:
            return asked.result(context.remaining(self.app))
        except (TimeoutError, CancelledError):
            raise CallTimeout(app=self.app, seconds=context.seconds) from None
        finally:
            asked.cancel()
            context.waits.discard(asked)

    def _send(
        self, context: CallContext, base: str, request: Request, timeout: float | None
    ) -> Answer:
        left = context.remaining(self.app)
        seconds = min(left, timeout) if timeout is not None else left
        with self._errors(context, seconds):
            deadline = time.monotonic() + seconds
            return context.transport.sync.send(base, request, deadline, context.cutoff)

    def _whole(self, context: CallContext, answer: Answer) -> bytes:
        pieces, size = [], 0
        try:
            for piece in self._pieces(context, answer):
                size += len(piece)
                context.check_size(self.app, size)
                pieces.append(piece)
        finally:
            answer.close()
        return b"".join(pieces)

    def _pieces(self, context: CallContext, answer: Answer) -> Iterator[bytes]:
        """The body as it comes. The connection is kept once all of it is read."""
        with self._errors(context, answer.deadline - time.monotonic()):
            yield from answer.pieces()

    def _lines(self, pieces: Iterator[bytes]) -> Iterator[str]:
        lines, context = Lines(), current(self.app)
        for piece in pieces:
            yield from lines.feed(piece)
            context.check_size(self.app, lines.waiting)
        yield from lines.end()

    @contextmanager
    def _errors(self, context: CallContext, seconds: float) -> Iterator[None]:
        """What goes wrong inside, as errors of this app; ``seconds`` are what there was left."""
        try:
            yield
        except TimeoutError:
            raise CallTimeout(app=self.app, seconds=round(seconds, 2)) from None
        except OSError as error:
            context.remaining(self.app)  # else the call is over, and the connection was cut off
            raise self._lost(context, error) from None

    def _lost(self, context: CallContext, error: Exception) -> Exception:
        return asyncio.run_coroutine_threadsafe(
            context.services.why_lost(self.app, _reason(context, self.app, error)), context.loop
        ).result()


class AsyncHandle:
    """A service, for ``async def`` functions. The same methods as ``Handle``, to be awaited."""

    def __init__(self, app: str) -> None:
        self.app = app

    async def request(
        self,
        method: str,
        path: str,
        *,
        timeout: float | None = None,
        check: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Response:
        """Send one request and read the whole answer."""
        context = current(self.app)
        request = _request(context, self.app, method, path, **options)
        hold = await self._hold(context)
        try:
            async with self._send(context, hold.url, request, timeout) as answer:
                content = await self._whole(context, answer)
                response = _response(self.app, answer, content, request)
        finally:
            hold.release()
        return response.checked() if check else response

    async def get(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """POST."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """PUT."""
        return await self.request("PUT", path, **options)

    async def delete(self, path: str, **options: Unpack[SendOptions]) -> Response:
        """DELETE."""
        return await self.request("DELETE", path, **options)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[Incoming]:
        """The answer's bytes as they come; the lease lasts as long as the block.

        Its connection is not used again.
        """
        context = current(self.app)
        request = _request(context, self.app, method, path, **options, last=True)
        hold = await self._hold(context)
        try:
            async with self._send(context, hold.url, request, None) as answer:
                if answer.status >= 400:
                    content = await self._whole(context, answer)
                    _response(self.app, answer, content, request).checked()
                head = _response(self.app, answer, b"", request)
                yield Incoming(head, answer.content.iter_any())
        finally:
            hold.release()

    @asynccontextmanager
    async def lines(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[AsyncIterator[str]]:
        """As ``stream``: the answer's lines, without their ends (events, JSON lines)."""
        async with self.stream(method, path, **options) as pieces:
            yield self._lines(pieces)

    @asynccontextmanager
    async def websocket(self, path: str) -> AsyncIterator[WebSocket]:
        """A WebSocket, for messages in JSON; the lease lasts as long as the block."""
        context = current(self.app)
        request = _request(context, self.app, "GET", path)
        async with (
            self.lease() as base,
            self._errors(context, context.remaining(self.app)),
            connected(context, self.app, base, request) as socket,
        ):
            yield socket

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        """Hold the service for several requests; gives its base URL."""
        hold = await self._hold(current(self.app))
        try:
            yield hold.url
        finally:
            hold.release()

    async def url(self) -> str:
        """Its base URL, without a slash at the end; leased until the call ends."""
        context = current(self.app)
        if self.app not in context.pinned and self.app not in context.granted:
            context.pinned[self.app] = await self._hold(context)
        return context.granted.get(self.app) or context.pinned[self.app].url

    async def _hold(self, context: CallContext) -> Hold:
        hold = context.at_hand(self.app)
        if hold is not None:
            return hold
        return await context.lease(self.app)

    async def _whole(self, context: CallContext, answer: aiohttp.ClientResponse) -> bytes:
        pieces, size = [], 0
        async for piece in answer.content.iter_any():
            size += len(piece)
            context.check_size(self.app, size)
            pieces.append(piece)
        return b"".join(pieces)

    async def _lines(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
        lines, context = Lines(), current(self.app)
        async for piece in pieces:
            for line in lines.feed(piece):
                yield line
            context.check_size(self.app, lines.waiting)
        for line in lines.end():
            yield line

    @asynccontextmanager
    async def _send(
        self, context: CallContext, base: str, request: Request, timeout: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        left = context.remaining(self.app)
        seconds = min(left, timeout) if timeout is not None else left
        deadline = time.monotonic() + seconds
        async with self._errors(context, seconds):
            for _ in range(REDIRECTS + 1):
                target, headers = request.sent()
                left = max(deadline - time.monotonic(), 0.001)
                async with context.transport.asynchronous.request(
                    request.method,
                    base + target,
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=left, sock_connect=CONNECT_SECONDS),
                ) as answer:
                    location = answer.headers.get("Location")
                    if location is None or not is_redirect(answer.status, location):
                        yield answer
                        return
                base, request = redirected(base, request, answer.status, location)
            raise ConnectionError(f"it redirects more than {REDIRECTS} times")

    @asynccontextmanager
    async def _errors(self, context: CallContext, seconds: float) -> AsyncIterator[None]:
        """What goes wrong inside, as errors of this app; ``seconds`` are what there was left."""
        try:
            yield
        except aiohttp.ConnectionTimeoutError as error:
            raise await self._lost(context, error) from None
        except TimeoutError:
            raise CallTimeout(app=self.app, seconds=seconds) from None
        except (aiohttp.ClientError, OSError) as error:
            raise await self._lost(context, error) from None

    async def _lost(self, context: CallContext, error: Exception) -> Exception:
        return await context.services.why_lost(self.app, _reason(context, self.app, error))


def declares_handle(module: ModuleType | None, app: str) -> bool:
    """Has the module a handle of this app?"""
    values = vars(module).values() if module else ()
    return any(isinstance(value, Handle | AsyncHandle) and value.app == app for value in values)


def service(app: str) -> Handle:
    """A handle for ordinary functions: ``voicevox = service("voicevox")`` at the file's top."""
    return Handle(app)


def async_service(app: str) -> AsyncHandle:
    """A handle for ``async def`` functions."""
    return AsyncHandle(app)
