"""The command line. docs/commands.md says what every command does and the exit statuses."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import NoReturn

import click

from onegai import __version__
from onegai.cli import add, apps, calls, config, doctor, functions, remove, services
from onegai.cli.backend import FAILED, WRONG, Failure, shown
from onegai.cli.new import new
from onegai.cli.output import protect_terminals
from onegai.config.home import Home
from onegai.threads import leave_stuck_threads

INTERRUPTED = 130
TRACEBACK = "ONEGAI_TRACEBACK"
"""Set: an error that nobody foresaw is shown with its traceback."""


class InOrder(click.Group):
    """Lists its commands as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names."""
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onegai")
@click.pass_context
def commands(context: click.Context) -> None:
    """One polite Web API server in front of every generative AI app on your machine."""
    if context.invoked_subcommand != "serve":  # what runs in it may draw
        protect_terminals()


@commands.command()
@click.option("--host", help="address to listen on; 0.0.0.0 opens it to the network; remembered")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="port to listen on; remembered; 0: any free one"
)
def serve(host: str | None, port: int | None) -> None:
    """Serve until Ctrl-C."""
    from onegai.server.serve import serve as run_server

    run_server(Home.find(), host=host, port=port)


@commands.command(short_help="Let two small real AI apps answer and speak.")
@click.option("--ja", is_flag=True, help="speak Japanese, too (openjtalk)")
@click.option("--ask", default=None, help="the question to ask")
def demo(ja: bool, ask: str | None) -> None:
    """Install two small real AI apps, ask one a question, have the other speak the answer."""
    from onegai.cli.demo import run_demo

    run_demo(Home.find(), japanese=ja, question=ask)


@click.command()
def version() -> None:
    """Show the version of OneGAI."""
    click.echo(f"onegai {__version__} (Python {sys.version.partition(' ')[0]}, {Home.find().root})")


for command in (
    *(new.new, remove.remove, add.add),
    *(apps.install, apps.update, apps.uninstall),
    *(services.start, services.stop, services.restart, services.ps, services.plan, services.logs),
    *(calls.call, functions.functions),
    *(apps.jobs, apps.du),
    *(config.config, doctor.doctor, version),
):
    commands.add_command(command)


def main() -> NoReturn:
    """Run a command; errors are one line and a hint, never a traceback."""
    _have_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        status = _run()
    except SystemExit as end:  # by a signal
        status = end.code if isinstance(end.code, int) else FAILED
    if status == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has been heard
    if status:
        leave_stuck_threads(status)
    gc.freeze()  # all of it ends now: Python need not look what of it is garbage
    sys.exit(status)


def _have_streams() -> None:
    """Who started us may have closed them (``>&-``); what is opened next would take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(lowest, "w" if number else "r"))


def _run() -> int:
    """The exit status."""
    try:
        # Not click's own main(): that has ideas of its own about Ctrl-C and closed pipes.
        with commands.make_context("onegai", sys.argv[1:]) as context:
            commands.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped" if sys.stderr.isatty() else "stopped", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads our output has enough (``| head``); the interpreter flushes once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        failure = shown(error) or Failure(
            f"OneGAI itself failed: {type(error).__name__}: {error}",
            f"please report it; {TRACEBACK}=1 shows where",
            status=FAILED,
        )
        return _show(failure)
    return 0


def _show(failure: Failure) -> int:
    for line in failure.lines:
        click.echo(f"    {line}", err=True)
    click.echo(f"onegai: {failure.message}", err=True)
    if failure.hint:
        click.echo(f"        {failure.hint}", err=True)
    return failure.status
