"""The guard in front of every route: who may come in, and with how much."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onegai import auth
from onegai.config.current import Current
from onegai.config.settings import Settings
from onegai.errors import (
    InternalError,
    OneGAIError,
    ShuttingDown,
    TooManyWrongPasswords,
    as_http,
)
from onegai.files.links import Links
from onegai.server.body import Limits, limited
from onegai.server.leaving import CUT

WRONG_PASSWORD_SECONDS = 1.0
WRONG_PASSWORDS = 4
"""Of one address that are answered at the same time."""
WELCOME = "onegai.welcome"
"""Key of a request's state: what to call when its password, or its link's signature, is right."""
HEAD = "onegai.head"
"""Key of a scope: the auth.Head of its request."""
_SIGNABLE = re.compile(r"/file/[^/]+/[^/]+|/job/[^/]+/result")
_POLICY_VIOLATION = 1008
"""WebSocket close code (RFC 6455, 7.4.1)."""


class Guard:
    """Outermost: whatever leaves the server has passed it, and so has whatever comes in."""

    def __init__(self, app: ASGIApp, current: Current, links: Links, limits: Limits) -> None:
        self._app = app
        self._current = current
        self._links = links
        self._limits = limits
        self._access = _access_of(current.settings)
        current.listen(self._adopt)
        self._wrong = _WrongPasswords()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse; and answer what the end of the server cuts off.

        uvicorn cancels the requests that last longer than its grace, and would answer in words of
        its own.
        """
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        head = auth.Head.of(scope.get("method", "GET"), scope["path"], scope["headers"])
        scope[HEAD] = head
        signed = self._signature(head, scope)
        decision = auth.decide(head, self._access, signed)
        answer = _Answer(scope, send, decision.headers)
        try:
            if decision.wrong:
                again = partial(self._again, head, signed)
                decision = await self._wrong.told(scope, decision, again)
            if decision.error is not None:
                await answer.refuse(decision.error)
            elif decision.preflight:
                await answer.whole(200, [(b"content-length", b"0")], b"")
            else:
                if decision.known:
                    _welcome(scope)
                await self._app(scope, await limited(head, receive, self._limits), answer)
        except (Exception, asyncio.CancelledError) as error:
            if answer.begun or scope["type"] != "http":
                cut = scope.get("state", {}).get(CUT)
                if cut is None or not isinstance(error, asyncio.CancelledError):
                    raise
                cut()
                return
            await self._instead(answer, error)

    async def _instead(self, answer: _Answer, error: BaseException) -> None:
        """Answer for an application that has not. Raises what somebody must look into."""
        if isinstance(error, OneGAIError):
            await answer.whole(*as_http(error))
        elif isinstance(error, asyncio.CancelledError):
            await answer.refuse(ShuttingDown())
        else:
            await answer.whole(*as_http(InternalError(reason=type(error).__name__)))
            raise error

    async def _again(self, head: auth.Head, signed: bool | None) -> auth.Decision:
        """The password may be newer than the last look for edits."""
        await self._current.refresh()
        return auth.decide(head, self._access, signed)

    def _adopt(self) -> None:
        self._access = _access_of(self._current.settings)

    def _signature(self, head: auth.Head, scope: Scope) -> bool | None:
        """Is the signature of its link right? None for what has none, or can have none."""
        query = scope.get("query_string")
        if not query or head.method not in ("GET", "HEAD") or not _SIGNABLE.fullmatch(head.path):
            return None
        return self._links.check(head.path, query.decode("latin-1"))


class _Answer:
    """What an application sends with, and what is sent instead of its answer."""

    __slots__ = ("_added", "_scope", "_send", "begun")

    def __init__(self, scope: Scope, send: Send, added: auth.Headers) -> None:
        self._scope = scope
        self._send = send
        self._added = added
        self.begun = False

    def __call__(self, message: Message) -> Awaitable[None]:
        """Send, with the headers that every answer gets."""
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *self._added]
        self.begun = True
        return self._send(message)

    async def whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})

    async def refuse(self, error: OneGAIError) -> None:
        """What is still being sent is not read, so the connection cannot be used again."""
        if self._scope["type"] == "websocket":
            close = {"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.code}
            await self._send(close)
            return
        status, headers, body = as_http(error)
        if (b"connection", b"close") not in headers:
            headers.append((b"connection", b"close"))
        await self.whole(status, headers, body)


class _WrongPasswords:
    """A wrong password is answered slowly; a right one never is.

    Of one address a few wrong ones are answered so, and the others at once with 429: they must not
    hold connections for nothing.
    """

    def __init__(self) -> None:
        self._slow: Counter[str] = Counter()
        """Under way, by address."""

    async def told(
        self, scope: Scope, decision: auth.Decision, again: Callable[[], Awaitable[auth.Decision]]
    ) -> auth.Decision:
        """What becomes of it, when it is time. ``again`` decides a second time."""
        address = (scope.get("client") or ("",))[0]
        if self._slow[address] >= WRONG_PASSWORDS:
            error = TooManyWrongPasswords(retry_after=math.ceil(WRONG_PASSWORD_SECONDS))
            return replace(decision, error=error)
        self._slow[address] += 1
        try:
            decision = await again()
            if decision.wrong:
                await asyncio.sleep(WRONG_PASSWORD_SECONDS)
        finally:
            self._slow[address] -= 1
            self._slow += Counter()  # which drops the addresses that have none
        return decision


def _access_of(settings: Settings) -> auth.Access:
    return auth.Access(settings.username, settings.password, settings.cors_origins)


def _welcome(scope: Scope) -> None:
    """Tell the connection, which is stricter with strangers."""
    welcome = scope.get("state", {}).pop(WELCOME, None)
    if welcome is not None:
        welcome()
