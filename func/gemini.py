"""Gemini, of Google: chat. Needs gemini_key. Of its own in config.json (apps.gemini): model."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from onegai.sdk import service
from onegai.sdk.chat import Asked, Chat, Failure, Said, answer, pieces

gemini = service("gemini")

FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
FILTERED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")
MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
SIGNATURE = "thought_signature"
"""What a later request has to give back with a tool call (in extra_content.google, as Google's
routes that are compatible with OpenAI have it)."""


class Nothing(BaseModel):
    pass


def main(args: Chat) -> tuple[str, dict[str, Any]]:
    """Answer a text. The detail has the tokens it took, why it ended, and the tools it calls."""
    return answer(gemini, _Contents(), args)


def stream(args: Chat) -> Iterator[str]:
    """Answer a text, word by word as the model finds them."""
    return (yield from pieces(gemini, _Contents(), args))


def models(args: Nothing) -> list[str]:  # noqa: ARG001 - nothing to say
    """The models that can chat, by the names that apps.gemini.model can have."""
    params, found = {"pageSize": "1000"}, list[str]()
    while True:
        page = gemini.get("/models", params=params).json()
        found += (
            one["name"].removeprefix("models/")
            for one in page.get("models", ())
            if "generateContent" in one.get("supportedGenerationMethods", ["generateContent"])
        )
        if not page.get("nextPageToken"):
            return found
        params["pageToken"] = page["nextPageToken"]


class _Contents:
    """POST /models/{model}:generateContent."""

    def ask(
        self, model: str, messages: list[dict], wanted: dict[str, Any], *, stream: bool
    ) -> Asked:
        rest = dict(wanted)
        names = {"max_tokens": "maxOutputTokens", "temperature": "temperature", "seed": "seed"}
        settings = {names[key]: rest.pop(key) for key in names if key in rest}
        tools, choice = rest.pop("tools", None), rest.pop("tool_choice", None)
        body: dict[str, Any] = {"contents": _contents(messages)}
        system = [part for one in messages if one["role"] in SYSTEM for part in _parts(one)]
        if system:
            body["systemInstruction"] = {"parts": system}
        if settings:
            body["generationConfig"] = settings | rest.pop("generationConfig", {})
        if tools is not None:
            own = [tool for tool in tools if "function" not in tool]
            named = [_declaration(tool["function"]) for tool in tools if "function" in tool]
            body["tools"] = [*own, *([{"functionDeclarations": named}] if named else ())]
        if choice is not None:
            one = isinstance(choice, dict) and choice.get("function", {}).get("name")
            mode = (
                {"mode": "ANY", "allowedFunctionNames": [one]} if one else {"mode": MODES[choice]}
            )
            body["toolConfig"] = {"functionCallingConfig": mode}
        how = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return Asked(f"/models/{model.removeprefix('models/')}:{how}", {**body, **rest})

    def whole(self, said: Said, answer: dict[str, Any]) -> None:
        self._take(said, answer)

    def piece(self, said: Said, data: str) -> str:
        chunk = json.loads(data)
        if "error" in chunk:
            code = chunk["error"].get("code")
            raise Failure(code if isinstance(code, int) and 400 <= code < 600 else 500)
        return self._take(said, chunk)

    def _take(self, said: Said, answer: dict[str, Any]) -> str:
        said.model = answer.get("modelVersion") or said.model
        if usage := answer.get("usageMetadata"):
            thought = usage.get("thoughtsTokenCount") or 0
            said.count(
                usage.get("promptTokenCount"), (usage.get("candidatesTokenCount") or 0) + thought
            )
        if not answer.get("candidates"):
            if answer.get("promptFeedback", {}).get("blockReason"):
                said.finish, said.over = "content_filter", True
            elif not usage:
                raise LookupError("candidates")
            return ""
        candidate = answer["candidates"][0]
        text = "".join(_said(said, part) for part in candidate.get("content", {}).get("parts", ()))
        if reason := candidate.get("finishReason"):
            said.over = True
            said.finish = "content_filter" if reason in FILTERED else FINISH.get(reason, reason)
            if said.calls and said.finish == "stop":
                said.finish = "tool_calls"
        return text


SYSTEM = ("system", "developer")


def _said(said: Said, part: dict[str, Any]) -> str:
    if call := part.get("functionCall"):
        place = len(said.calls)
        taken = said.call(
            place,
            id=call.get("id") or f"call_{place}",
            name=call["name"],
            arguments=json.dumps(call.get("args") or {}, ensure_ascii=False),
        )
        if signature := part.get("thoughtSignature"):
            taken["extra_content"] = {"google": {SIGNATURE: signature}}
    return "" if part.get("thought") else said.say(part.get("text"))


def _declaration(function: dict[str, Any]) -> dict[str, Any]:
    found = {"name": function["name"], "description": function.get("description", "")}
    schema = function.get("parameters")
    return {**found, "parametersJsonSchema": schema} if schema else found


def _contents(messages: list[dict]) -> list[dict]:
    names: dict[str, str] = {}
    found = []
    for one in messages:
        if one["role"] in SYSTEM:
            continue
        if one["role"] == "tool":
            name = one.get("name") or names.get(one.get("tool_call_id") or "", "")
            answer = {"name": name, "response": _result(one.get("content"))}
            found.append({"role": "user", "parts": [{"functionResponse": answer}]})
            continue
        parts = _parts(one)
        for call in one.get("tool_calls") or ():
            function = call["function"]
            names[call["id"]] = function["name"]
            args = json.loads(function["arguments"] or "{}")
            part = {"functionCall": {"name": function["name"], "args": args}}
            signature = call.get("extra_content", {}).get("google", {}).get(SIGNATURE)
            parts.append({**part, "thoughtSignature": signature} if signature else part)
        found.append({"role": "model" if one["role"] == "assistant" else "user", "parts": parts})
    return found


def _result(content: Any) -> dict[str, Any]:
    """What a tool gave: an object, as Gemini has it."""
    try:
        value = json.loads(content) if isinstance(content, str) else content
    except ValueError:
        value = content
    return value if isinstance(value, dict) else {"result": value}


def _parts(message: dict[str, Any]) -> list[dict]:
    content = message.get("content") or []
    if isinstance(content, str):
        return [{"text": content}]
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"text": part["text"]}
    if part.get("type") != "image_url":
        return part
    url = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"fileData": {"fileUri": url}}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"inlineData": {"mimeType": kind, "data": data}}
