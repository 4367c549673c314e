"""A OneGAI server over HTTP, for scripts, the commands, the demo and the tests."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Self, TypeVar

import urllib3

from onegai.client import wire
from onegai.client.events import EventParser
from onegai.client.form import Form
from onegai.client.upload import Upload
from onegai.errors import OneGAIError
from onegai.protocol import Answer, Lines, raise_failure
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
KEPT_CONNECTIONS = 16
PIECE = 1 << 14


class Client:
    """One server, from any thread. The methods of protocol.Engine, which says what they do.

    Every method raises OneGAIError: Relayed is the server's own, ServerUnreachable and NoOneGAI say
    that there is none. An argument of a call that is a Path, or a list with some in it, is a file,
    which is sent from the disk. ``timeout``: seconds of silence after which an answer is given up;
    ``connect_timeout``: for a connection, and for each piece of a file to be taken.
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
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=timeout)
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=KEPT_CONNECTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def call(self, app: str, function: str = "main", **arguments: Any) -> Any:
        """Call a function and give its result."""
        return self.answer(app, function, arguments).result

    def raw(self, app: str, function: str = "raw", **arguments: Any) -> bytes:
        """Call a function and give its bytes."""
        return self.answer(app, function, arguments).content

    def answer(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Answer:
        """Call a function and give all that it answered; arguments may have any name."""
        return self._send(wire.answer(app, function, arguments, files))

    def stream(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Generator[Event, None, None]:
        """Call a function and give the call's events; closing this cancels the call.

        What is wrong with the arguments is raised; what goes wrong then is the last event.
        """
        event = None
        with closing(self._stream(wire.stream(app, function, arguments, files))) as events:
            for event in events:
                yield event
        wire.check_ended(self.url, event)

    def submit(
        self, app: str, function: str, arguments: Mapping[str, Any], *, files: FileForm = "url"
    ) -> Job:
        """Begin a call as a job; ``result`` gives what it answered."""
        return self._send(wire.submit(app, function, arguments, files))

    def result(self, job: Job) -> Answer:
        """What a call that was submitted has answered; raises its error."""
        return self._send(wire.answer_of(job))

    def functions(self) -> dict[str, list[FunctionInfo]]:
        """The functions of every active app that has any, as they are known."""
        return self._send(wire.functions())

    def functions_of(self, app: str) -> list[FunctionInfo]:
        """Those of one app as they are now, installed or not."""
        return self._send(wire.functions_of(app))

    def function(self, app: str, name: str) -> FunctionInfo:
        """One function, whether its app is installed or not."""
        return self._send(wire.function(app, name))

    def apps(self) -> dict[str, AppInfo]:
        """All apps by name."""
        return self._send(wire.apps())

    def install(self, app: str, *, wait: bool = False) -> Job:
        """Begin to install an app, or join the install that runs."""
        return self._send(wire.install(app, wait=wait))

    def update(self, app: str, *, force: bool = False, wait: bool = False) -> Job:
        """Begin to install an app anew; if that fails, it is as it was before."""
        return self._send(wire.update(app, force=force, wait=wait))

    def uninstall(
        self, app: str, *, purge: bool = False, force: bool = False, wait: bool = False
    ) -> Job:
        """Begin to remove an app; ``purge``: its data folders too. The result says what is free."""
        return self._send(wire.uninstall(app, purge=purge, force=force, wait=wait))

    def jobs(self) -> list[Job]:
        """The jobs of this server's run, newest first."""
        return self._send(wire.jobs())

    def job(self, job_id: str) -> Job:
        """One job."""
        return self._send(wire.job(job_id))

    def events(self, job_id: str, *, after: int = 0) -> Generator[Event, None, None]:
        """A job's events from the one behind ``after`` on, until it ends."""
        return self._stream(wire.events(job_id, after=after))

    def follow(self, job: Job) -> Generator[str, None, None]:
        """The lines of a job's output as they come, until it ends. Raises its failure."""
        lines = Lines()
        for event in self.events(job.id):
            yield from lines.feed(event.event, event.data)
        if lines.rest:
            yield lines.rest
        raise_failure(self.job(job.id))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; its state when it has ended."""
        return self._send(wire.cancel(job_id))

    def start(self, app: str, *, restart: bool = False, wait: bool = True) -> ServiceStatus:
        """Have a service ready."""
        return self._send(wire.start(app, restart=restart, wait=wait))

    def stop(self, app: str, *, force: bool = False) -> list[ServiceStatus]:
        """Have a service stopped; ``"*"`` for all. Gives those that it concerned."""
        return self._send(wire.stop(app, force=force))

    def status(self) -> StatusReport:
        """All services, the machine's memory, and everything that is wrong."""
        return self._send(wire.status())

    def plan(self, app: str) -> Plan:
        """What a start would do now: evict whom, wait for whom, or why it is impossible."""
        return self._send(wire.plan(app))

    def logs(self, app: str, tail: int = 200) -> str:
        """The last lines of a service's log."""
        return self._send(wire.logs(app, tail))

    def log_follow(self, app: str, tail: int = 200) -> Generator[str, None, None]:
        """The last lines of a service's log, then new ones until the server ends."""
        return self._stream(wire.log_follow(app, tail))

    def config_document(self) -> Document:
        """What config.json holds, with its secrets masked."""
        return self._send(wire.config_document())

    def replace_config(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make config.json hold this, if it still is what has the ETag ``if_match``."""
        return self._send(wire.replace_config(content, if_match))

    def services_document(self) -> Document:
        """The entries of all apps, with their secrets masked."""
        return self._send(wire.services_document())

    def replace_services(self, content: Mapping[str, Any], if_match: str | None) -> Applied:
        """Make the entries be these, if they still are what has the ETag ``if_match``."""
        return self._send(wire.replace_services(content, if_match))

    def healthy(self) -> bool:
        """True when the server answers."""
        try:
            return self._send(wire.health(), timeout=wire.HEALTH_SECONDS)
        except OneGAIError:
            return False

    def _send(self, request: wire.Request[T], *, timeout: float | None = None) -> T:
        with self._open(request, timeout) as answer:
            reply = _reply(answer)
        return wire.result(self.url, request, reply)

    def _stream(self, stream: wire.Stream[T]) -> Generator[T, None, None]:
        parser = EventParser()
        with self._open(stream) as answer:
            if not wire.is_stream(answer.status, answer.headers):
                yield wire.instead(self.url, stream, _reply(answer))
                return
            for piece in answer.stream(PIECE):
                yield from wire.items(self.url, stream, parser.feed(piece))

    @contextmanager
    def _open(
        self, request: wire.Request[Any] | wire.Stream[Any], timeout: float | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer as it begins; leaving before its end closes the connection."""
        body: bytes | Iterator[bytes] | None
        headers = {**self._headers, **request.headers}
        if isinstance(request.content, Form):
            upload = Upload(request.content)
            headers["Content-Length"] = str(upload.size)
            body = upload.pieces()
        else:
            body = request.content
        try:
            answer = self._pool.request(
                request.method,
                self.url + request.path,
                body=body,
                headers=headers,
                timeout=self._timeout if timeout is None else timeout,
                preload_content=False,
                retries=False,
                redirect=False,
            )
            try:
                yield answer
            finally:
                answer.close()
        except urllib3.exceptions.HTTPError as error:
            raise wire.unreachable(self.url, error) from None


def _reply(answer: urllib3.BaseHTTPResponse) -> wire.Reply:
    return wire.Reply(answer.status, answer.headers, answer.data)
