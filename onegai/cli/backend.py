"""What the commands talk to, where it comes from, and what its errors become on a terminal."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from onegai.config.home import Home
from onegai.errors import OneGAIError

if TYPE_CHECKING:
    from onegai.client.client import Client
    from onegai.sdk.blocking import Blocking

    OneGAI: TypeAlias = Client | Blocking
    """What commands talk to: a server, or without one this home's own engine."""

FAILED, WRONG, NO_SERVER, REFUSED = 1, 2, 3, 4
"""Exit statuses: the app or a job failed · usage, input or config · no server · password."""

COMMAND = "bash run.sh"
LOG_LINES = 20

_WRONG_INPUT = frozenset({400, 404, 405, 413, 415, 422})
_WRONG_CONFIG = frozenset(
    {
        *("config_error", "home_locked", "broken_entry", "broken_plugin"),
        *("inactive", "no_service", "no_install_script", "unreadable_file"),
    }
)
_NO_SERVER = frozenset({"server_unreachable", "no_onegai", "shutting_down"})


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


def backend(home: Home, server: str | None = None) -> Client:
    """The server that is named, else the one that runs for this home. Raises Failure."""
    from onegai.client.client import Client

    if server is not None:
        return Client(server, *_credentials(server))
    running = home.running_server()
    if running is None:
        raise Failure(f"no server runs for this folder: start it with {COMMAND}", status=NO_SERVER)
    if "url" not in running:
        raise Failure(
            f"no server runs for this folder; {holder(running)}", "wait for it", status=NO_SERVER
        )
    from onegai.config.settings import load_settings

    settings, _problems, _made = load_settings(home, {})
    return Client(running["url"], settings.username, settings.password)


def have_heeded(home: Home) -> None:
    """Let a server that runs look at the files that have just been changed."""
    if "url" in (home.running_server() or {}):
        with suppress(Failure, OneGAIError), backend(home) as server:
            server.services_document()


def worker(home: Home, server: str | None = None) -> AbstractContextManager[OneGAI]:
    """As ``backend``; where no server runs, this home's own engine for as long as it takes."""
    if server is None and "url" not in (home.running_server() or {}):
        return _alone(home)
    return backend(home, server)


def _alone(home: Home) -> AbstractContextManager[Blocking]:
    """It ends with the command, when all has been said, however that ends."""
    from onegai.sdk.local import local_engine

    local = local_engine(home)
    click.get_current_context().find_root().call_on_close(local.close)
    return nullcontext(local.blocking)


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


def shown(error: BaseException) -> Failure | None:
    """An error as it is shown; None for one that nobody foresaw."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, OneGAIError):
        return _failure(error)
    if isinstance(error, OSError):
        return Failure(f"{error.filename or 'system'}: {error.strerror or error}")
    return None


def _failure(error: OneGAIError) -> Failure:
    if error.code in _NO_SERVER:
        status = NO_SERVER
    elif error.status == 401:
        status = REFUSED
    elif error.status in _WRONG_INPUT or error.code in _WRONG_CONFIG:
        status = WRONG
    else:
        status = FAILED
    detail = error.detail
    message, said = error.message, list(detail.get("log", []))
    if (answer := detail.get("answer")) is not None:
        said += (answer if isinstance(answer, str) else json.dumps(answer, indent=2)).splitlines()
    lines = [f"| {line}" for line in said[-LOG_LINES:]]
    fields = detail.get("errors", [])
    if len(fields) > 1:
        message = f"{len(fields)} arguments are wrong"
        lines += [f"{item['field'] or 'body'}: {item['message']}" for item in fields]
    hint = str(detail.get("cli_hint") or error.advice)
    return Failure(message, hint, status=status, lines=lines)
