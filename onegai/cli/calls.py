"""Calling a function: what it gives goes to the terminal or to a file as it comes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import click

from onegai.cli.answers import Screen, Written, pretty
from onegai.cli.arguments import check_names, parse, sent
from onegai.cli.backend import COMMAND, WRONG, Failure, server_option, worker
from onegai.cli.output import Progress, marked
from onegai.config.home import Home
from onegai.errors import NoService, OneGAIError

if TYPE_CHECKING:
    from onegai.cli.backend import OneGAI
    from onegai.protocol import Answer
    from onegai.schema import Event, FileForm, FunctionInfo


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
    key=text     a text, or the number, true, … that it stands for where the argument is one
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
    progress = Progress(f"calling {app}/{function}", plain=False)
    with ExitStack() as until_done:
        arguments = parse(words[1:] if named else words, until_done)
        onegai = until_done.enter_context(worker(Home.find(), server))
        bare, links = function == "raw", onegai.url is not None
        target: Screen | Written
        if output is None:
            target = Screen(bare=bare, links=links, begin=progress.end)
        else:
            target = until_done.enter_context(Written(output, bare=bare, links=links))
        until_done.enter_context(progress)
        known = _known(onegai, app, function)
        if known is None and not onegai.functions_of(app):
            known = _told(onegai, app, function)
        given = _given(f"{app}/{function}", arguments, known)
        files = _file_form(onegai, known)
        if whole:
            answer = onegai.answer(app, function, given, files=files)
            progress.end()
            _print_envelope(answer)
        else:
            _read(onegai.stream(app, function, given, files=files), target, progress)
    if isinstance(target, Written) and output != "-":
        click.echo(f"{target.size} bytes in {output} ({progress.elapsed})", err=True)


def _given(
    function: str, arguments: Mapping[str, Any], known: FunctionInfo | None
) -> dict[str, Any]:
    """The arguments as they are sent. Raises Failure for one that the function does not know."""
    from onegai.files.file import file_fields
    from onegai.functions.texts import kinds_of

    if known is None:
        return sent(arguments, None)
    check_names(function, arguments, known.arguments)
    return sent(arguments, file_fields(known.arguments), kinds_of(known.arguments))


def _file_form(onegai: OneGAI, known: FunctionInfo | None) -> FileForm:
    """Pieces are shown as they come, so their bytes come with them.

    Without a server nothing is behind a link.
    """
    return "base64" if onegai.url is None or known is None or known.streams else "url"


def _print_envelope(answer: Answer) -> None:
    """Raises Failure where there is none."""
    if answer.envelope is None:
        raise Failure(
            f"the answer is {answer.media_type}, without an envelope",
            "main has one; or leave out --json",
            status=WRONG,
        )
    if answer.problem:
        marked("warn", answer.problem, err=True)
    click.echo(pretty(answer.envelope))


def _read(
    events: Generator[Event, None, None], target: Screen | Written, progress: Progress
) -> None:
    """A call to its end. Raises its failure."""
    from onegai.protocol import failure, line_of

    with closing(events):
        for event in events:
            match event.event:
                case "output" if event.data.get("replaces"):
                    pass  # done has the last of them, which is the result
                case "output":
                    target.piece(event.data["result"])
                case "done":
                    progress.end()
                    target.end(event.data["result"], event.data["detail"])
                    _warn(event.data["detail"])
                case "error":
                    raise failure(event.data)
                case _ if line := line_of(event.event, event.data):
                    progress.say(line)


def _warn(detail: Mapping[str, Any]) -> None:
    """Say why the function may not be what its file says."""
    from onegai.schema import Problem

    with suppress(ValueError):
        marked("warn", Problem.model_validate(detail.get("problem")).in_words(), err=True)


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


def _told(onegai: OneGAI, app: str, function: str) -> FunctionInfo | None:
    """What it is once its app runs, which may then tell of it."""
    try:
        onegai.start(app)
    except OneGAIError as error:
        if error.code == NoService.code:
            return None
        raise
    return _known(onegai, app, function)


def _known(onegai: OneGAI, app: str, function: str) -> FunctionInfo | None:
    """None where there is no such function; a route of an api file may have that name."""
    try:
        return onegai.function(app, function)
    except OneGAIError as error:
        if error.status != 404:
            raise
        return None
