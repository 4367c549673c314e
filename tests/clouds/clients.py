"""The clouds of tests/fakes/cloud.py, asked by the clients that their vendors publish.

usage: python tests/clouds/clients.py URL KEY, in a venv with tests/clouds/clients.lock. Says what
differs from what these clients expect, and then ends with 1.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable

import anthropic
import openai
from google import genai
from google.genai import errors, types

URL, KEY = sys.argv[1:]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PICTURE = base64.b64encode(PNG).decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def fails(work: Callable[[], object], kind: type[Exception]) -> Exception:
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind}")


def ask_openai() -> None:
    client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny-chat", "tiny-voice"]
    chat = client.chat.completions
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}, image]},
    ]
    made = chat.create(model="tiny-chat", messages=messages, max_completion_tokens=9)
    assert made.choices[0].message.content == f"be kind hello and {len(PNG)} bytes of image/png"
    assert made.usage.completion_tokens == 8
    options = {"include_usage": True}
    chunks = list(
        chat.create(model="tiny-chat", messages=messages, stream=True, stream_options=options)
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == made.choices[0].message.content
    assert (chunks[-2].choices[0].finish_reason, chunks[-1].usage.completion_tokens) == ("stop", 8)
    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    asked = chat.create(model="tiny-chat", messages=messages, tools=tools)
    [call] = asked.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Kyoto"}')
    turn = [
        *messages,
        asked.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "sun"},
    ]
    again = chat.create(model="tiny-chat", messages=turn, tools=tools)
    assert again.choices[0].message.content == "be kind sun"
    with client.audio.speech.with_streaming_response.create(
        model="tiny-voice", voice="alloy", input="hello", response_format="wav"
    ) as sound:
        assert sound.read().endswith(b"helloalloy")
    heard = client.audio.transcriptions.create(
        model="tiny-voice", file=("a.wav", io.BytesIO(b"12345")), language="ja"
    )
    assert heard.text == "a.wav has 5 bytes in ja"
    [painted] = client.images.generate(model="m", prompt="a cat", size="1024x1024").data
    assert base64.b64decode(painted.b64_json) == PNG
    busy = fails(lambda: chat.create(model="busy-3", messages=messages), openai.RateLimitError)
    assert busy.response.headers["retry-after"] == "3"
    fails(lambda: chat.create(model="no-model", messages=messages), openai.NotFoundError)
    late = chat.create(model="late", messages=messages, stream=True)
    fails(lambda: list(late), openai.APIError)
    other = openai.OpenAI(base_url=f"{URL}/v1", api_key="sk-wrong-key", max_retries=0)
    fails(other.models.list, openai.AuthenticationError)


def ask_anthropic() -> None:
    client = anthropic.Anthropic(base_url=f"{URL}/claude", api_key=KEY, max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny-chat", "tiny-voice"]
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    content = [{"type": "text", "text": "hello"}, {"type": "image", "source": source}]
    asked = {
        "model": "tiny-chat",
        "max_tokens": 99,
        "system": "be kind",
        "messages": [{"role": "user", "content": content}],
    }
    made = client.messages.create(**asked)
    assert made.content[0].text == f"be kind hello and {len(PNG)} bytes of image/png"
    assert (made.stop_reason, made.usage.output_tokens) == ("end_turn", 8)
    with client.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == made.content[0].text
        assert stream.get_final_message().usage.output_tokens == 8
    tools = [{"name": "weather", "input_schema": SCHEMA}]
    with client.messages.stream(**asked, tools=tools) as stream:
        [tool] = stream.get_final_message().content
    assert (tool.name, tool.input) == ("weather", {"city": "Kyoto"})
    result = {
        "type": "tool_result",
        "tool_use_id": tool.id,
        "content": [{"type": "text", "text": "sun"}],
    }
    turn = [
        *asked["messages"],
        {"role": "assistant", "content": [tool]},
        {"role": "user", "content": [result]},
    ]
    again = client.messages.create(**{**asked, "messages": turn}, tools=tools)
    assert again.content[0].text == "be kind sun"
    full = fails(
        lambda: client.messages.create(**{**asked, "model": "full"}), anthropic.APIStatusError
    )
    assert (full.status_code, full.response.headers["retry-after"]) == (529, "60")
    late = client.messages.create(**{**asked, "model": "late"}, stream=True)
    fails(lambda: list(late), anthropic.APIStatusError)
    other = anthropic.Anthropic(base_url=f"{URL}/claude", api_key="wrong", max_retries=0)
    fails(lambda: other.models.list(), anthropic.AuthenticationError)


def ask_gemini() -> None:
    def connected(key: str) -> genai.Client:
        return genai.Client(
            api_key=key, http_options=types.HttpOptions(base_url=URL, api_version="v1beta")
        )

    client = connected(KEY)
    assert [one.name for one in client.models.list()] == ["models/tiny-chat", "models/tiny-voice"]
    contents = [
        types.Part.from_text(text="hello"),
        types.Part.from_bytes(data=PNG, mime_type="image/png"),
    ]
    config = types.GenerateContentConfig(system_instruction="be kind", max_output_tokens=9, seed=1)
    made = client.models.generate_content(model="tiny-chat", contents=contents, config=config)
    assert made.text == f"be kind hello and {len(PNG)} bytes of image/png"
    assert made.usage_metadata.candidates_token_count == 8
    chunks = client.models.generate_content_stream(
        model="tiny-chat", contents=contents, config=config
    )
    assert "".join(chunk.text or "" for chunk in chunks) == made.text
    weather = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
    with_tools = types.GenerateContentConfig(
        system_instruction="be kind", tools=[types.Tool(function_declarations=[weather])]
    )
    asked = client.models.generate_content(model="tiny-chat", contents="hello", config=with_tools)
    [call] = asked.function_calls
    assert (call.name, call.args) == ("weather", {"city": "Kyoto"})
    turn = [
        types.Content(role="user", parts=[types.Part.from_text(text="hello")]),
        asked.candidates[0].content,
        types.Content(
            role="user",
            parts=[types.Part.from_function_response(name="weather", response={"sky": "sun"})],
        ),
    ]
    again = client.models.generate_content(model="tiny-chat", contents=turn, config=with_tools)
    assert again.text == 'be kind {"sky": "sun"}'
    busy = fails(
        lambda: client.models.generate_content(model="full", contents="hello"), errors.ServerError
    )
    assert busy.code == 503
    other = connected("wrong")
    fails(lambda: list(other.models.list()), errors.ClientError)


if __name__ == "__main__":
    for ask in (ask_openai, ask_anthropic, ask_gemini):
        ask()
        print(ask.__name__)
