"""The tree of errors: complete, documented, and never raised without what its texts need."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from onegai import errors
from onegai.cli.main import commands
from onegai.config.entry import AppSpec
from onegai.errors import OneGAIError

SENTENCE_ONLY = {"ConfigError", "HomeLocked"}
"""End the start of the server, so the docstring gives them no HTTP status."""


def below(base: type[OneGAIError]) -> Iterator[type[OneGAIError]]:
    for made in base.__subclasses__():
        yield made
        yield from below(made)


ALL = list(below(OneGAIError))
LEAVES = [made for made in ALL if not made.__subclasses__()]


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: error.__name__)
def test_says_what_and_what_to_do(error: type[OneGAIError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", vars(error)["code"])
    assert vars(error)["text"]
    assert vars(error)["hint"]
    assert 400 <= error.status < 600
    assert error.__doc__


ONLY_HTTP = {"IfMatchMissing", "LostUpdate", "SignatureRefused"}
"""What no command does."""


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: error.__name__)
def test_hints_name_no_file_that_may_not_have_it_and_only_commands_there_are(
    error: type[OneGAIError],
) -> None:
    """What is set by ``config`` counts, whichever file has had it."""
    for hint in (error.hint, error.cli_hint):
        assert "in services" not in hint
        for name in re.findall(r"bash run\.sh (\w+)", hint):
            assert name in commands.commands
        for key in re.findall(r"config apps\.\{app\}\.(\w+)", hint):
            assert key in AppSpec.model_fields
    if error.__name__ not in ONLY_HTTP:
        shown = error.cli_hint or error.hint
        assert not re.search(r"\b(GET|POST|PUT|DELETE) |detail\.|/service/|/job/|/app/", shown)


def test_codes_are_unique() -> None:
    codes = [error.code for error in LEAVES]
    assert len(set(codes)) == len(codes)


def test_families_are_never_raised_themselves() -> None:
    families = set(ALL) - set(LEAVES)
    assert all("code" not in vars(family) for family in families)
    for name, call in raised():
        assert name not in {family.__name__ for family in families}, ast.unparse(call)


def test_docstring_draws_the_tree() -> None:
    drawn: dict[str, str] = {}
    parents: dict[str, str] = {}
    family = ""
    for line in (errors.__doc__ or "").splitlines():
        if not re.match(r"\s*[│├└]", line):
            continue
        entries = re.findall(r"\b([A-Z][A-Za-z]+)(?: (\d{3}))?(?= ·|  |$)", line)
        if line.lstrip()[0] in "├└" and entries:
            family = entries[0][0]
            parents[family] = "OneGAIError"
        for name, status in entries:
            drawn[name] = status
            parents.setdefault(name, family)
    assert set(drawn) == {error.__name__ for error in ALL}
    for error in ALL:
        name = error.__name__
        assert parents[name] == error.__base__.__name__, name
        if error in LEAVES and name not in SENTENCE_ONLY:
            assert drawn[name] == str(error.status), name


def fields(error: type[OneGAIError]) -> set[str]:
    """The names that its text and its hint are filled from."""
    parsed = string.Formatter().parse(error.text + error.hint + error.cli_hint)
    return {re.split(r"[.[]", name)[0] for _, name, _, _ in parsed if name}


def raised() -> Iterator[tuple[str, ast.Call]]:
    """Every place of the engine that makes an error of the tree."""
    names = {error.__name__ for error in ALL}
    for path in Path(errors.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in names
            ):
                yield node.func.id, node


def test_every_raise_fills_the_texts() -> None:
    kinds = {error.__name__: error for error in ALL}
    seen = set()
    for name, call in raised():
        seen.add(name)
        given = {keyword.arg for keyword in call.keywords}
        assert given >= fields(kinds[name]), f"line {call.lineno}: {ast.unparse(call)}"
    assert len(seen) > 20


def test_detail_is_code_source_hint_and_more() -> None:
    error = errors.ErrorAnswer(
        app="voice", upstream_status=422, reason="no {text}", detail={"answer": "x"}
    )
    assert error.message == str(error) == "voice answered 422: no {text}"
    assert error.detail == {
        "code": "error_answer",
        "src": "voice",
        "hint": "the app's own answer is in detail.answer",
        "cli_hint": "correct the input, or see its log: bash run.sh logs voice",
        "answer": "x",
    }


def test_our_own_errors_are_onegai_s() -> None:
    assert errors.UnknownJob(job="x").detail["src"] == "onegai"
    assert errors.NotInstalled(app="voice").detail["src"] == "onegai"
    for error in below(errors.AppError):
        made = error(app="voice", **dict.fromkeys(fields(error) - {"app"}, 1))
        assert made.detail["src"] == "voice"
