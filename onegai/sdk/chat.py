"""Chat with a language model: the same arguments and answers, whatever dialect its app speaks.

    from onegai.sdk import service
    from onegai.sdk.chat import Chat, OpenAI, answer, pieces

    llm = service("llm")

    def main(args: Chat) -> tuple[str, dict]:
        return answer(llm, OpenAI(), args)

    def stream(args: Chat) -> Iterator[str]:
        return (yield from pieces(llm, OpenAI(), args))

What goes in and comes out has the words of OpenAI's chat completions: messages, tools, tool calls.
``OpenAI`` sends them as they are, to whatever is compatible; another ``Dialect`` translates them.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, Field

from onegai.errors import BadArguments, ErrorAnswer, SettingMissing, in_words
from onegai.files.file import File
from onegai.handles.context import config, current, progress
from onegai.handles.handle import Handle
from onegai.handles.http import Response

T = TypeVar("T")
Json = dict[str, Any]

BUSY = (429, 503, 529)
PATIENCE = 5
"""Seconds that a request waits where the app asks for it, to be sent once more."""


class Message(BaseModel):
    """What was said before. ``content`` is a text, or parts of OpenAI's kind."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    name: str | None = None
    tool_calls: list[Json] | None = Field(default=None, description="of the assistant")
    tool_call_id: str | None = Field(default=None, description="of a tool: whose result it is")


class Talk(BaseModel):
    """What any chat model takes."""

    text: str = Field(default="", max_length=1_000_000, description="what to say to it")
    system: str = Field(default="", description="who it is, and how it should behave")
    history: list[Message] = Field(default=[], description="what was said before, oldest first")
    max_tokens: int | None = Field(default=None, ge=1, description="of the answer, at most")
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = Field(default=None, description="the same seed gives the same answer")

    def messages(self) -> list[Json]:
        """All that is said, as OpenAI has it."""
        said = [message.model_dump(exclude_none=True) for message in self.history]
        if self.system:
            said.insert(0, {"role": "system", "content": self.system})
        if content := self.content():
            said.append({"role": "user", "content": content})
        return said

    def content(self) -> str | list[Json]:
        """What is said now; empty: nothing, as a tool has answered, say."""
        return self.text

    def wanted(self) -> Json:
        """What is asked for besides, as far as it is given."""
        return self.model_dump(include={"max_tokens", "temperature", "seed"}, exclude_none=True)


class Chat(Talk):
    """What large ones take."""

    images: list[File] = Field(default=[], description="pictures that the text is about")
    tools: list[Json] = Field(
        default=[], description="functions that it may call, as OpenAI has it"
    )
    tool_choice: Literal["auto", "none", "required"] | Json | None = Field(
        default=None, description="auto, none, required, or one"
    )
    model: str | None = Field(default=None, description="another than apps.{app}.model")
    options: Json = Field(default={}, description="more for the app's own request, as it has it")

    def content(self) -> str | list[Json]:
        """See Talk."""
        if not self.images:
            return self.text
        text = [{"type": "text", "text": self.text}] if self.text else []
        return [
            *text,
            *({"type": "image_url", "image_url": {"url": _data_url(one)}} for one in self.images),
        ]

    def wanted(self) -> Json:
        """See Talk."""
        found = super().wanted()
        if self.tools:
            found["tools"] = self.tools
            if self.tool_choice is not None:
                found["tool_choice"] = self.tool_choice
        return {**found, **self.options}


def _data_url(file: File) -> str:
    return f"data:{file.media_type};base64,{base64.b64encode(file.read()).decode()}"


@dataclass
class Said:
    """An answer, as far as it has come."""

    text: list[str] = field(default_factory=list)
    calls: dict[int, Json] = field(default_factory=dict)
    """Tools that it calls, by their place; the arguments are JSON as text."""
    finish: str = ""
    """stop, length, tool_calls, content_filter, or the app's own word."""
    usage: Json = field(default_factory=dict)
    """Of tokens: prompt_tokens, completion_tokens, total_tokens."""
    model: str = ""
    over: bool = False
    """The app has said that this is all."""

    def say(self, text: str | None) -> str:
        """Take down what it says, and give it back."""
        if text:
            self.text.append(text)
        return text or ""

    def call(self, place: int, *, id: str = "", name: str = "", arguments: str = "") -> Json:  # noqa: A002 - OpenAI's word
        """Take down a tool that it calls, or more of one."""
        function = {"name": "", "arguments": ""}
        call = self.calls.setdefault(place, {"id": "", "type": "function", "function": function})
        call["id"] = call["id"] or id
        call["function"]["name"] = call["function"]["name"] or name
        call["function"]["arguments"] += arguments
        return call

    def count(self, prompt: int | None = None, completion: int | None = None) -> None:
        """Take down how many tokens there were."""
        given = {"prompt_tokens": prompt, "completion_tokens": completion}
        self.usage |= {name: value for name, value in given.items() if value is not None}
        self.usage["total_tokens"] = sum(self.usage.get(name, 0) for name in given)

    def result(self) -> tuple[str, Json]:
        """The text, and what else is to be told of it."""
        detail: Json = {"usage": self.usage, "finish": self.finish, "model": self.model}
        if self.calls:
            detail["tool_calls"] = [self.calls[place] for place in sorted(self.calls)]
        return "".join(self.text), detail


@dataclass(frozen=True)
class Asked:
    """A request: below the app's URL."""

    path: str
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


