"""The requests that clients send to a OneGAI server and how to read the answers, without any I/O.

Each operation is described here once; ``client`` and ``async_client`` send them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

from pydantic import BaseModel

from onegai import errors
from onegai.client.form import JSON, Form, encoded, form_of
from onegai.errors import NoOneGAI, OneGAIError, Relayed, ServerUnreachable
from onegai.files.local import has_paths
from onegai.protocol import Answer
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
M = TypeVar("M", bound=BaseModel)

READ_SECONDS = 3600.0
"""How long a server may be silent while it answers; it shows life on streams all the time."""
CONNECT_SECONDS = 10.0
HEALTH_SECONDS = 2.0
PROBLEM = "OneGAI-Problem"
"""Header of an answer: why the function may not be what its file says, percent-encoded."""
EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Reply:
    """An answer that has been read to its end. ``headers`` are found in upper or lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Request(Generic[T]):
    """One request; ``read`` makes the result of a reply."""

    method: str
    path: str
    read: Callable[[Reply], T]
    content: bytes | Form | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream(Generic[T]):
    """A request that is answered by events; ``read`` makes an item of each.

    ``whole`` makes one of an answer that is no stream, where there may be such.
    """

    path: str
    read: Callable[[Event], T]
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    content: bytes | Form | None = None
    whole: Callable[[Reply], T] | None = None


def credentials(username: str, password: str) -> dict[str, str]:
    """The header for BASIC (RFC 7617, UTF-8)."""
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def result(url: str, request: Request[T], reply: Reply) -> T:
    """What was asked for. Raises the server's error, and NoOneGAI."""
    if reply.status >= 300:
        raise error(url, reply)
    try:
        return request.read(reply)
    except (ValueError, KeyError, TypeError):
        raise NoOneGAI(url=url, http_status=reply.status) from None


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Are events what is answered?"""
    return status == 200 and headers.get("Content-Type", "").startswith(EVENTS)


def instead(url: str, stream: Stream[T], reply: Reply) -> T:
    """The item that an answer without events is. Raises the server's error, and NoOneGAI."""
    if stream.whole is None or reply.status >= 300:
        raise error(url, reply)
    return result(url, Request(stream.method, stream.path, stream.whole), reply)


def check_ended(url: str, event: Event | None) -> None:
    """Raises ServerUnreachable where this was the last event of a call, whose end it is not."""
    if event is None or event.event not in ("done", "error"):
        raise unreachable(url, ConnectionError("it has left before the end of the call"))


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


def stream(
    app: str, function: str, arguments: Mapping[str, Any], files: FileForm = "url"
) -> Stream[Event]:
    """Call a function and have the call's events; arguments as those of ``answer``."""
    read = _answer_of(function)
    post = _call(_call_path(app, function, files), read, arguments)

    def whole(reply: Reply) -> Event:
        """A route of an api file may answer as it likes."""
        return Event(id=1, event="done", data=_done(read(reply)))

    headers = {**post.headers, "Accept": EVENTS}
    return Stream(post.path, lambda event: event, headers, post.method, post.content, whole)


def answer_of(job: Job) -> Request[Answer]:
    """What a job has answered."""
    return Request("GET", f"/job/{_part(job.id)}/result", _answer_of(job.function))


def functions() -> Request[dict[str, list[FunctionInfo]]]:
    """The functions of all apps."""

    def read(reply: Reply) -> dict[str, list[FunctionInfo]]:
        found = json.loads(reply.content)["result"]
        return {
            app: [FunctionInfo.model_validate(one) for one in functions]
            for app, functions in found.items()
        }

    return Request("GET", "/api", read)


def functions_of(app: str) -> Request[list[FunctionInfo]]:
    """The functions of an app."""
    return Request("GET", f"/api/{_part(app)}", _many(FunctionInfo))


def function(app: str, name: str) -> Request[FunctionInfo]:
    """One function."""
    return Request("GET", f"/api/{_part(app)}/{_part(name)}", _one(FunctionInfo))


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
    return Request("POST", path, read, encoded(body), {"Content-Type": JSON})


def _call(path: str, read: Callable[[Reply], T], arguments: Mapping[str, Any]) -> Request[T]:
    if not has_paths(arguments):
        return _post(path, read, **arguments)
    form = form_of(arguments)
    kind = f"multipart/form-data; boundary={form.boundary}"
    # A server that has answered before all was sent closes the connection, so that we stop.
    return Request("POST", path, read, form, {"Content-Type": kind, "Connection": "close"})


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


def _done(answer: Answer) -> dict[str, Any]:
    """What the event ``done`` says of an answer."""
    if answer.envelope is not None:
        return {key: answer.envelope[key] for key in ("result", "detail")}
    result, detail = answer.result, {}
    if isinstance(result, bytes):
        detail = {"media_type": answer.media_type, "size": len(result)}
        result = base64.b64encode(result).decode()
    return {"result": result, "detail": detail}


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
