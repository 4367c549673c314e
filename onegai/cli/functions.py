"""What can be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onegai.cli.backend import COMMAND, server_option, worker
from onegai.cli.output import Progress, table
from onegai.config.home import Home

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onegai.schema import FunctionInfo


@click.command(short_help="List the functions of an app, and what they take.")
@click.argument("app", required=False, metavar="[APP]")
@click.option("--start", is_flag=True, help="start APP, which may tell of them when it runs")
@server_option
def functions(app: str | None, start: bool, server: str | None) -> None:
    """List the functions of an app, and what they take; without APP those of all apps."""
    if start and app is None:
        raise click.UsageError("--start needs an APP")
    with worker(Home.find(), server) as onegai:
        if app is None:
            click.echo(_all(onegai.functions()))
            return
        if start:
            with Progress(f"starting {app}", plain=False):
                onegai.start(app)
        click.echo(_of(app, onegai.functions_of(app)))


def _all(functions: Mapping[str, Sequence[FunctionInfo]]) -> str:
    rows = [
        (app, info.name, info.summary)
        for app, found in sorted(functions.items())
        for info in found
        if not info.derived
    ]
    return table(("APP", "FUNCTION", ""), rows) if rows else "there is no function"


def _of(app: str, functions: Sequence[FunctionInfo]) -> str:
    from onegai.cli.explain import explained

    if not functions:
        return (
            f"no function of {app} is known. An app may tell of its functions when it runs: "
            f"{COMMAND} functions {app} --start; what it does not tell, {COMMAND} doctor says why"
        )
    parts = []
    for info in functions:
        takes = explained(f"{COMMAND} call {app} {info.name}", info.arguments)
        parts.append(f"{info.about}\n\n{takes}" if info.about else takes)
    return "\n\n\n".join(parts)
