"""A OneGAI server over HTTP, for scripts, the demo and the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

import urllib3

from onegai.schema import Job, JobState, ServiceStatus


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


class Client:
    """One server. Every method raises ServerError and ServerUnreachable."""

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
        answer = self._request("GET", f"/job/{job.id}/events", stream=True)
        name = ""
        for line in _lines(answer):
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: ") and name == "output":
                yield json.loads(line[6:])["line"]
        ended = self.job(job.id)
        if ended.state is not JobState.DONE:
            error = ended.error or {"message": f"the job was {ended.state}"}
            raise ServerError(500, str(error["message"]), error)

    def job(self, job_id: str) -> Job:
        """One job."""
        return Job.model_validate(self._result("GET", f"/job/{job_id}"))

    def apps(self) -> dict[str, dict[str, Any]]:
        """All apps by name, as in GET /app/list."""
        return {info["app"]: info for info in self._result("GET", "/app/list")}

    def start(self, app: str, *, restart: bool = False) -> ServiceStatus:
        """Have a service ready."""
        body = {"app": app, "restart": restart}
        return ServiceStatus.model_validate(self._result("POST", "/service/start", body))

    def stop(self, app: str, *, force: bool = False) -> None:
        """Have a service stopped; ``"*"`` for all."""
        self._result("POST", "/service/stop", {"app": app, "force": force})

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
        return json.loads(self._request(method, path, body).data)["result"]

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
            raise ServerUnreachable(f"{self.url}: {error}") from None
        return answer


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
