"""Claude, of Anthropic: chat. Needs anthropic_key.

Of its own in config.json (apps.anthropic): model; max_tokens, where the caller names none; version,
of the API.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from onegai.sdk import config, service
from onegai.sdk.chat import Asked, Chat, Failure, Said, answer, pieces

anthropic = service("anthropic")

VERSION = "2026-10-21"
"""Of the API, as the Python package anthropic 2.14.0 sends it."""
MAX_TOKENS = 4096
STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
CHOICE = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}


class Nothing(BaseModel):
    pass


def main(args: Chat) -> tuple[str, dict[str, Any]]:
    """Answer a text. The detail has the tokens it took, why it ended, and the tools it calls."""
    return answer(anthropic, _Messages(), args)


def stream(args: Chat) -> Iterator[str]:
    """Answer a text, word by word as the model finds them."""
    return (yield from pieces(anthropic, _Messages(), args))


def models(args: Nothing) -> list[str]:  # noqa: ARG001 - nothing to say
    """The models that there are, by the names that apps.anthropic.model can have."""
    params, found = {"limit": 1000}, list[str]()
    while True:
        page = anthropic.get("/models", params=params, headers=_headers()).json()
        found += (one["id"] for one in page["data"])
        if not page.get("has_more"):
            return found
        params["after_id"] = page["last_id"]


def _headers() -> dict[str, str]:
    return {"anthropic-version": config("anthropic").get("version", VERSION)}


class _Messages:
    """POST /messages."""

    def ask(
        self, model: str, messages: list[dict], wanted: dict[str, Any], *, stream: bool
    ) -> Asked:
        rest = dict(wanted)
        rest.pop("seed", None)  # it has none
        tools, choice = rest.pop("tools", None), rest.pop("tool_choice", None)
        if tools is not None:
            rest["tools"] = [_tool(tool) for tool in tools]
        if choice is not None:
            one = isinstance(choice, dict) and choice.get("function", {}).get("name")
            rest["tool_choice"] = {"type": "tool", "name": one} if one else CHOICE[choice]
        system = [_text(one["content"]) for one in messages if one["role"] in SYSTEM]
        if system:
            rest["system"] = "\n\n".join(system)
        rest.setdefault("max_tokens", config("anthropic").get("max_tokens", MAX_TOKENS))
        said = [_message(one) for one in messages if one["role"] not in SYSTEM]
        body = {"model": model, "messages": said, **rest, **({"stream": True} if stream else {})}
        return Asked("/messages", body, _headers())

    def whole(self, said: Said, answer: dict[str, Any]) -> None:
        said.model = answer["model"]
        for place, block in enumerate(answer["content"]):
            _block(said, place, block)
            if block["type"] == "tool_use":
                said.call(place, arguments=json.dumps(block["input"], ensure_ascii=False))
        self._end(said, answer["stop_reason"], answer["usage"])

    def piece(self, said: Said, data: str) -> str:
        event = json.loads(data)
        match event["type"]:
            case "error":
                raise Failure(STATUS.get(event["error"]["type"], 500))
            case "message_start":
                said.model = event["message"]["model"]
                self._end(said, None, event["message"]["usage"])
            case "content_block_start":
                return _block(said, event["index"], event["content_block"])
            case "content_block_delta":
                delta = event["delta"]
                if delta["type"] == "input_json_delta":
                    said.call(event["index"], arguments=delta["partial_json"])
                return said.say(delta.get("text"))
            case "content_block_stop":
                if event["index"] in said.calls:
                    call = said.calls[event["index"]]["function"]
                    call["arguments"] = call["arguments"] or "{}"
            case "message_delta":
                self._end(said, event["delta"]["stop_reason"], event["usage"])
            case "message_stop":
                said.over = True
        return ""

    def _end(self, said: Said, reason: str | None, usage: dict[str, Any]) -> None:
        said.finish = FINISH.get(reason, reason) if reason else said.finish
        said.count(usage.get("input_tokens"), usage.get("output_tokens"))


SYSTEM = ("system", "developer")


def _block(said: Said, place: int, block: dict[str, Any]) -> str:
    if block["type"] == "tool_use":
        said.call(place, id=block["id"], name=block["name"])
    return said.say(block.get("text"))


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """One of OpenAI's kind; others are Anthropic's own (web_search …)."""
    if "function" not in tool:
        return tool
    function = tool["function"]
    about = {"description": function["description"]} if "description" in function else {}
    schema = function.get("parameters") or {"type": "object"}
    return {"name": function["name"], **about, "input_schema": schema}


def _message(one: dict[str, Any]) -> dict[str, Any]:
    if one["role"] == "tool":
        content = one.get("content") or ""
        result = {"type": "tool_result", "tool_use_id": one.get("tool_call_id")}
        return {"role": "user", "content": [{**result, "content": _parts(content)}]}
    calls = [
        {
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": json.loads(call["function"]["arguments"] or "{}"),
        }
        for call in one.get("tool_calls") or ()
    ]
    content = one.get("content") or ""
    if isinstance(content, str) and not calls:
        return {"role": one["role"], "content": content}
    return {"role": one["role"], "content": [*_parts(content), *calls]}


def _parts(content: str | list[dict]) -> list[dict]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") != "image_url":
        return part
    url = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _text(content: str | list[dict]) -> str:
    return content if isinstance(content, str) else "\n".join(one["text"] for one in content)
