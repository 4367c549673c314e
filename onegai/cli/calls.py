"""Calling a function: arguments from words, the answer to the terminal or to a file."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from onegai.cli.backend import COMMAND, WRONG, Failure, server_option, worker
from onegai.cli.output import Progress, marked
from onegai.config.home import Home
from onegai.errors import OneGAIError

if TYPE_CHECKING:
    from onegai.cli.backend import OneGAI
    from onegai.protocol import Answer
    from onegai.schema import FileForm, FunctionInfo

_ARGUMENT = re.compile(r"(?P<key>[^=:@\s]+)(?P<kind>:=|=@|=|@)(?P<value>.*)", re.DOTALL)
_HEAD = 1 << 16
_BINARY_HINT = "save it with -o FILE, or send it to another program"


@click.command(short_help="Call a function of an app.", add_help_option=False)
@click.argument("app", required=False, metavar="APP")
@click.argument("words", nargs=-1, metavar="[FUNCTION] [KEY=VALUE]...")
@click.option("-o", "--output", metavar="FILE", help="write the answer there; - for stdout")
@click.option("--json", "whole", is_flag=True, help="print the whole envelope")
@click.option("-h", "--help", "helped", is_flag=True, help="show this, or what FUNCTION takes")
@server_option
@click.pass_context
def call(
    context: click.Context,
    app: str | None,
    words: tuple[str, ...],
    output: str | None,
    whole: bool,
    helped: bool,
    server: str | None,
) -> None:
    """Call a function of an app, and start the app if it does not run.

    \b
    key=text     a text
    key:=JSON    a number, true, a list, …
    key=@FILE    the file (- for stdin); for an argument that is no file what is in it:
                 text, or base64 where it is binary
    key@FILE     the same

    FUNCTION is main; with -o it is raw, whose answer is bare bytes.
    """
    if app is None:
        if not helped:
            raise click.UsageError("Missing argument 'APP'.")
        click.echo(context.get_help())
        return
    if whole and output is not None:
        raise click.UsageError("--json and -o exclude each other")
    named = bool(words) and words[0].isidentifier()
    function = words[0] if named else "raw" if output is not None else "main"
    if helped:
        click.echo(_explained(app, function, server))
        return
    if output is not None:
        _check_writable(output)
    progress = Progress(f"calling {app}/{function}", plain=False)
    answer = _answered(app, function, words[1:] if named else words, server, progress)
    if answer.problem:
        marked("warn", answer.problem, err=True)
    if output is not None:
        content = _bytes(answer)
        _write(output, content)
        if output != "-":
            click.echo(f"{len(content)} bytes in {output} ({progress.elapsed})", err=True)
    elif whole:
        click.echo(_envelope(answer))
    else:
        _print(answer)


def _answered(
    app: str, function: str, words: Iterable[str], server: str | None, progress: Progress
) -> Answer:
    from onegai.files.file import file_fields

    with ExitStack() as until_answered:
        arguments = parse(words, until_answered)
        onegai = until_answered.enter_context(worker(Home.find(), server))
        until_answered.enter_context(progress)
        known = _known(onegai, app, function) if arguments else None
        if known is not None:
            _check_names(f"{app}/{function}", arguments, known.arguments)
        files = None if known is None else file_fields(known.arguments)
        # Without a server nothing is behind a link to a file.
        form: FileForm = "base64" if onegai.url is None else "url"
        return onegai.answer(app, function, sent(arguments, files), files=form)


def _explained(app: str, function: str, server: str | None) -> str:
    """What the function does and takes. Raises Failure where there is none."""
    from onegai.cli.explain import explained

    with worker(Home.find(), server) as onegai, Progress(f"asking for {app}", plain=False):
        known = _known(onegai, app, function)
        if known is not None:
            takes = explained(f"{COMMAND} call {app} {function}", known.arguments)
            return f"{known.about}\n\n{takes}" if known.about else takes
        apps = onegai.apps()
        if app not in apps:
            hint = f"the apps are: {', '.join(sorted(apps))}"
            raise Failure(f"there is no app {app!r}", hint, status=WRONG)
        names = ", ".join(item.name for item in apps[app].functions)
        hint = f"it has: {names}" if names else f"see {COMMAND} doctor"
        raise Failure(f"{app} has no function {function!r}", hint, status=WRONG)


def _known(onegai: OneGAI, app: str, function: str) -> FunctionInfo | None:
    """None where there is no such function; a route of an api file may have that name."""
    try:
        return onegai.function(app, function)
    except OneGAIError as error:
        if error.status != 404:
            raise
        return None


@dataclass(frozen=True)
class FromFile:
    """What is in a file that an argument names."""

    path: Path


def parse(words: Iterable[str], until_answered: ExitStack) -> dict[str, Any]:
    """The arguments that the words say; those of files as FromFile. Raises Failure.

    What stdin and other pipes give is in a temporary file, which ``until_answered`` removes.
    """
    arguments: dict[str, Any] = {}
    for word in words:
        if (found := _ARGUMENT.fullmatch(word)) is None:
            raise Failure(
                f"{word!r} is no argument", "write key=text, key:=JSON or key=@FILE", status=WRONG
            )
        key, value = found["key"], found["value"]
        if key in arguments:
            raise Failure(f"{key} stands there twice", "name it once", status=WRONG)
        match found["kind"]:
            case "=":
                arguments[key] = value
            case ":=":
                arguments[key] = _json(key, value)
            case _:
                arguments[key] = _from_file(key, value, until_answered)
    return arguments


def argument_names(schema: Mapping[str, Any]) -> set[str] | None:
    """What a JSON Schema of an object lets its keys be; None: anything."""
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    names: set[str] = set()
    pending = [schema]
    while pending:
        part = pending.pop()
        if (reference := part.get("$ref")) is not None:
            pending.append(definitions[reference.rpartition("/")[2]])
            continue
        choices = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
        if choices:
            pending += choices
        elif part.get("additionalProperties", "properties" not in part):
            return None
        names |= set(part.get("properties", ()))
    return names


def _check_names(function: str, arguments: Iterable[str], schema: Mapping[str, Any]) -> None:
    """A function ignores keys that it does not know; a mistyped one had better be said."""
    names = argument_names(schema)
    unknown = [key for key in arguments if names is not None and key not in names]
    if unknown:
        raise Failure(
            f"{function} has no argument {', '.join(map(repr, unknown))}",
            f"it takes {', '.join(sorted(names or ())) or 'none'}",
            status=WRONG,
        )


def _json(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(
            f"{key}: {text!r} is not JSON: {error}", f"a text is written {key}=TEXT", status=WRONG
        ) from None


def sent(arguments: Mapping[str, Any], files: Collection[str] | None) -> dict[str, Any]:
    """The arguments of the call: FromFile is a file where its key is in ``files``, else text.

    Where ``files`` is not known, it is a file if it is no text.
    """

    def given(key: str, path: Path) -> str | Path:
        if files is not None and key in files:
            return path
        if (text := _text(path)) is not None:
            return text
        return path if files is None else base64.b64encode(path.read_bytes()).decode()

    return {
        key: given(key, value.path) if isinstance(value, FromFile) else value
        for key, value in arguments.items()
    }


def _text(path: Path) -> str | None:
    """What is in a file; None if that is no text in UTF-8."""
    with path.open("rb") as file:
        if b"\0" in file.read(_HEAD):
            return None
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _from_file(key: str, name: str, until_answered: ExitStack) -> FromFile:
    from onegai.files.local import readable_size

    try:
        if name == "-":
            return FromFile(_spooled(sys.stdin.buffer, until_answered))
        if not name:
            raise ValueError("there is no name of a file behind @")
        path = Path(name).absolute()
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("rb") as pipe:
                return FromFile(_spooled(pipe, until_answered))
        readable_size(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None)
        raise Failure(
            f"{key}: cannot read {name}: {reason}" if reason else f"{key}: {error}",
            f"a text that begins with @ is written {key}:='\"@…\"'",
            status=WRONG,
        ) from None
    return FromFile(path)


def _spooled(pipe: BinaryIO, until_answered: ExitStack) -> Path:
    """A file with all that comes from a pipe, named by what it is."""
    from onegai.files.file import File, suffix_of

    folder = until_answered.enter_context(tempfile.TemporaryDirectory(prefix="onegai-"))
    path = Path(folder, "file")
    with path.open("wb") as copy:
        shutil.copyfileobj(pipe, copy)
    return path.rename(path.with_suffix(suffix_of(File(path).media_type)))


def _check_writable(output: str) -> None:
    """Before the call, which may take long. Raises Failure."""
    path = Path(output)
    if output == "-":
        if sys.stdout.isatty():
            raise Failure("-o - wants stdout to be a file or a program", status=WRONG)
        return
    if path.is_dir():
        reason = "it is a folder"
    elif not path.parent.is_dir():
        reason = "there is no such folder"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "not permitted"
    else:
        return
    raise Failure(f"cannot write to {output}: {reason}", "name another file", status=WRONG)


def _write(output: str, content: bytes) -> None:
    """Raises Failure; BrokenPipeError where stdout is closed."""
    if output == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        try:
            Path(output).write_bytes(content)
        except OSError as error:
            raise Failure(f"cannot write to {output}: {error.strerror or error}") from None


def _bytes(answer: Answer) -> bytes:
    """The bare answer; of an envelope the result, without its base64 where it has one."""
    if answer.envelope is None:
        return answer.content
    result = answer.envelope["result"]
    if _is_base64(answer.envelope):
        return base64.b64decode(result)
    return result.encode() if isinstance(result, str) else _pretty(result).encode()


def _envelope(answer: Answer) -> str:
    if answer.envelope is not None:
        return _pretty(answer.envelope)
    raise Failure(
        f"the answer is {answer.media_type}, without an envelope",
        "main has one; or leave out --json",
        status=WRONG,
    )


def _print(answer: Answer) -> None:
    """Text and JSON for people; bytes only to where they belong."""
    terminal = sys.stdout.isatty()
    if answer.envelope is not None and _is_base64(answer.envelope):
        if terminal:
            detail = answer.envelope["detail"]
            _refuse_binary(f"{detail['size']} bytes of {detail['media_type']}")
        _write("-", _bytes(answer))
    elif answer.envelope is not None:
        result = answer.envelope["result"]
        click.echo(result if isinstance(result, str) else _pretty(result))
    elif terminal:
        if not answer.media_type.startswith(("text/", "application/json")):
            _refuse_binary(f"{len(answer.content)} bytes of {answer.media_type}")
        click.echo(answer.content.decode("utf-8", "replace").removesuffix("\n"))
    else:
        _write("-", answer.content)


def _refuse_binary(what: str) -> None:
    raise Failure(f"the answer is {what}: not for a terminal", _BINARY_HINT, status=WRONG)


def _is_base64(envelope: dict[str, Any]) -> bool:
    """The engine makes main from raw that way, and says so in ``detail``."""
    return isinstance(envelope["result"], str) and {"media_type", "size"} <= set(envelope["detail"])


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
