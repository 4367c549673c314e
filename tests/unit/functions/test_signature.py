"""What a func file offers: its functions, and their arguments."""

import base64
import json
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from onegai.errors import BadArguments
from onegai.functions.function import Function
from onegai.functions.results import Outcome, outcome_of
from onegai.functions.signature import BadFunction, public_functions

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
    return public_functions(module(source), "voice")


def call(function: Function, given: Any) -> Outcome:
    """As the engine does it."""
    return outcome_of(function.form, function.run(function.arguments(given)))


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
    assert [name for name, function in found.items() if function.where == "loop"] == ["later"]


def test_where_it_runs_and_whether_it_streams() -> None:
    found = functions(
        """
        def plain(args): return 1
        async def later(args): return 1
        def pieces(args): yield 1
        async def pieces_later(args): yield 1
        """
    )
    assert {name: (one.where, one.streams) for name, one in found.items()} == {
        "plain": ("thread", False),
        "later": ("loop", False),
        "pieces": ("thread", True),
        "pieces_later": ("loop", True),
    }


def test_what_its_pieces_are() -> None:
    found = functions(
        """
        from collections.abc import AsyncIterator, Generator, Iterator
        def words(args) -> Iterator[str]: yield "x"
        async def sound(args) -> AsyncIterator[bytes]: yield b"x"
        def both(args) -> Generator[str, None, dict]: yield "x"
        def rows(args) -> Iterator[dict]: yield {}
        def unsaid(args): yield "x"
        def bare(args) -> Iterator: yield "x"
        """
    )
    assert {name: one.yields for name, one in found.items()} == {
        "words": str,
        "sound": bytes,
        "both": str,
        "rows": None,
        "unsaid": None,
        "bare": None,
    }


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
    schema = function.accepts.schema()
    assert set(schema["properties"]) == {"text", "speed"}
    assert schema["required"] == ["text"]

    def given(value: Any) -> Any:
        arguments = function.arguments(value)
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
        function.arguments({"text": "hi"})
    assert caught.value.message == "text: only kana, please"


def test_a_model_passes_as_it_is() -> None:
    function = functions(MODELS["pydantic"] + "\n        def f(args: Speech): return args")["f"]
    speech = sys.modules["made_func"].Speech(text="hi")
    assert function.arguments(speech) is speech


@pytest.mark.parametrize(
    "parameter", ["args", "args: dict", "args: dict[str, Any]", "args: Any", "args: 'dict'"]
)
def test_plain_dict_takes_anything(parameter: str) -> None:
    function = functions(f"from typing import Any\ndef f({parameter}): return args")["f"]
    given = {"a": [1, {"b": None}], "ü": "x"}
    assert function.arguments(given) == given
    assert function.arguments({}) == {}
    assert function.accepts.schema()["type"] == "object"
    with pytest.raises(BadArguments):
        function.arguments([1])


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
    assert function.accepts.schema()["properties"]["text"]["description"] == "what to say"
    with pytest.raises(BadArguments, match="at most 3"):
        function.arguments({"text": "long"})
    with pytest.raises(BadArguments, match="greater than 0"):
        function.arguments({"text": "a", "speed": 0})


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
    assert function.arguments(given) == given
    with pytest.raises(BadArguments) as caught:
        function.arguments({"history": [{"role": "user"}, {}]})
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
        function.arguments({"text": "secret", "inner": {"size": "secret"}})
    error = caught.value
    assert [item["field"] for item in error.detail["errors"]] == ["text", "inner.size"]
    assert error.message.startswith("text: ")
    assert "; inner.size: " in error.message
    assert error.advice == "voice/f takes text, inner"
    assert "secret" not in json.dumps([error.message, error.detail])


# --- main and raw from each other ------------------------------------------------------------


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


def test_a_function_that_needs_no_service() -> None:
    made = module(
        """
        from onegai.sdk import without_service
        def main(args): return 1
        @without_service
        async def models(args): return 2
        """
    )
    found = public_functions(made, "voice", "request")
    assert {name: function.lease for name, function in found.items()} == {
        "main": "request",
        "raw": "request",
        "models": "none",
    }
