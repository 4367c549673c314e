"""What is on the disk: install, update, uninstall, du, and the jobs that do it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import click

from onegai.cli.backend import COMMAND, backend, server_option, worker
from onegai.cli.output import Progress, duration, size, table
from onegai.config.home import Home
from onegai.errors import OneGAIError

if TYPE_CHECKING:
    from onegai.cli.backend import OneGAI
    from onegai.client.client import Client
    from onegai.schema import Job


@click.command()
@click.argument("app")
@server_option
def install(app: str, server: str | None) -> None:
    """Install an app, or join the install that runs."""
    with worker(Home.find(), server) as onegai:
        run_job(onegai, f"installing {app}", f"{app} is installed", lambda: onegai.install(app))


@click.command()
@click.argument("app")
@server_option
def update(app: str, server: str | None) -> None:
    """Install an app anew; its models and voices stay."""
    with worker(Home.find(), server) as onegai:
        run_job(onegai, f"updating {app}", f"{app} is up to date", lambda: onegai.update(app))


@click.command()
@click.argument("app")
@click.option("--purge", is_flag=True, help="remove its models and voices, too")
@server_option
def uninstall(app: str, purge: bool, server: str | None) -> None:
    """Remove an app; its models and voices stay."""
    with worker(Home.find(), server) as onegai:
        run_job(
            onegai,
            f"uninstalling {app}",
            f"{app} is uninstalled",
            lambda: onegai.uninstall(app, purge=purge),
        )


@click.command()
@server_option
def du(server: str | None) -> None:
    """Show how much disk each app takes.

    SHARED is the part that uv's cache or another app holds too (hard links): it takes no more room,
    and an uninstall does not free it.
    """
    with worker(Home.find(), server) as onegai, Progress("measuring", plain=False):
        infos = onegai.apps()
    found = sorted(
        ((info.size or 0, info.shared or 0, app) for app, info in infos.items()), reverse=True
    )
    rows = [(app, size(mib), size(shared)) for mib, shared, app in found if mib]
    sums = (sum(mib for mib, _, _ in found), sum(shared for _, shared, _ in found))
    click.echo(table(("APP", "DISK", "SHARED"), [*rows, ("all", *map(size, sums))]))


@click.command()
@click.option("--follow", metavar="ID", help="show what this one tells until it ends")
@click.option("--cancel", metavar="ID", help="cancel this one")
@server_option
def jobs(follow: str | None, cancel: str | None, server: str | None) -> None:
    """List the jobs of this server's run; follow or cancel one."""
    if follow is not None and cancel is not None:
        raise click.UsageError("--follow and --cancel exclude each other")
    with backend(Home.find(), server) as onegai:
        if follow is not None:
            _follow(onegai, follow)
            return
        if cancel is not None:
            job = onegai.cancel(cancel)
            click.echo(f"{job.kind} {job.app}: {job.state}")
            return
        found = onegai.jobs()
    rows = [(job.id, job.kind, job.app, str(job.state), _took(job)) for job in found]
    click.echo(table(("ID", "KIND", "APP", "STATE", "TIME"), rows))


def _follow(onegai: Client, job_id: str) -> None:
    """A job to its end. Raises its failure."""
    from onegai.protocol import Lines, raise_failure

    lines = Lines()
    with closing(onegai.events(job_id)) as events:
        for event in events:
            for line in lines.feed(event.event, event.data):
                click.echo(line)
            piece = event.data.get("result") if event.event == "output" else None
            if piece is not None and not isinstance(piece, str):
                click.echo(json.dumps(piece, ensure_ascii=False, separators=(",", ":")))
    if lines.rest:
        click.echo(lines.rest)
    raise_failure(onegai.job(job_id))


def _took(job: Job) -> str:
    return duration((job.ended or time.time()) - (job.started or job.created))


def run_job(onegai: OneGAI, doing: str, done: str, begin: Callable[[], Job]) -> None:
    """Begin a job and stay with it to its end."""
    with Progress(doing) as progress:
        job = begin()
        try:
            for line in onegai.follow(job):
                progress.say(line)
        except OneGAIError as error:
            if progress.keeps_lines:
                error.extra.pop("log", None)  # they have just been said
            raise
        except KeyboardInterrupt:
            if onegai.url is not None:
                hint = f"{doing} goes on: {COMMAND} jobs --cancel {job.id} ends it"
                click.echo(f"\n{hint}", err=True)
            raise
    click.echo(f"{done} ({progress.elapsed})")
