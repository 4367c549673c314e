"""The requests that clients send to a OneGAI server and how to read the answers, without any I/O.

Each operation is described here once; ``client`` and ``async_client`` send them.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import quote, unquote

from pydantic import BaseModel

from onegai import errors
from onegai.errors import BadArguments, NoOneGAI, OneGAIError, Relayed, ServerUnreachable
from onegai.files.local import has_paths, parts_of
from onegai.protocol import Answer
from onegai.schema import (
    AppInfo,
    Applied,
    Document,
    Event,
    FileForm,
    Job,
    Plan,
    ServiceStatus,
    StatusReport,
)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

READ_SECONDS = 3600.0
"""How long a server may be silent while it answers; it shows life on streams all the time."""
CONNECT_SECONDS = 10.0
HEALTH_SECONDS = 2.0
PROBLEM = "OneGAI-Problem"
"""Header of an answer: why the function may not be what its file says, percent-encoded."""
EVENTS = "text/event-stream"
_JSON = "application/json"
_BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Reply:
    """An answer that has been read to its end. ``headers`` are found in upper or lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Attached:
    """A file whose content is sent; ``field`` is the argument that it is for."""

    field: str
    path: Path


@dataclass(frozen=True)
class Form:
    """A body of multipart/form-data (RFC 7578): bytes as they are sent, and files in between."""

    boundary: str
    parts: tuple[bytes | Attached, ...]


@dataclass(frozen=True)
class Request(Generic[T]):
    """One request; ``read`` makes the result of a reply, with ``may_lack`` also of a 404."""

    method: str
    path: str
    read: Callable[[Reply], T]
    content: bytes | Form | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    may_lack: bool = False


@dataclass(frozen=True)
class Stream(Generic[T]):
    """A request that is answered by events; ``read`` makes an item of each."""

    method: ClassVar[str] = "GET"
    content: ClassVar[bytes | None] = None
    path: str
    read: Callable[[Event], T]
    headers: Mapping[str, str] = field(default_factory=dict)


def credentials(username: str, password: str) -> dict[str, str]:
    """The header for BASIC (RFC 7617, UTF-8)."""
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def result(url: str, request: Request[T], reply: Reply) -> T:
    """What was asked for. Raises the server's error, and NoOneGAI."""
    if reply.status >= 300 and not (reply.status == 404 and request.may_lack):
        raise error(url, reply)
    try:
        return request.read(reply)
    except (ValueError, KeyError, TypeError):
        raise NoOneGAI(url=url, http_status=reply.status) from None


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Are events what is answered? Else it is an error."""
    return status == 200 and headers.get("Content-Type", "").startswith(EVENTS)


def items(url: str, stream: Stream[T], events: Iterable[Event]) -> Iterator[T]:
    """What these events of a stream mean. Raises NoOneGAI."""
    try:
        for event in events:
            yield stream.read(event)
    except (ValueError, KeyError, TypeError):
        raise NoOneGAI(url=url, http_status=200) from None


def error(url: str, reply: Reply) -> OneGAIError:
    """The error that an answer is."""
    try:
        body = json.loads(reply.content)
        detail = dict(body["detail"])
        if reply.status >= 400 and detail["code"]:
            return Relayed.of(reply.status, str(body["result"]), detail)
    except (ValueError, KeyError, TypeError):
        pass
    return NoOneGAI(url=url, http_status=reply.status)


def unreachable(url: str, error: BaseException) -> ServerUnreachable:
    """The error for what a library raised when a server did not answer."""
    return ServerUnreachable(url=url, reason=errors.reason(error))


# --- the operations of protocol.Engine -----------------------------------------------------------


def apps() -> Request[dict[str, AppInfo]]:
    """All apps by name."""

    def read(reply: Reply) -> dict[str, AppInfo]:
        return {info.app: info for info in _many(AppInfo)(reply)}

    return Request("GET", "/app/list", read)


def install(app: str, *, wait: bool) -> Request[Job]:
    """Install an app."""
    return _post("/app/install", _one(Job), app=app, wait=wait)


def update(app: str, *, force: bool, wait: bool) -> Request[Job]:
    """Install an app anew."""
    return _post("/app/update", _one(Job), app=app, force=force, wait=wait)


def uninstall(app: str, *, purge: bool, force: bool, wait: bool) -> Request[Job]:
    """Remove an app."""
    return _post("/app/uninstall", _one(Job), app=app, purge=purge, force=force, wait=wait)


def jobs() -> Request[list[Job]]:
    """All jobs."""
    return Request("GET", "/job", _many(Job))


def job(job_id: str) -> Request[Job]:
    """One job."""
    return Request("GET", f"/job/{_part(job_id)}", _one(Job))


def events(job_id: str, *, after: int) -> Stream[Event]:
    """A job's events."""
    headers = {"Last-Event-ID": str(after)} if after else {}
    return Stream(f"/job/{_part(job_id)}/events", lambda event: event, headers)


def cancel(job_id: str) -> Request[Job]:
    """Cancel a job."""
    return Request("DELETE", f"/job/{_part(job_id)}", _one(Job))


def start(app: str, *, restart: bool, wait: bool) -> Request[ServiceStatus]:
    """Have a service ready."""
    return _post("/service/start", _one(ServiceStatus), app=app, restart=restart, wait=wait)


def stop(app: str, *, force: bool) -> Request[list[ServiceStatus]]:
    """Have a service stopped."""
    return _post("/service/stop", _many(ServiceStatus), app=app, force=force)


def status() -> Request[StatusReport]:
    """All services."""
    return Request("GET", "/service/status", _one(StatusReport))


