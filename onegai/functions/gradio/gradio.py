"""Gradio apps, all Spaces among them: every endpoint that the app shows is a function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from onegai.config.entry import AppSpec
from onegai.errors import AppChanged, AppError
from onegai.functions.discovered import Again, Untold
from onegai.functions.function import Form, Function, Result
from onegai.functions.gradio.arguments import Arguments, session_of
from onegai.functions.gradio.calls import Call, Outputs, Refused, Sessions
from onegai.functions.gradio.document import (
    Endpoint,
    NotGradio,
    Server,
    endpoints_of,
    server_of,
    told,
)
from onegai.functions.gradio.files import Receiving, Sending
from onegai.handles.handle import AsyncHandle
from onegai.handles.http import Response, parsed

_SPACES = "huggingface.co"
_SPACE = ".hf.space"


class Gradio:
    """The kind of apps that Gradio serves, from 3.14 to 6."""

    type = "gradio"

    def __init__(self) -> None:
        self._sessions = Sessions()
        self._lives: dict[str, _Life] = {}

    def lists(self, spec: AppSpec, *, func_file: bool) -> bool:  # noqa: ARG002 - by the Protocol
        """See ``discovered.Kind``."""
        return not func_file

    async def ask(self, spec: AppSpec, app: AsyncHandle) -> dict[str, Any]:
        """See ``discovered.Kind``."""
        life = self._lives.setdefault(spec.app, _Life())
        try:
            document = await _ask(spec, app)
        except Untold as error:
            life.untold = error.reason
            raise
        life.untold = ""
        if _may_change(spec):
            life.number = await _life_number(app, document["prefix"])
        return document

    def functions(
        self, spec: AppSpec, document: Mapping[str, Any], again: Again
    ) -> dict[str, Function]:
        """See ``discovered.Kind``."""
        try:
            server, endpoints = server_of(document), list(endpoints_of(document))
        except (LookupError, TypeError, AttributeError):
            raise Untold("what is kept of it is of another version of OneGAI") from None
        life = self._lives.setdefault(spec.app, _Life())
        life.endpoints = {name: (server, endpoint) for name, endpoint in endpoints}
        functions = {}
        for name, endpoint in endpoints:
            runs = _Runs(spec, name, server, endpoint, self._sessions, life, again)
            form: Form = "main" if name == "main" else "raw" if name == "raw" else "other"
            functions[name] = Function(
                app=spec.app,
                name=name,
                doc=_about(endpoint),
                form=form,
                accepts=Arguments(endpoint),
                run=runs.pieces if endpoint.generator else runs.result,
                where="loop",
                lease="call",
                streams=endpoint.generator,
                replaces=endpoint.generator,
            )
        return functions


@dataclass
class _Life:
    """What is known of the process that answers."""

    endpoints: dict[str, tuple[Server, Endpoint]] = field(default_factory=dict)
    """By the names of their functions, as it has told of them last."""
    number: Any = None
    """A random number that Gradio makes when it starts; None: it is not known."""
    untold: str = ""
    """Why it did not tell what it can do, when it was asked last."""


@dataclass(frozen=True)
class _Runs:
    """The calls of one endpoint."""

    spec: AppSpec
    name: str
    server: Server
    endpoint: Endpoint
    sessions: Sessions
    life: _Life
    again: Again

    async def result(self, arguments: Mapping[str, Any]) -> Any:
        """Of an endpoint that gives its outputs once."""
        receiving = self._receiving()
        async with aclosing(self._outputs(arguments)) as outputs:
            async for output in outputs:
                if output.final:
                    return await self._final(receiving, output)
        return None

    async def pieces(self, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Of one that gives them again and again, as they become."""
        receiving = self._receiving()
        async with aclosing(self._outputs(arguments)) as outputs:
            async for output in outputs:
                if output.final:
                    yield Result(await self._final(receiving, output))
                else:
                    yield await receiving.result(output.data)

    async def _outputs(self, arguments: Mapping[str, Any]) -> AsyncGenerator[Outputs, None]:
        app = AsyncHandle(self.spec.app)
        await self._check_life(app)
        data = await Sending(app, self.server).data(self.endpoint.inputs, arguments)
        name = session_of(arguments, self.endpoint)
        async with self.sessions.one(self.spec.app, name) as session:
            call = Call(app, self.server, self.endpoint, data, session)
            try:
                async with aclosing(call.outputs()) as outputs:
                    async for output in outputs:
                        yield output
            except Refused as refused:
                raise await self._refused(refused) from None

    def _receiving(self) -> Receiving:
        return Receiving(AsyncHandle(self.spec.app), self.server, self.endpoint.outputs)

    async def _final(self, receiving: Receiving, output: Outputs) -> Any:
        """The result; of several outputs also what they are."""
        result, labels = await receiving.result(output.data), receiving.labels
        return (result, {"labels": labels}) if len(labels) > 1 else result

    async def _check_life(self, app: AsyncHandle) -> None:
        """What OneGAI does not start itself may be another app meanwhile. Raises AppChanged."""
        if _may_change(self.spec):
            number = await _life_number(app, self.server.prefix)
            if number is None or number != self.life.number or self.life.untold:
                await self.again()
            if self.life.untold:
                raise self._changed()
        if self._is_other:
            raise self._changed()

    async def _refused(self, refused: Refused) -> AppError:
        """Why it does not take the call: it has changed, or it is as ever."""
        await self.again()
        return self._changed() if self.life.untold or self._is_other else refused.error

    @property
    def _is_other(self) -> bool:
        """Has it told of something else since the arguments of this call were checked?"""
        return self.life.endpoints.get(self.name) != (self.server, self.endpoint)

    def _changed(self) -> AppChanged:
        reason = self.life.untold or f"it tells of another {self.name}, or of none, by now"
        return AppChanged(app=self.spec.app, reason=reason)


