"""What the commands talk to, where it comes from, and what its errors become on a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

from onegai.errors import OneGAIError
from onegai.home import Home

if TYPE_CHECKING:
    from onegai.client import Answer, ServerError
    from onegai.schema import Job, ServiceStatus

FAILED, WRONG, NO_SERVER, REFUSED = 1, 2, 3, 4
"""Exit statuses: the app or a job failed · usage, input or config · no server · password."""

COMMAND = "bash run.sh"
LOG_LINES = 20

_WRONG_INPUT = frozenset({400, 404, 405, 413, 415, 422})
_WRONG_CONFIG = frozenset(
    {"broken_entry", "broken_plugin", "inactive", "no_service", "no_install_script"}
)
_AS_COMMANDS = (
    (re.compile(r'POST /app/(\w+) {"app": "(\w+)"}'), rf"{COMMAND} \1 \2"),
    (re.compile(r"(?:POST )?/app/(install|update|uninstall)\b"), rf"{COMMAND} \1"),
    (re.compile(r"DELETE /job/(\w+)"), rf"{COMMAND} jobs --cancel \1"),
    (re.compile(r"/service/(\w+)/logs"), rf"{COMMAND} logs \1"),
    (re.compile(r"are in detail\.log\b"), "are above"),
    (re.compile(r"^see GET /job\b"), f"see {COMMAND} jobs"),
)


class Worker(Protocol):
    """What can be done in one go; over HTTP, or without a server."""

    @property
    def lasting(self) -> bool:
        """Does a job go on when this program ends?"""
        ...

    def install(self, app: str) -> Job:
        """Begin to install, or join the install that runs."""
        ...

    def update(self, app: str) -> Job:
        """Begin to install the present version over what is there."""
        ...

    def uninstall(self, app: str, *, purge: bool = False) -> Job:
        """Begin to remove the app; ``purge``: its ``data`` folders, too."""
        ...

    def follow(self, job: Job) -> Iterator[str]:
        """Lines of a job's output until it ends. Raises its failure."""
        ...

    def apps(self) -> dict[str, dict[str, Any]]:
        """AppInfo of all apps by name, as objects of JSON."""
        ...

    def file_arguments(self, app: str, function: str) -> frozenset[str]:
        """The arguments of a function that are files."""
        ...

    def answer(self, app: str, function: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a function and give all that it answered."""
        ...


class Backend(Worker, Protocol):
    """What can be done with a server that goes on running."""

    def jobs(self) -> list[Job]:
        """All jobs, newest first."""
        ...

    def cancel(self, job_id: str) -> Job:
        """Cancel a job and wait for its end."""
        ...

    def start(self, app: str, *, restart: bool = False) -> ServiceStatus:
        """Have a service ready."""
        ...

    def stop(self, app: str, *, force: bool = False) -> list[ServiceStatus]:
        """Have a service stopped; ``"*"`` for all."""
        ...

    def status(self) -> dict[str, Any]:
        """A StatusReport as an object of JSON."""
        ...

    def logs(self, app: str, tail: int = 200) -> str:
        """The last lines of a service's log."""
        ...

    def log_follow(self, app: str, tail: int = 200) -> Iterator[str]:
        """The last lines, then new ones until the server ends."""
        ...


class Failure(Exception):
    """The end of a command: a sentence, a hint, lines to show before them, the exit status."""

    def __init__(
        self, message: str, hint: str = "", *, status: int = FAILED, lines: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status
        self.lines = list(lines)


server_option = click.option(
    "--server", metavar="URL", help="another OneGAI; ONEGAI_PASSWORD holds its password"
)


def backend(home: Home, server: str | None = None) -> AbstractContextManager[Backend]:
    """The server that is named, else the one that runs for this home. Raises Failure."""
    if server is not None:
        return _client(server, *_credentials(server))
    running = home.running_server()
    if running is None:
        raise Failure(f"no server runs for this folder: start it with {COMMAND}", status=NO_SERVER)
    if "url" not in running:
        raise Failure(
            f"no server runs for this folder; {holder(running)}", "wait for it", status=NO_SERVER
        )
    from onegai.settings import load_settings

    settings, _problems, _made = load_settings(home, {})
    return _client(running["url"], settings.username, settings.password)


def worker(home: Home, server: str | None = None) -> AbstractContextManager[Worker]:
    """As ``backend``; where no server runs, this home's own engine for as long as it takes."""
    if server is None and "url" not in (home.running_server() or {}):
        return _alone(home)
    return backend(home, server)


@contextmanager
def _alone(home: Home) -> Iterator[Worker]:
    from onegai.alone import Alone
    from onegai.client import ServerError
    from onegai.local import local_engine

    try:
        yield Alone(local_engine(home))
    except ServerError as error:
        raise _failure("", error) from None
    except OneGAIError as error:
        if error.code in ("config_error", "home_locked"):
            raise
        raise _failure("", ServerError(error.status, error.message, error.detail)) from None


def holder(running: Mapping[str, Any]) -> str:
    """Who has this home, in words: a server, or a script that calls functions without one."""
    if "url" in running:
        return f"OneGAI runs at {running['url']}"
    return f"it is used by {running.get('command') or 'a program'} (pid {running.get('pid', '?')})"


def _credentials(server: str) -> tuple[str, str]:
    """User name and password for ``--server``, from the environment: arguments show in ``ps``."""
    if re.fullmatch(r"https?://[^/@\s]+/?", server) is None:
        raise Failure(
            "--server wants an address without user name, password or path",
            "for example --server http://192.168.1.5:58080",
            status=WRONG,
        )
    password = os.environ.get("ONEGAI_PASSWORD")
    if not password:
        raise Failure(
            f"the password of {server} is not known",
            "set ONEGAI_PASSWORD in the environment (and ONEGAI_USERNAME if it is not onegai)",
            status=WRONG,
        )
    return os.environ.get("ONEGAI_USERNAME") or "onegai", password


@contextmanager
def _client(url: str, username: str, password: str) -> Iterator[Backend]:
    from onegai.client import Client, ServerError, ServerUnreachable

    try:
        with Client(url, username, password) as client:
            yield client
    except ServerError as error:
        raise _failure(url, error) from None
    except ServerUnreachable as error:
        hint = f"is it running? The one of this folder is started with {COMMAND}"
        raise Failure(str(error), hint, status=NO_SERVER) from None


def _failure(url: str, error: ServerError) -> Failure:
    """What to show for an error answer."""
    detail = error.detail
    if not error.code:
        message = f"{url}: what answers there is no OneGAI (HTTP {error.status})"
        return Failure(message, "correct the address", status=NO_SERVER)
    if error.status == 401:
        status = REFUSED
    elif error.code == "shutting_down":
        status = NO_SERVER
    elif error.status in _WRONG_INPUT or error.code in _WRONG_CONFIG:
        status = WRONG
    else:
        status = FAILED
    message, lines = error.message, [f"| {line}" for line in detail.get("log", [])[-LOG_LINES:]]
    fields = detail.get("errors", [])
    if len(fields) > 1:
        message = f"{len(fields)} arguments are wrong"
        lines += [f"{item['field'] or 'body'}: {item['message']}" for item in fields]
    return Failure(message, as_command(str(detail.get("hint", ""))), status=status, lines=lines)


def as_command(hint: str) -> str:
    """A hint that names routes, in terms of commands."""
    for route, command in _AS_COMMANDS:
        hint = route.sub(command, hint)
    return hint


def shown(error: BaseException) -> Failure | None:
    """An error as it is shown; None for one that nobody foresaw."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, OneGAIError):
        wrong = error.code in ("config_error", "home_locked")
        return Failure(error.message, as_command(error.advice), status=WRONG if wrong else FAILED)
    if isinstance(error, OSError):
        return Failure(f"{error.filename or 'system'}: {error.strerror or error}")
    return None