def plan(app: str) -> Request[Plan]:
    """What a start would do now."""
    return Request("GET", f"/service/plan?app={_part(app)}", _one(Plan))


def logs(app: str, tail: int) -> Request[str]:
    """The end of a log."""
    return Request(
        "GET", _log_path(app, tail), lambda reply: reply.content.decode(errors="replace")
    )


def log_follow(app: str, tail: int) -> Stream[str]:
    """The end of a log, and what comes."""
    return Stream(f"{_log_path(app, tail)}&follow=1", lambda event: str(event.data["line"]))


def answer(
    app: str, function: str, arguments: Mapping[str, Any], files: FileForm = "url"
) -> Request[Answer]:
    """Call a function. A Path among the arguments, or in a list there, is a file that is sent."""
    return _call(_call_path(app, function, files), _answer_of(function), arguments)


def submit(
    app: str, function: str, arguments: Mapping[str, Any], files: FileForm = "url"
) -> Request[Job]:
    """Call a function as a job; arguments as those of ``answer``."""
    post = _call(_call_path(app, function, files), _one(Job), arguments)
    return replace(post, headers={**post.headers, "Prefer": "respond-async"})


def answer_of(job: Job) -> Request[Answer]:
    """What a job has answered."""
    return Request("GET", f"/job/{_part(job.id)}/result", _answer_of(job.function))


def schema(app: str, function: str) -> Request[dict[str, Any] | None]:
    """JSON Schema of the arguments of a function; None where there is no such function."""

    def read(reply: Reply) -> dict[str, Any] | None:
        return None if reply.status == 404 else dict(json.loads(reply.content)["result"]["schema"])

    path = f"/api/{_part(app)}/{_part(function)}"
    return Request("GET", path, read, may_lack=True)


def config_document() -> Request[Document]:
    """config.json."""
    return Request("GET", "/config/get_json", _document)


def replace_config(content: Mapping[str, Any], if_match: str | None) -> Request[Applied]:
    """Replace config.json."""
    return _replace("/config/set_json", content, if_match)


def services_document() -> Request[Document]:
    """The entries."""
    return Request("GET", "/service/get_json", _document)


def replace_services(content: Mapping[str, Any], if_match: str | None) -> Request[Applied]:
    """Replace the entries."""
    return _replace("/service/set_json", content, if_match)


def health() -> Request[bool]:
    """Does it answer?"""
    return Request("GET", "/health", lambda _reply: True)


def _post(path: str, read: Callable[[Reply], T], /, **body: Any) -> Request[T]:
    return Request("POST", path, read, _encoded(body), {"Content-Type": _JSON})


def _call(path: str, read: Callable[[Reply], T], arguments: Mapping[str, Any]) -> Request[T]:
    if not has_paths(arguments):
        return _post(path, read, **arguments)
    form = _form(arguments)
    kind = f"multipart/form-data; boundary={form.boundary}"
    # A server that has answered before all was sent closes the connection, so that we stop.
    return Request("POST", path, read, form, {"Content-Type": kind, "Connection": "close"})


def _form(arguments: Mapping[str, Any]) -> Form:
    boundary = secrets.token_hex(16)
    parts: list[bytes | Attached] = []
    for key, argument in arguments.items():
        for value in parts_of(argument):
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(key)}"'
            if isinstance(value, Path):
                head += f'; filename="{_quoted(value.name)}"\r\nContent-Type: {_BINARY}'
                content: bytes | Attached = Attached(key, value)
            else:
                head += f"\r\nContent-Type: {_JSON}"
                content = _encoded(value)
            parts += [f"{head}\r\n\r\n".encode("utf-8", "surrogateescape"), content, b"\r\n"]
    return Form(boundary, (*parts, f"--{boundary}--\r\n".encode()))


def _encoded(value: Any) -> bytes:
    """As JSON. Raises BadArguments for what that cannot hold."""
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArguments(
            reason=f"the arguments cannot be sent as JSON: {error}",
            do='a file is a Path, alone or in a list; its bytes are {"base64": "…", "name": "…"}',
        ) from None


def _quoted(name: str) -> str:
    """As it stands in quotes in a header."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return re.sub(r"[\r\n\0]", lambda found: quote(found[0]), escaped)


def _replace(path: str, content: Mapping[str, Any], if_match: str | None) -> Request[Applied]:
    post = _post(path, _one(Applied), **content)
    return (
        post if if_match is None else replace(post, headers={**post.headers, "If-Match": if_match})
    )


def _document(reply: Reply) -> Document:
    return Document(content=json.loads(reply.content)["result"], etag=reply.headers["ETag"])


def _answer_of(function: str) -> Callable[[Reply], Answer]:
    def read(reply: Reply) -> Answer:
        problem = unquote(reply.headers.get(PROBLEM, ""))
        return Answer.of(function, reply.content, reply.headers.get("Content-Type", ""), problem)

    return read


def _call_path(app: str, function: str, files: FileForm) -> str:
    path = f"/api/{_part(app)}/{_part(function)}"
    return path if files == "url" else f"{path}?files={files}"


def _one(model: type[M]) -> Callable[[Reply], M]:
    return lambda reply: model.model_validate(json.loads(reply.content)["result"])


def _many(model: type[M]) -> Callable[[Reply], list[M]]:
    def read(reply: Reply) -> list[M]:
        return [model.model_validate(item) for item in json.loads(reply.content)["result"]]

    return read


def _log_path(app: str, tail: int) -> str:
    return f"/service/{_part(app)}/logs?tail={tail}"


def _part(text: str) -> str:
    return quote(text, safe="")