class Failure(Exception):
    """An app says in its stream that it has failed, with this HTTP status of its own."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Dialect(Protocol):
    """How an app wants to be asked, and how it answers."""

    def ask(self, model: str, messages: list[Json], wanted: Json, *, stream: bool) -> Asked:
        """The request for this."""
        ...

    def whole(self, said: Said, answer: Json) -> None:
        """Take down a whole answer. Raises LookupError, TypeError for what is none."""
        ...

    def piece(self, said: Said, data: str) -> str:
        """Take down the data of one event, and give what it adds to the text.

        Raises Failure; ValueError, LookupError, TypeError for what is none.
        """
        ...


@dataclass(frozen=True)
class OpenAI:
    """Chat completions, of OpenAI and of all that is compatible (llama.cpp, Ollama, vLLM …)."""

    path: str = "/chat/completions"
    max_tokens: str = "max_tokens"
    """What it calls that."""

    def ask(self, model: str, messages: list[Json], wanted: Json, *, stream: bool) -> Asked:
        """See Dialect."""
        rest = {self.max_tokens if name == "max_tokens" else name: wanted[name] for name in wanted}
        body: Json = {"model": model, "messages": messages, **rest}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Asked(self.path, body)

    def whole(self, said: Said, answer: Json) -> None:
        """See Dialect."""
        choice = answer["choices"][0]
        self._common(said, answer, choice, choice["message"])

    def piece(self, said: Said, data: str) -> str:
        """See Dialect."""
        if data == "[DONE]":
            said.over = True
            return ""
        chunk = json.loads(data)
        if "error" in chunk:
            code = chunk["error"].get("code") if isinstance(chunk["error"], dict) else None
            raise Failure(code if isinstance(code, int) and 400 <= code < 600 else 500)
        choices = chunk.get("choices") or [{}]  # none: only the usage
        return self._common(said, chunk, choices[0], choices[0].get("delta") or {})

    def _common(self, said: Said, answer: Json, choice: Json, message: Json) -> str:
        said.model = answer.get("model") or said.model
        said.usage = answer.get("usage") or said.usage
        if choice.get("finish_reason"):
            said.finish, said.over = choice["finish_reason"], True
        for place, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            taken = said.call(
                call.get("index", place),
                id=call.get("id") or "",
                name=function.get("name") or "",
                arguments=function.get("arguments") or "",
            )
            taken |= {name: call[name] for name in call.keys() - {"index", "function", *taken}}
        return said.say(message.get("content") or message.get("refusal"))


def model_of(app: str, given: str | None = None, key: str = "model") -> str:
    """The model to use: the one that is given, else ``apps.{app}.{key}`` of config.json.

    No model is known here by name: those of clouds come and go. Raises SettingMissing.
    """
    found = given or config(app).get(key)
    if isinstance(found, str) and found:
        return found
    do = f"bash run.sh config apps.{app}.{key} MODEL; bash run.sh call {app} models lists them"
    raise SettingMissing(app=app, key=key, do=do)


def answer(app: Handle, dialect: Dialect, args: Talk, model: str = "") -> tuple[str, Json]:
    """The whole answer, and its detail: usage, finish, model, tool_calls. ``model``: of the app's.

    Raises SettingMissing, BadArguments, and as a handle does.
    """
    asked = _asked(app, dialect, args, model, stream=False)
    response = patiently(
        app.app, lambda: app.post(asked.path, json=asked.body, headers=asked.headers)
    )
    said = Said()
    try:
        dialect.whole(said, response.json())
    except (LookupError, TypeError, AttributeError) as error:
        reason = f"its answer is none of a chat: {type(error).__name__} {error}"
        raise response.error(reason) from None
    return said.result()


def pieces(
    app: Handle, dialect: Dialect, args: Talk, model: str = ""
) -> Generator[str, None, tuple[str, Json]]:
    """The answer's text as it comes; at the end the generator returns as ``answer`` does.

    One that ends before it is complete is an ErrorAnswer, as is what the app says goes wrong.
    """
    asked = _asked(app, dialect, args, model, stream=True)
    said = Said()
    with ExitStack() as stack:
        lines = patiently(
            app.app,
            lambda: stack.enter_context(
                app.lines("POST", asked.path, json=asked.body, headers=asked.headers)
            ),
        )
        for data in _events(lines):
            try:
                text = dialect.piece(said, data)
            except Failure as failure:
                raise _as_response(app.app, failure.status, data).failure() from None
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                reason = f"its stream is none of a chat: {type(error).__name__}"
                raise _as_response(app.app, 200, data).error(reason) from None
            if text:
                yield text
    if not said.over:
        raise _as_response(app.app, 200, "").error("its answer ended before it was complete")
    return said.result()


def patiently(app: str, ask: Callable[[], T]) -> T:
    """What ``ask`` gives; asked once more where the app says that it will answer in a moment.

    That is safe: who answers 429, 503 or 529 has not heeded the request.
    """
    try:
        return ask()
    except ErrorAnswer as error:
        wait = error.retry_after
        if error.upstream_status not in BUSY or wait is None or wait > PATIENCE:
            raise
        if wait >= current(app).remaining(app):
            raise
    progress(text=f"{app} is busy, and is asked again in {wait} s")
    time.sleep(wait)
    return ask()


def _asked(app: Handle, dialect: Dialect, args: Talk, model: str, *, stream: bool) -> Asked:
    given = model_of(app.app, model or getattr(args, "model", None))
    try:
        return dialect.ask(given, args.messages(), args.wanted(), stream=stream)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadArguments(
            reason=f"history or tools are not as OpenAI has them: {in_words(error)}",
            do="docs/clouds.md says how to send what a tool has given",
        ) from None


def _as_response(app: str, status: int, data: str) -> Response:
    """A part of a stream, as an answer by itself."""
    return Response(app, status, {}, data.encode(), current(app).access(app))


def _events(lines: Iterable[str]) -> Iterator[str]:
    """The data of server-sent events; the last one may lack its empty line."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)