def _may_change(spec: AppSpec) -> bool:
    """May another process answer without having been started, and asked, by OneGAI?"""
    return spec.url is not None or not spec.owner_check


async def _life_number(app: AsyncHandle, prefix: str) -> Any:
    answer = await app.get(f"{prefix}/app_id", check=False)
    try:
        return parsed(answer.content)["app_id"] if answer.ok else None
    except (ValueError, LookupError, TypeError):
        return None


async def _ask(spec: AppSpec, app: AsyncHandle) -> dict[str, Any]:
    if (page := urlsplit(spec.url or "")).hostname == _SPACES and "/spaces/" in page.path:
        name = page.path.partition("/spaces/")[2].strip("/").replace("/", "-")
        host = "".join(one if one.isalnum() else "-" for one in name.lower())
        raise Untold("its url is the page of a Space", f"write https://{host}{_SPACE} as its url")
    answer = await app.get("/config", check=False)
    config = _object(answer)
    if config is None:
        raise _no_config(spec, answer)
    prefix = str(config.get("api_prefix") or "").rstrip("/")
    try:
        info = _object(await app.get(f"{prefix}/info", check=False))
        return await asyncio.to_thread(told, config, info)
    except NotGradio as error:
        raise Untold(str(error), "is another program on its port?") from None


def _object(answer: Response) -> dict[str, Any] | None:
    """The JSON of an answer; None: it is something else, or an error."""
    if not answer.ok:
        return None
    try:
        value = parsed(answer.content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _no_config(spec: AppSpec, answer: Response) -> Untold:
    """What the answer to /config says, and what to do about it."""
    status, space = answer.status_code, (urlsplit(spec.url or "").hostname or "").endswith(_SPACE)
    entry = f"apps.{spec.app}"
    if status in (401, 403) and not space:
        return Untold(
            f"it asks for a login (HTTP {status})",
            "start it without auth=, as only OneGAI reaches it, or put what it asks for into "
            f"{entry}.credentials",
        )
    if space and status in (401, 403, 404):
        return Untold(
            f"the Space is private, or there is none of that name (HTTP {status})",
            "look at its url, and put a token of yours that may read it into config.json as "
            "hf_token",
        )
    if space:
        return Untold(
            f"the Space sleeps, is being built or has stopped: it answers HTTP {status} with no "
            "app in it",
            "asking has woken it if it slept: try again in a minute, or open its page to see",
        )
    return Untold(
        f"it answers /config with HTTP {status} and no JSON, as no Gradio app does",
        "is its type gradio, and is it this app that listens on its port?",
    )


def _about(endpoint: Endpoint) -> str:
    name = f"/{endpoint.api_name}" if endpoint.api_name else f"Function {endpoint.index}"
    lines = [endpoint.about.strip() or f"{name} of the Gradio app."]
    labels = [one.label or one.component for one in endpoint.outputs if not one.hidden]
    if labels:
        lines += ["", f"Gives: {', '.join(labels)}."]
    return "\n".join(lines)
