"""The command line: serve and demo. Exit status: 0 done, 1 failed, 2 wrong input or config."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from onegai import __version__
from onegai.errors import ConfigError, HomeLocked, OneGAIError
from onegai.home import Home


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onegai")
def commands() -> None:
    """One polite Web API server in front of every generative AI app on your machine."""


@commands.command()
@click.option("--host", help="address to listen on; 0.0.0.0 opens it to the network; remembered")
@click.option("--port", type=click.IntRange(0, 65535), help="port to listen on; 0: any free one")
def serve(host: str | None, port: int | None) -> None:
    """Serve until Ctrl-C."""
    from onegai.server import serve as run_server

    run_server(Home.find(), host=host, port=port)


@commands.command()
@click.option("--ja", is_flag=True, help="speak Japanese, too (openjtalk)")
@click.option("--ask", default=None, help="the question to ask")
def demo(ja: bool, ask: str | None) -> None:
    """Install two small real AI apps, ask one a question, have the other speak the answer."""
    from onegai.demo import run_demo

    run_demo(Home.find(), japanese=ja, question=ask)


def main() -> NoReturn:
    """Run a command; errors are one line and a hint, never a traceback."""
    try:
        commands(standalone_mode=False)
        sys.exit(0)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except OneGAIError as error:
        click.echo(f"onegai: {error.message}", err=True)
        if error.advice:
            click.echo(f"        {error.advice}", err=True)
        sys.exit(2 if isinstance(error, ConfigError | HomeLocked) else 1)
    except OSError as error:
        click.echo(f"onegai: {error.filename or 'system'}: {error.strerror or error}", err=True)
        sys.exit(1)
