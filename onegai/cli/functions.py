"""What can be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onegai.cli.backend import COMMAND, server_option, worker
from onegai.cli.output import table
from onegai.config.home import Home

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onegai.schema import FunctionInfo


@click.command(short_help="List the functions of an app, and what they take.")
@click.argument("app", required=False, metavar="[APP]")
@server_option
def functions(app: str | None, server: str | None) -> None:
    """List the functions of an app, and what they take; without APP those of all apps."""
    with worker(Home.find(), server) as onegai:
        if app is None:
            click.echo(_all(onegai.functions()))
        else:
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
            f"no function of {app} is known. An app that describes itself tells of its functions "
            f"when it runs: {COMMAND} start {app}"
        )
    parts = []
    for info in functions:
        takes = explained(f"{COMMAND} call {app} {info.name}", info.arguments)
        parts.append(f"{info.about}\n\n{takes}" if info.about else takes)
    return "\n\n\n".join(parts)
