"""What a func file offers: its functions, their arguments, their results."""

import base64
import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from onegai.errors import BadArguments
from onegai.functions.function import BadFunction, Function, Outcome, json_bytes, public_functions

WAV = b"RIFF\x24\0\0\0WAVEfmt "


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith("made_")]:
        del sys.modules[name]


def module(source: str, name: str = "made_func") -> ModuleType:
    """A module of this source, found in sys.modules like a loaded func file."""
    made = ModuleType(name)
    sys.modules[name] = made
    exec(compile(textwrap.dedent(source), f"{name}.py", "exec"), vars(made))
    return made


def functions(source: str) -> dict[str, Function]:
    return public_functions(module(source))


def call(function: Function, given: Any) -> Outcome:
    """As the engine does it."""
    return function.outcome(function.call(function.arguments("app", given)))


# --- which functions are public --------------------------------------------------------------


def test_only_own_functions_of_args() -> None:
    module("def helper(args): return 1", "made_other")
    found = functions(
        """
        import json
        from json import dumps
        from made_other import helper
        class Speech: pass
        answer = lambda args: args
        def plain(args): return args
        def with_option(args, speed=1.0, *rest, **more): return args
        async def later(args): return args
        def load(args): return None
        def _private(args): return args
        def no_parameter(): return 1
        def another_name(text): return text
        def two(args, text): return text
        def text_first(text="", args=None): return text
        def optional(args=None): return args
        def variadic(*args): return args
        def keywords(**args): return args
        """
    )
    assert set(found) == {"plain", "with_option", "later", "load"} | {"answer"}
    assert [name for name, function in found.items() if function.is_async] == ["later"]


def test_args_must_be_fillable_by_position() -> None:
    assert functions("def f(*, args): return args") == {}


def test_all_wins() -> None:
    module("def helper(args): return 'helped'", "made_other")
    found = functions(
        """
        from made_other import helper
        __all__ = ["helper", "_hidden"]
        def _hidden(args): return args
        def other(args): return args
        """
    )
    assert set(found) == {"helper", "_hidden"}
    assert call(found["helper"], {}).value == "helped"


@pytest.mark.parametrize(
    ("source", "says", "line"),
    [
        ("__all__ = ['missing']", "'missing'", None),
        ("x = 1\n__all__ = ['x']", "'x'", None),
        ("\ndef f(text): return text\n__all__ = ['f']", "named args", 2),
        ("\n\ndef f(args):\n    yield 1", "generator", 3),
        ("async def f(args):\n    yield 1", "generator", 1),
        ("x = 1\ndef f(args: int): return args", "dict", 2),
        ("def f(args: list[str]): return args", "dict", 1),
        ("def f(args: int | str): return args", "dict", 1),
        ("def f(args: 'Missing'): return args", "Missing", 1),
        ("class A: pass\ndef f(args: A): return args", "not usable", 2),
    ],
)
def test_refused_with_its_line(source: str, says: str, line: int | None) -> None:
    with pytest.raises(BadFunction) as caught:
        functions(source)
    assert says in caught.value.reason
    assert caught.value.line == line


def test_docstring_becomes_summary_and_doc() -> None:
    found = functions('def f(args):\n    """Say it.\n\n    Loudly.\n    """\ndef g(args): ...')
    assert (found["f"].summary, found["f"].doc) == ("Say it.", "Say it.\n\nLoudly.")
    assert (found["g"].summary, found["g"].doc) == ("", "")


# --- arguments -------------------------------------------------------------------------------

MODELS = {
    "pydantic": """
        from pydantic import BaseModel
        class Speech(BaseModel):
            text: str
            speed: float = 1.0
        """,
    "dataclass": """
        from dataclasses import dataclass
        @dataclass
        class Speech:
            text: str
            speed: float = 1.0
        """,
    "typing TypedDict": """
        from typing import NotRequired, TypedDict
        class Speech(TypedDict):
            text: str
            speed: NotRequired[float]
        """,
    "typing_extensions TypedDict": """
        from typing_extensions import NotRequired, TypedDict
        class Speech(TypedDict):
            text: str
            speed: NotRequired[float]
        """,
    "typing total=False": """
        from typing import Required, TypedDict
        class Speech(TypedDict, total=False):
            text: Required[str]
            speed: float
        """,
    "typing_extensions total=False": """
        from typing_extensions import Required, TypedDict
        class Speech(TypedDict, total=False):
            text: Required[str]
            speed: float
        """,
    "typing inherited": """
        from typing import TypedDict
        class Text(TypedDict):
            text: str
        class Speech(Text, total=False):
            speed: float
        """,
}
FUTURE = "from __future__ import annotations\n"


