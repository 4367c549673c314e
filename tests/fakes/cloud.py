"""Three clouds in small, which speak their protocols exactly and know no model.

    /v1/…       OpenAI: chat completions, speech, transcriptions, images, models
    /claude/v1/…  Anthropic: messages, models
    /v1beta/…   Gemini: generateContent, streamGenerateContent?alt=sse, models

They follow what the Python packages openai 3.57.0, anthropic 2.14.0 and google-genai 3.6.1 send and
read, and tests/clouds/clients.py drives them with these. A field that they do not know is an error,
as there; so is a wrong key, which they repeat in part.

The answer is ``{system} {text}``, word by word, with "and N bytes of image/png" for each picture.
A tool that is offered is called with {"city": "Kyoto"}, unless the last word is a tool's own. The
model says what goes wrong: ``busy-S`` is busy once and then answers, asking to wait S seconds;
``full`` is busy for good (60 s); ``torn`` ends in the middle, ``cut`` as if nothing were; ``late``
says in its stream that it fails; ``long`` ends at max_tokens; ``no-model`` is not there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpd

KEY = "sk-test-5b1f3e9a7c2d4e6f"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
MODELS = ["tiny-chat", "tiny-voice"]
_busy: set[str] = set()


class Wrong(Exception):
    """A request that is refused: HTTP status, kind, what is wrong, seconds to wait."""

    def __init__(self, status: int, kind: str, reason: str, wait: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind
        self.reason = reason
        self.headers = {"Retry-After": wait} if wait else {}


@dataclass
class Asked:
    """What a chat is asked for, whatever the dialect."""

    model: str
    system: str = ""
    text: str = ""
    pictures: list[tuple[str, int]] = field(default_factory=list)
    tool: str = ""
    """One that is offered, and has given nothing yet."""
    most: int = 0

    def words(self) -> list[str]:
        said = " ".join(filter(None, (self.system, self.text)))
        said += "".join(f" and {size} bytes of {kind}" for kind, size in self.pictures)
        words = re.findall(r"\S+\s*", said)
        return words[: self.most] if self.model == "long" else words


def check_model(model: str, overloaded: tuple[int, str]) -> None:
    if model == "no-model":
        raise Wrong(404, "not_found_error", f"The model `{model}` does not exist")
    if model.startswith("busy-") and model not in _busy:
        _busy.add(model)
        raise Wrong(429, "rate_limit_error", "Rate limit reached", model.partition("-")[2])
    if model == "full":
        raise Wrong(*overloaded, "Overloaded", "60")


def known(body: dict[str, Any], *names: str) -> None:
    if unknown := body.keys() - set(names):
        raise Wrong(400, "invalid_request_error", f"Unrecognized arguments: {sorted(unknown)}")


def shown(request: httpd.Request, name: str, value: str) -> None:
    given = request.headers.get(name, "")
    if given != value:
        tail = f"{given[7:15]}****{given[-4:]}" if given else "none"
        raise Wrong(401, "authentication_error", f"Incorrect API key provided: {tail}")


def ending(model: str, pieces: list[Any], end: list[Any], error: Any) -> Iterator[Any]:
    """The pieces of a stream, and how it ends."""
    half = len(pieces) // 2 + 1
    if model in ("torn", "cut", "late"):
        yield from pieces[:half]
        if model == "late":
            yield error
        if model == "torn":
            raise OSError("torn")
        return
    yield from pieces
    yield from end


def as_events(items: Iterator[tuple[str, Any]]) -> httpd.Answer:
    def sent() -> Iterator[bytes]:
        for name, data in items:
            text = data if isinstance(data, str) else json.dumps(data)
            yield (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()

    return httpd.Answer(sent(), "text/event-stream; charset=utf-8")


def picture(url: str) -> tuple[str, int]:
    kind, data = re.fullmatch(r"data:(.*?);base64,(.*)", url).groups()
    return kind, len(base64.b64decode(data, validate=True))


# --- OpenAI --------------------------------------------------------------------------------------


def openai(request: httpd.Request, path: str) -> httpd.Answer:
    shown(request, "authorization", f"Bearer {KEY}")
    if (request.method, path) == ("GET", "/models"):
        data = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in MODELS]
        return httpd.as_json({"object": "list", "data": data})
    if path == "/audio/transcriptions":
        assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
        parts = form(request)
        check_model(parts["model"][1].decode(), (503, "server_error"))
        name, content = parts["file"]
        language = parts.get("language", ("", b"en"))[1].decode()
        return httpd.as_json(
            {
                "text": f"{name} has {len(content)} bytes in {language}",
                "usage": {"type": "duration", "seconds": 1},
            }
        )
    body = json.loads(request.body)
    check_model(body["model"], (503, "server_error"))
    match path:
        case "/chat/completions":
            return openai_chat(body)
        case "/audio/speech":
            names = "model input voice response_format instructions speed stream_format"
            known(body, *names.split())
            pieces = [WAV, body["input"].encode(), body["voice"].encode()]
            return httpd.Answer(iter_closing(pieces), f"audio/{body['response_format']}")
        case "/images/generations":
            known(body, *"model prompt n size quality background output_format".split())
            data = base64.b64encode(PNG).decode()
            one = (
                {"url": "https://x/y.png"}
                if body.get("quality") == "standard"
                else {"b64_json": data}
            )
            return httpd.as_json({"created": 1, "data": [one]})
    raise Wrong(404, "not_found_error", "no such route")


def iter_closing(pieces: list[bytes]) -> Iterator[bytes]:
    yield from pieces


def form(request: httpd.Request) -> dict[str, tuple[str, bytes]]:
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    found = {}
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="(.*?)"', head).group(1).decode()
        file = re.search(rb'filename="(.*?)"', head)
        found[name] = (file.group(1).decode() if file else "", content.removesuffix(b"\r\n"))
    return found


def openai_asked(body: dict[str, Any]) -> Asked:
    known(
        body,
        *"model messages stream stream_options max_completion_tokens max_tokens temperature seed "
        "tools tool_choice stop top_p".split(),
    )
    asked = Asked(body["model"], most=body.get("max_completion_tokens", 0))
    for message in body["messages"]:
        content = message.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        if message["role"] in ("system", "developer"):
            asked.system = text
            continue
        asked.text = text
        asked.pictures = [
            picture(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"
        ]
        if message["role"] == "tool":
            calls = [call for one in body["messages"] for call in one.get("tool_calls") or ()]
            assert message["tool_call_id"] in [call["id"] for call in calls]
    if "tools" in body and body["messages"][-1]["role"] != "tool":
        asked.tool = body["tools"][0]["function"]["name"]
    return asked


def openai_chat(body: dict[str, Any]) -> httpd.Answer:
    asked = openai_asked(body)
    words = asked.words()
    usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
    finish = "length" if asked.model == "long" else "tool_calls" if asked.tool else "stop"
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": asked.tool, "arguments": '{"city": "Kyoto"}'},
    }
    common = {"id": "chatcmpl-1", "created": 1, "model": f"{asked.model}-2026"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "".join(words), "refusal": None}
        if asked.tool:
            message |= {"content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        whole = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
        return httpd.as_json(whole)

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> tuple[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        kind = {"object": "chat.completion.chunk"}
        return "", {**common, **kind, "choices": [choice], "usage": None, **more}

    pieces = [chunk({"role": "assistant", "content": ""})]
    if asked.tool:
        function = {"name": asked.tool, "arguments": ""}
        pieces += [
            chunk({"tool_calls": [{"index": 0, **call, "function": function}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Kyoto"}'}}]}),
        ]
    else:
        pieces += [chunk({"content": word}) for word in words]
    end = [chunk({}, finish)]
    if body.get("stream_options", {}).get("include_usage"):
        end.append(
            ("", {**common, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        )
    error = {"error": {"message": "The server had an error", "type": "server_error", "code": None}}
    return as_events(ending(asked.model, pieces, [*end, ("", "[DONE]")], ("error", error)))


def openai_error(wrong: Wrong) -> Any:
    code = "invalid_api_key" if wrong.status == 401 else None
    kind = {"message": wrong.reason, "type": wrong.kind, "param": None, "code": code}
    return {"error": kind}


# --- Anthropic -----------------------------------------------------------------------------------


def anthropic(request: httpd.Request, path: str) -> httpd.Answer:  # noqa: C901 - a protocol
    shown(request, "authorization", f"Bearer {KEY}")
    if request.headers.get("anthropic-version") != "2026-10-21":
        raise Wrong(400, "invalid_request_error", "anthropic-version: header is required")
    if (request.method, path) == ("GET", "/models"):
        first = "after_id" not in request.query
        name = MODELS[0] if first else MODELS[1]
        model = {
            "id": name,
            "type": "model",
            "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
        }
        return httpd.as_json(
            {"data": [model], "has_more": first, "first_id": name, "last_id": name}
        )
    if path != "/messages":
        raise Wrong(404, "not_found_error", "no such route")
    body = json.loads(request.body)
    check_model(body["model"], (529, "overloaded_error"))
    names = "model messages max_tokens system stream temperature tools tool_choice stop_sequences"
    known(body, *names.split())
    asked = Asked(body["model"], body.get("system", ""), most=body["max_tokens"])
    for message in body["messages"]:
        assert message["role"] in ("user", "assistant")
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        asked.text, asked.pictures = "", []
        for part in parts:
            match part["type"]:
                case "text":
                    asked.text += part["text"]
                case "image":
                    source = part["source"]
                    size = len(base64.b64decode(source["data"], validate=True))
                    asked.pictures.append((source["media_type"], size))
                case "tool_result":
                    asked.text += "".join(one["text"] for one in part["content"])
                case "tool_use":
                    assert isinstance(part["input"], dict)
    last = body["messages"][-1]["content"]
    answered = not isinstance(last, str) and any(one["type"] == "tool_result" for one in last)
    if "tools" in body and not answered:
        asked.tool = body["tools"][0]["name"]
        assert body["tools"][0]["input_schema"]["type"] == "object"
    return anthropic_chat(asked, stream=body.get("stream", False))


def anthropic_chat(asked: Asked, *, stream: bool) -> httpd.Answer:
    words = asked.words()
    finish = "max_tokens" if asked.model == "long" else "tool_use" if asked.tool else "end_turn"
    usage = {"input_tokens": 7, "output_tokens": len(words)}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": f"{asked.model}-2026",
        "stop_sequence": None,
    }
    tool = {"type": "tool_use", "id": "toolu_1", "name": asked.tool, "input": {"city": "Kyoto"}}
    if not stream:
        content = [tool] if asked.tool else [{"type": "text", "text": "".join(words)}]
        told = {**message, "content": content, "stop_reason": finish, "usage": usage}
        return httpd.as_json(told)
    began = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    if asked.tool:
        block: Any = {**tool, "input": {}}
        deltas = [
            {"type": "input_json_delta", "partial_json": one}
            for one in ("", '{"city":', ' "Kyoto"}')
        ]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in words]
    pieces = [
        {"type": "message_start", "message": began},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
    ]
    end = [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": finish, "stop_sequence": None},
            "usage": {"output_tokens": len(words)},
        },
        {"type": "message_stop"},
    ]
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    items = ending(asked.model, pieces, end, error)
    return as_events((item["type"], item) for item in items)


def anthropic_error(wrong: Wrong) -> Any:
    error = {"type": wrong.kind, "message": wrong.reason}
    return {"type": "error", "error": error, "request_id": "req_1"}


# --- Gemini --------------------------------------------------------------------------------------


def gemini(request: httpd.Request, path: str) -> httpd.Answer:
    shown(request, "x-goog-api-key", KEY)
    if (request.method, path) == ("GET", "/models"):
        first = "pageToken" not in request.query
        name = MODELS[0] if first else MODELS[1]
        methods = ["generateContent"] if first else ["embedContent"]
        models = [{"name": f"models/{name}", "supportedGenerationMethods": methods}]
        return httpd.as_json({"models": models, **({"nextPageToken": "2"} if first else {})})
    found = re.fullmatch(r"/models/([^:]+):(generateContent|streamGenerateContent)", path)
    if not found:
        raise Wrong(404, "NOT_FOUND", "no such route")
    model, method = found.groups()
    check_model(model, (503, "UNAVAILABLE"))
    body = json.loads(request.body)
    known(
        body, *"contents systemInstruction generationConfig tools toolConfig safetySettings".split()
    )
    config = body.get("generationConfig", {})
    known(config, *"maxOutputTokens temperature seed topP stopSequences".split())
    asked = Asked(model, most=config.get("maxOutputTokens", 0))
    asked.system = "".join(
        part["text"] for part in body.get("systemInstruction", {}).get("parts", ())
    )
    answered = False
    for content in body["contents"]:
        assert content.get("role", "user") in ("user", "model")
        asked.text, asked.pictures, answered = "", [], False
        for part in content["parts"]:
            asked.text += part.get("text", "")
            if data := part.get("inlineData"):
                raw = data["data"].replace("-", "+").replace("_", "/")
                # Protocol Buffers take a name in either spelling; google-genai sends mime_type.
                kind = data.get("mimeType") or data["mime_type"]
                asked.pictures.append((kind, len(base64.b64decode(raw))))
            if "functionCall" in part:
                assert part["thoughtSignature"] == "c2ln"
            if answer := part.get("functionResponse"):
                assert answer["name"] == "weather"
                asked.text, answered = json.dumps(answer["response"]), True
    if "tools" in body and not answered:
        asked.tool = body["tools"][0]["functionDeclarations"][0]["name"]
    stream = method == "streamGenerateContent"
    assert not stream or request.query == {"alt": "sse"}
    return gemini_chat(asked, stream=stream)


def gemini_chat(asked: Asked, *, stream: bool) -> httpd.Answer:
    words = asked.words()
    usage = {
        "promptTokenCount": 7,
        "candidatesTokenCount": len(words),
        "totalTokenCount": 7 + len(words),
    }
    call = {
        "functionCall": {"name": asked.tool, "args": {"city": "Kyoto"}},
        "thoughtSignature": "c2ln",
    }
    finish = "MAX_TOKENS" if asked.model == "long" else "STOP"

    def chunk(parts: list[Any], **more: Any) -> Any:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
        facts = {"usageMetadata": usage, "modelVersion": f"{asked.model}-2026", "responseId": "1"}
        return {"candidates": [candidate], **facts}

    if not stream:
        parts = [call] if asked.tool else [{"text": "".join(words)}]
        return httpd.as_json(chunk(parts, finishReason=finish))
    thought = chunk([{"text": "hmm", "thought": True}])
    pieces = (
        [chunk([call])] if asked.tool else [thought, *(chunk([{"text": word}]) for word in words)]
    )
    error = {"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}}
    end = [chunk([{"text": ""}], finishReason=finish)]
    return as_events(("", item) for item in ending(asked.model, pieces, end, error))


def gemini_error(wrong: Wrong) -> Any:
    return {"error": {"code": wrong.status, "message": wrong.reason, "status": wrong.kind.upper()}}


CLOUDS = {
    "/v1beta": (gemini, gemini_error),
    "/v1": (openai, openai_error),
    "/claude/v1": (anthropic, anthropic_error),
}


def answer(request: httpd.Request) -> httpd.Answer:
    for prefix, (cloud, told) in CLOUDS.items():
        if request.path == prefix or request.path.startswith(f"{prefix}/"):
            try:
                return cloud(request, request.path.removeprefix(prefix))
            except Wrong as wrong:
                return httpd.as_json(told(wrong), wrong.status, wrong.headers)
            except (AssertionError, LookupError, TypeError, AttributeError, ValueError) as error:
                wrong = Wrong(400, "invalid_request_error", f"{type(error).__name__}: {error}")
                return httpd.as_json(told(wrong), 400)
    return httpd.as_json({}, 404)


if __name__ == "__main__":
    given = httpd.options(__doc__).parse_args()
    httpd.serve(given.host, given.port, answer)
