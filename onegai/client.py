"""A OneGAI server over HTTP, for scripts, the commands, the demo and the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import urllib3

from onegai.files import file_fields
from onegai.schema import Envelope, Job, JobState, ServiceStatus


class ServerError(Exception):
    """The server answered with an error. ``detail`` is the envelope's: code, src, hint, …"""

    def __init__(self, status: int, message: str, detail: dict[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail

    @property
    def code(self) -> str:
        """The error's wire code, for example ``not_installed``."""
        return str(self.detail.get("code", ""))


class ServerUnreachable(Exception):
    """Nothing answers at the server's URL."""


@dataclass(frozen=True)
class Answer:
    """What a call gave, undigested. ``envelope`` None: ``content`` is the result itself."""

    content: bytes
    media_type: str
    envelope: dict[str, Any] | None = None


class Client:
    """One server. Every method raises ServerError and ServerUnreachable."""

    lasting = True
    """Jobs go on when this program ends."""

    def __init__(self, url: str, username: str, password: str, timeout: float = 3600) -> None:
        self.url = url.rstrip("/")
        self._pool = urllib3.PoolManager(
            headers=urllib3.make_headers(basic_auth=f"{username}:{password}"),
            retries=False,
            timeout=urllib3.Timeout(connect=10, read=timeout),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.clear()

    def call(self, app: str, function: str = "main", **arguments: Any) -> Any:
        """Call a function and give its result."""
        return self._result("POST", f"/api/{app}/{function}", arguments)

    def raw(self, app: str, function: str = "raw", **arguments: Any) -> bytes:
        """Call a function and give its bytes."""
        return self._request("POST", f"/api/{app}/{function}", arguments).data

    def answer(self, app: str, function: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a function and give all that it answered; arguments may have any name."""
        path = f"/api/{quote(app, safe='')}/{quote(function, safe='')}"
        answer = self._request("POST", path, arguments)
        media_type = answer.headers.get("Content-Type", "")
        envelope = None
        if function != "raw" and media_type == "application/json":
            value = json.loads(answer.data)
            if isinstance(value, dict) and value.keys() == Envelope.model_fields.keys():
                envelope = value
        return Answer(answer.data, media_type, envelope)

    def file_arguments(self, app: str, function: str) -> frozenset[str]:
        """The arguments of a function that are files; none where the server does not tell."""
        try:
            document = json.loads(self._request("GET", "/openapi.json").data)
            body = document["paths"][f"/api/{app}/{function}"]["post"]["requestBody"]
            return file_fields(body["content"]["application/json"]["schema"])
        except (ServerError, ValueError, KeyError, TypeError):
            return frozenset()

    def install(self, app: str) -> Job:
        """Begin to install an app, or join the install that runs."""
        return Job.model_validate(self._result("POST", "/app/install", {"app": app}))

    def update(self, app: str) -> Job:
        """Begin to install an app anew; if that fails, it is as it was before."""
        return Job.model_validate(self._result("POST", "/app/update", {"app": app}))

    def uninstall(self, app: str, *, purge: bool = False) -> Job:
        """Begin to remove an app; ``purge``: its data folders too. The result says what is free."""
        body = {"app": app, "purge": purge}
        return Job.model_validate(self._result("POST", "/app/uninstall", body))

    def follow(self, job: Job) -> Iterator[str]:
        """The lines of a job's output as they come, until it ends. Raises its failure."""
        for name, data in self._events(f"/job/{job.id}/events"):
            if name == "output":
                yield data["line"]
        ended = self.job(job.id)
        if ended.state is not JobState.DONE:
            error = ended.error or {"message": f"the job was {ended.state}"}
            raise ServerError(500, str(error["message"]), error)

    def job(self, job_id: str) -> Job:
        """One job."""
        return Job.model_validate(self._result("GET", f"/job/{job_id}"))

    def jobs(self) -> list[Job]:
        """The jobs of this server's run, newest first."""
        return [Job.model_validate(item) for item in self._result("GET", "/job")]

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; its state when it has ended."""
        return Job.model_validate(self._result("DELETE", f"/job/{quote(job_id, safe='')}"))

    def apps(self) -> dict[str, dict[str, Any]]:
        """All apps by name, as in GET /app/list."""
        return {info["app"]: info for info in self._result("GET", "/app/list")}

    def start(self, app: str, *, restart: bool = False) -> ServiceStatus:
        """Have a service ready."""
        body = {"app": app, "restart": restart}
        return ServiceStatus.model_validate(self._result("POST", "/service/start", body))

    def stop(self, app: str, *, force: bool = False) -> list[ServiceStatus]:
        """Have a service stopped; ``"*"`` for all. Gives those that it concerned."""
        stopped = self._result("POST", "/service/stop", {"app": app, "force": force})
        return [ServiceStatus.model_validate(item) for item in stopped]

    def logs(self, app: str, tail: int = 200) -> str:
        """The last lines of a service's log."""
        return self._request("GET", _log_path(app, tail)).data.decode("utf-8", "replace")

    def log_follow(self, app: str, tail: int = 200) -> Iterator[str]:
        """The last lines of a service's log, then new ones until the server ends."""
        return (data["line"] for _, data in self._events(f"{_log_path(app, tail)}&follow=1"))

    def status(self) -> dict[str, Any]:
        """GET /service/status."""
        return dict(self._result("GET", "/service/status"))

    def healthy(self) -> bool:
        """True when the server answers."""
        try:
            return self._request("GET", "/health", timeout=2).status == 200
        except (ServerError, ServerUnreachable):
            return False

    def _result(self, method: str, path: str, body: Any = None) -> Any:
        try:
            return json.loads(self._request(method, path, body).data)["result"]
        except (ValueError, KeyError, TypeError):
            raise ServerUnreachable(f"{self.url}: what answers there is no OneGAI") from None

    def _events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Server-sent events as they come: name and data."""
        answer = self._request("GET", path, stream=True)
        name = ""
        try:
            for line in _lines(answer):
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:])
        except urllib3.exceptions.HTTPError as error:
            raise ServerUnreachable(f"{self.url}: {_reason(error)}") from None
        finally:
            answer.close()

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        stream: bool = False,
        timeout: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        if body is not None:
            options["json"] = body
        try:
            answer = self._pool.request(
                method, self.url + path, preload_content=not stream, **options
            )
            if answer.status >= 400:
                raise _error(answer)
        except urllib3.exceptions.HTTPError as error:
            raise ServerUnreachable(f"{self.url}: {_reason(error)}") from None
        return answer


def _log_path(app: str, tail: int) -> str:
    return f"/service/{quote(app, safe='')}/logs?tail={tail}"


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The part of urllib3's sentence that is not the connection's representation."""
    text = str(error.args[-1] if error.args else error)
    return re.sub(r"\[Errno -?\d+\] ", "", text.rpartition("): ")[2])


def _error(answer: urllib3.BaseHTTPResponse) -> ServerError:
    data = answer.data
    try:
        body = json.loads(data)
        return ServerError(answer.status, str(body["result"]), dict(body["detail"]))
    except (ValueError, KeyError, TypeError):
        return ServerError(answer.status, data.decode("utf-8", "replace")[:500], {})


def _lines(answer: urllib3.BaseHTTPResponse) -> Iterator[str]:
    rest = b""
    for piece in answer.stream(1 << 14):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode() for line in whole)