@pytest.mark.parametrize("future", ["", FUTURE], ids=["", "future"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_of_arguments(kind: str, future: str) -> None:
    source = future + textwrap.dedent(MODELS[kind]) + "def f(args: Speech): return args\n"
    function = functions(source)["f"]
    schema = function.schema()
    assert set(schema["properties"]) == {"text", "speed"}
    assert schema["required"] == ["text"]

    def given(value: Any) -> Any:
        arguments = function.arguments("app", value)
        return arguments if isinstance(arguments, dict) else vars(arguments)

    assert given({"text": "hi", "speed": "2"}) == {"text": "hi", "speed": 2.0}
    assert given({"text": "hi"})["text"] == "hi"
    with pytest.raises(BadArguments) as caught:
        given({"speed": "fast"})
    errors = {error["field"]: error["message"] for error in caught.value.detail["errors"]}
    assert set(errors) == {"text", "speed"}
    assert "text, speed" in caught.value.advice


def test_what_a_validator_says_is_told_in_its_words() -> None:
    function = functions("""
        from pydantic import BaseModel, field_validator
        class Speech(BaseModel):
            text: str
            @field_validator("text")
            @classmethod
            def check(cls, text):
                raise ValueError("only kana, please")
        def f(args: Speech): return args
    """)["f"]
    with pytest.raises(BadArguments) as caught:
        function.arguments("app", {"text": "hi"})
    assert caught.value.message == "text: only kana, please"


def test_a_model_passes_as_it_is() -> None:
    function = functions(MODELS["pydantic"] + "\n        def f(args: Speech): return args")["f"]
    speech = sys.modules["made_func"].Speech(text="hi")
    assert function.arguments("app", speech) is speech


@pytest.mark.parametrize(
    "parameter", ["args", "args: dict", "args: dict[str, Any]", "args: Any", "args: 'dict'"]
)
def test_plain_dict_takes_anything(parameter: str) -> None:
    function = functions(f"from typing import Any\ndef f({parameter}): return args")["f"]
    given = {"a": [1, {"b": None}], "ü": "x"}
    assert function.arguments("app", given) == given
    assert function.arguments("app", {}) == {}
    assert function.schema()["type"] == "object"
    with pytest.raises(BadArguments):
        function.arguments("app", [1])


@pytest.mark.parametrize("origin", ["typing", "typing_extensions"])
def test_typed_dict_keeps_what_its_fields_say(origin: str) -> None:
    function = functions(
        f"""
        from typing import Annotated
        from {origin} import NotRequired, TypedDict
        from pydantic import Field
        class Speech(TypedDict):
            '''What to say.'''
            text: Annotated[str, Field(max_length=3, description="what to say")]
            speed: NotRequired[Annotated[float, Field(gt=0)]]
        def f(args: Speech): return args
        """
    )["f"]
    assert function.schema()["properties"]["text"]["description"] == "what to say"
    with pytest.raises(BadArguments, match="at most 3"):
        function.arguments("app", {"text": "long"})
    with pytest.raises(BadArguments, match="greater than 0"):
        function.arguments("app", {"text": "a", "speed": 0})


NESTED = """
    from {origin} import TypedDict
    class Message(TypedDict):
        role: str
    class Chat(TypedDict):
        history: list[Message]
    def f(args: Chat): return args
    """


def test_typed_dict_inside_another() -> None:
    function = functions(NESTED.format(origin="typing_extensions"))["f"]
    given = {"history": [{"role": "user"}]}
    assert function.arguments("app", given) == given
    with pytest.raises(BadArguments) as caught:
        function.arguments("app", {"history": [{"role": "user"}, {}]})
    assert caught.value.detail["errors"][0]["field"] == "history.1.role"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes it from 3.12 on")
def test_typed_dict_of_typing_inside_another_says_what_to_use() -> None:
    with pytest.raises(BadFunction, match=r"typing_extensions\.TypedDict"):
        functions(NESTED.format(origin="typing"))


def test_errors_name_every_field_and_do_not_repeat_values() -> None:
    function = functions(
        """
        from pydantic import BaseModel, Field
        class Inner(BaseModel):
            size: int
        class Speech(BaseModel):
            text: str = Field(max_length=3)
            inner: Inner
        def f(args: Speech): return args
        """
    )["f"]
    with pytest.raises(BadArguments) as caught:
        function.arguments("voice", {"text": "secret", "inner": {"size": "secret"}})
    error = caught.value
    assert [item["field"] for item in error.detail["errors"]] == ["text", "inner.size"]
    assert error.message.startswith("text: ")
    assert "; inner.size: " in error.message
    assert error.advice == "voice/f takes text, inner"
    assert "secret" not in json.dumps([error.message, error.detail])


def test_schema_refers_to_components_of_its_own() -> None:
    function = functions(
        """
        from pydantic import BaseModel
        class Inner(BaseModel):
            size: int
        class Speech(BaseModel):
            inner: Inner
        def f(args: Speech): return args
        """
    )["f"]
    schema = function.schema("#/components/schemas/voice_")
    assert schema["properties"]["inner"]["$ref"] == "#/components/schemas/voice_Inner"
    assert function.schema()["properties"]["inner"]["$ref"] == "#/$defs/Inner"
    assert set(schema["$defs"]) == {"Inner"}


# --- results ---------------------------------------------------------------------------------


def outcome(name: str, result: Any) -> Outcome:
    """What the function ``name`` of a module makes of this result."""
    made = module(f"def {name}(args): return result")
    made.result = result
    return call(public_functions(made)[name], {})


@pytest.mark.parametrize(
    ("result", "value", "detail"),
    [
        ("text", "text", {}),
        ({"a": 1}, {"a": 1}, {}),
        (None, None, {}),
        ([1, 2], [1, 2], {}),
        (("text", {"n": 1}), "text", {"n": 1}),
        ((None, {"n": 1}), None, {"n": 1}),
        (({"a": 1}, {"n": 1}), {"a": 1}, {"n": 1}),
        (("a", "b"), ("a", "b"), {}),
        ((1, 2, 3), (1, 2, 3), {}),
    ],
)
@pytest.mark.parametrize("name", ["main", "speak"])
def test_results_in_an_envelope(name: str, result: Any, value: Any, detail: Any) -> None:
    out = outcome(name, result)
    assert (out.value, out.detail, out.envelope) == (value, detail, True)


@pytest.mark.parametrize(
    ("result", "content", "media_type"),
    [
        (WAV, WAV, "audio/wav"),
        (bytearray(WAV), WAV, "audio/wav"),
        ((WAV, "audio/x-mine"), WAV, "audio/x-mine"),
        ((WAV, {"n": 1}), WAV, "audio/wav"),
        (((WAV, "audio/x-mine"), {"n": 1}), WAV, "audio/x-mine"),
        ("おはよう", "おはよう".encode(), "text/plain; charset=utf-8"),
        ({"a": 1}, b'{"a":1}', "application/json"),
        (None, b"null", "application/json"),
        (("text", {"n": 1}), b"text", "text/plain; charset=utf-8"),
    ],
)
def test_bare_results(result: Any, content: bytes, media_type: str) -> None:
    out = outcome("raw", result)
    assert not out.envelope
    body = out.body
    assert (body.content, body.media_type) == (content, media_type)


def test_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(WAV)
    assert outcome("raw", path).body.content == WAV
    assert outcome("raw", (path, "audio/x-mine")).body.media_type == "audio/x-mine"
    with pytest.raises(FileNotFoundError):
        outcome("raw", tmp_path / "none")


def test_main_gives_bytes_as_base64() -> None:
    out = outcome("main", (WAV, {"voice": "heart"}))
    assert out.envelope
    assert base64.b64decode(out.value) == WAV
    assert out.detail == {"media_type": "audio/wav", "size": len(WAV), "voice": "heart"}


def test_another_function_is_bare_only_for_bytes() -> None:
    assert not outcome("speak", WAV).envelope
    assert outcome("speak", "text").envelope


def test_raw_from_main() -> None:
    found = functions(f"def main(args):\n    'Say it.'\n    return {WAV!r}, {{'n': 1}}")
    assert list(found) == ["main", "raw"]
    assert (found["main"].derived, found["raw"].derived) == (False, True)
    assert found["raw"].summary == "Say it."
    assert call(found["raw"], {}).body.content == WAV
    assert call(found["main"], {}).detail["n"] == 1


def test_main_from_raw() -> None:
    found = functions(f"def raw(args): return {WAV!r}")
    assert (found["raw"].derived, found["main"].derived) == (False, True)
    assert base64.b64decode(call(found["main"], {}).value) == WAV
    assert call(found["main"], {}).envelope


def test_both_written_both_kept() -> None:
    found = functions("def main(args): return 'm'\ndef raw(args): return 'r'")
    assert [call(found[name], {}).value for name in ("main", "raw")] == ["m", "r"]
    assert not any(function.derived for function in found.values())


def test_neither_is_made_up() -> None:
    assert set(functions("def speak(args): return 1")) == {"speak"}


class Model(BaseModel):
    when: date


@dataclasses.dataclass
class Point:
    x: float


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "null"),
        ([float("inf"), 1.5], "[null,1.5]"),
        (Model(when=date(2024, 1, 2)), '{"when":"2024-01-02"}'),
        ([Point(float("nan"))], '[{"x":null}]'),
        ({"path": Path("/a/b")}, '{"path":"/a/b"}'),
        ({1: "one"}, '{"1":"one"}'),
        ({"set": {1}}, '{"set":[1]}'),
        (Odd(), '"odd"'),
        ("あ", '"あ"'),
    ],
)
def test_json_of_anything(value: Any, text: str) -> None:
    assert json_bytes(value).decode() == text


def test_nested_bytes_are_the_same_base64_as_main_s() -> None:
    data = bytes(range(256))
    assert json.loads(json_bytes([data])) == [outcome("main", data).value]
