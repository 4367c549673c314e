"""A OneGAI server over HTTP, for programs that run on asyncio: many calls and streams at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from onegai.client import wire
from onegai.client.events import EventParser
from onegai.client.form import Form
from onegai.client.upload import Upload
from onegai.errors import OneGAIError
from onegai.protocol import Answer, output_of
from onegai.schema import (
    AppInfo,
    Applied,
    Document,
    Event,
    FileForm,
    FunctionInfo,
    Job,
    Plan,
    ServiceStatus,
    StatusReport,
)

T = TypeVar("T")


class AsyncClient:
    """One server, from one event loop. It is a protocol.Engine, which says what the methods do.

    Every method raises OneGAIError: Relayed is the server's own, ServerUnreachable and NoOneGAI say
    that there is none. An argument of a call that is a Path, or a list with some in it, is a file,
    which is sent from the disk. ``timeout``: seconds of silence after which an answer is given up;
    ``connect_timeout``: for a connection, and for each piece of a file to be taken. It ends with
    ``async with``, or by ``close``.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        timeout: float = wire.READ_SECONDS,
        *,
        connect_timeout: float = wire.CONNECT_SECONDS,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = wire.credentials(username, password)
        self._connect_timeout = connect_timeout
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=timeout
        )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; what waits for an answer fails."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, app: str, function: str = "main", **arguments: Any) -> Any:
        """Call a function and give its result."""
        return (await self.answer(app, function, arguments)).result

    async def raw(self, app: str, function: str = "raw", **arguments: Any) -> bytes:
        """Call a function and give its bytes."""
        return (await self.answer(app, function, arguments)).content

    async def answer(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Answer:
        """Call a function and give all that it answered; arguments may have any name."""
        return await self._send(wire.answer(app, function, arguments, files))

    async def stream(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> AsyncGenerator[Event, None]:
        """Call a function and give the call's events; closing this cancels the call.

        What is wrong with the arguments is raised; what goes wrong then is the last event.
        """
        event = None
        async with aclosing(self._stream(wire.stream(app, function, arguments, files))) as events:
            async for event in events:
                yield event
        wire.check_ended(self.url, event)

    async def submit(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Job:
        """Begin a call as a job; ``result`` gives what it answered."""
        return await self._send(wire.submit(app, function, arguments, files))

    async def result(self, job: Job) -> Answer:
        """What a call that was submitted has answered; raises its error."""
        return await self._send(wire.answer_of(job))

    async def functions(self) -> dict[str, list[FunctionInfo]]:
        """The functions of every active app that has any, as they are known."""
        return await self._send(wire.functions())

    async def functions_of(self, app: str) -> list[FunctionInfo]:
        """Those of one app as they are now, installed or not."""
        return await self._send(wire.functions_of(app))

    async def function(self, app: str, name: str) -> FunctionInfo:
        """One function, whether its app is installed or not."""
        return await self._send(wire.function(app, name))

    async def apps(self) -> dict[str, AppInfo]:
        """All apps by name."""
        return await self._send(wire.apps())

    async def install(self, app: str, *, wait: bool = False) -> Job:
        """Begin to install an app, or join the install that runs."""
        return await self._send(wire.install(app, wait=wait))

    async def update(self, app: str, *, force: bool = False, wait: bool = False) -> Job:
        """Begin to install an app anew; if that fails, it is as it was before."""
        return await self._send(wire.update(app, force=force, wait=wait))

    async def uninstall(
        self, app: str, *, purge: bool = False, force: bool = False, wait: bool = False
    ) -> Job:
        """Begin to remove an app; ``purge``: its data folders too. The result says what is free."""
        return await self._send(wire.uninstall(app, purge=purge, force=force, wait=wait))

    async def jobs(self) -> list[Job]:
        """The jobs of this server's run, newest first."""
        return await self._send(wire.jobs())

    async def job(self, job_id: str) -> Job:
        """One job."""
        return await self._send(wire.job(job_id))

    def events(self, job_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """A job's events from the one behind ``after`` on, until it ends."""
        return self._stream(wire.events(job_id, after=after))

    def follow(self, job: Job) -> AsyncGenerator[str, None]:
        """The lines of a job's output as they come, until it ends. Raises its failure."""
        return output_of(self, job)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; its state when it has ended."""
        return await self._send(wire.cancel(job_id))

    async def start(self, app: str, *, restart: bool = False, wait: bool = True) -> ServiceStatus:
        """Have a service ready."""
        return await self._send(wire.start(app, restart=restart, wait=wait))

    async def stop(self, app: str, *, force: bool = False) -> list[ServiceStatus]:
        """Have a service stopped; ``"*"`` for all. Gives those that it concerned."""
        return await self._send(wire.stop(app, force=force))

    async def status(self) -> StatusReport:
        """All services, the machine's memory, and everything that is wrong."""
        return await self._send(wire.status())

    async def plan(self, app: str) -> Plan:
        """What a start would do now: evict whom, wait for whom, or why it is impossible."""
        return await self._send(wire.plan(app))

    async def logs(self, app: str, tail: int = 200) -> str:
        """The last lines of a service's log."""
        return await self._send(wire.logs(app, tail))

    def log_follow(self, app: str, tail: int = 200) -> AsyncGenerator[str, None]:
        """The last lines of a service's log, then new ones until the server ends."""
        return self._stream(wire.log_follow(app, tail))

    async def config_document(self) -> Document:
        """What config.json holds, with its secrets masked."""
        return await self._send(wire.config_document())

    async def replace_config(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make config.json hold this, if it still is what has the ETag ``if_match``."""
        return await self._send(wire.replace_config(content, if_match))

    async def services_document(self) -> Document:
        """The entries of all apps, with their secrets masked."""
        return await self._send(wire.services_document())

    async def replace_services(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make the entries be these, if they still are what has the ETag ``if_match``."""
        return await self._send(wire.replace_services(content, if_match))

    async def healthy(self) -> bool:
        """True when the server answers."""
        try:
            return await self._send(wire.health(), aiohttp.ClientTimeout(wire.HEALTH_SECONDS))
        except OneGAIError:
            return False

    async def _send(
        self, request: wire.Request[T], timeout: aiohttp.ClientTimeout | None = None
    ) -> T:
        async with self._open(request, timeout) as answer:
            reply = await _reply(answer)
        return wire.result(self.url, request, reply)

    async def _stream(self, stream: wire.Stream[T]) -> AsyncGenerator[T, None]:
        parser = EventParser()
        async with self._open(stream) as answer:
            if not wire.is_stream(answer.status, answer.headers):
                yield wire.instead(self.url, stream, await _reply(answer))
                return
            async for piece in answer.content.iter_any():
                for item in wire.items(self.url, stream, parser.feed(piece)):
                    yield item

    @asynccontextmanager
    async def _open(
        self,
        request: wire.Request[Any] | wire.Stream[Any],
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer as it begins; leaving before its end closes the connection."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        headers = {**self._headers, **request.headers}
        body: bytes | _Sending | None
        if isinstance(request.content, Form):
            upload = await asyncio.to_thread(Upload, request.content)
            body = sending = _Sending(upload, self._connect_timeout)
        else:
            body, sending = request.content, None
        try:
            async with (
                sending or nullcontext(),
                self._session.request(
                    request.method,
                    self.url + request.path,
                    data=body,
                    headers=headers,
                    timeout=timeout or self._timeout,
                    allow_redirects=False,
                    # asyncio loses an answer if it writes to a connection that is closed behind it.
                    expect100=sending is not None,
                ) as answer,
            ):
                if sending is not None:
                    sending.answered()
                yield answer
        except (aiohttp.ClientError, OSError) as error:
            if sending is not None and sending.failure is not None:
                raise sending.failure from None
            raise wire.unreachable(self.url, error) from None


class _Sending(aiohttp.Payload):
    """The body of a form on its way, until there is an answer; raises TimeoutError in its block.

    ``seconds``: for the server to ask for the body, and then to take each piece. ``failure``: why
    the body could not be read to its end.
    """

    _autoclose = True

    def __init__(self, upload: Upload, seconds: float) -> None:
        super().__init__(upload)
        self._size = upload.size
        self._upload = upload
        self._seconds = seconds
        self._limit = asyncio.timeout(seconds)
        self._over = False
        self.failure: OneGAIError | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        await self._limit.__aexit__(kind, error, traceback)

    def answered(self) -> None:
        """Wait for the server no more."""
        self._wait(None)
        self._over = True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        """It is not for memory."""
        raise TypeError("a body of files has no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """All of it, read in threads; what stops it breaks the connection off."""
        self._wait(None)
        transport = writer.transport if isinstance(writer, StreamWriter) else None
        pieces = self._upload.pieces()
        try:
            while piece := await asyncio.to_thread(next, pieces, b""):
                self._wait(self._seconds)
                await writer.write(piece)
                await writer.drain()
                self._wait(None)
        except BaseException as error:
            if isinstance(error, OneGAIError):
                self.failure = error
            # Else it would stay until the server has taken all that is in its buffer.
            if transport is not None:
                transport.abort()
            raise

    def _wait(self, seconds: float | None) -> None:
        if not self._over and not self._limit.expired():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(None if seconds is None else now + seconds)


async def _reply(answer: aiohttp.ClientResponse) -> wire.Reply:
    return wire.Reply(answer.status, answer.headers, await answer.read())
