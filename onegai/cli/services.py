"""What runs: start, stop, restart, ps, logs."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import click

from onegai.cli.backend import COMMAND, NO_SERVER, Failure, backend, server_option
from onegai.cli.output import (
    ERASE_BELOW,
    HIDE_CURSOR,
    HOME,
    SHOW_CURSOR,
    Progress,
    draw,
    duration,
    is_live,
    size,
    table,
)
from onegai.config.home import Home
from onegai.errors import NoService
from onegai.process.escapes import clean

if TYPE_CHECKING:
    from onegai.client.client import Client
    from onegai.schema import MemoryStatus, ServiceStatus, StatusReport

WATCH_SECONDS = 1.0
_COLUMNS = ("APP", "STATE", "FOR", "PID", "PORT", "CALLS", "WAIT", "RAM", "VRAM")
_UNREMARKABLE = ("absent", "stopped")


@click.command()
@click.argument("app")
@click.option("--restart", is_flag=True, help="stop it first, if it runs")
@server_option
def start(app: str, restart: bool, server: str | None) -> None:
    """Start an app's service and wait until it is ready."""
    with backend(Home.find(), server) as onegai:
        _start(onegai, app, restart=restart)


@click.command()
@click.argument("app")
@server_option
def restart(app: str, server: str | None) -> None:
    """Stop an app's service, if it runs, and start it."""
    with backend(Home.find(), server) as onegai:
        _start(onegai, app, restart=True)


@click.command()
@click.argument("app", required=False)
@click.option("--all", "everything", is_flag=True, help="every service: frees the GPU")
@click.option("--force", is_flag=True, help="do not wait for the calls that use it")
@server_option
def stop(app: str | None, everything: bool, force: bool, server: str | None) -> None:
    """Stop an app's service, or all of them."""
    if (app is None) is not everything:
        raise click.UsageError("name one app, or --all")
    if server is None and (left := _left(home := Home.find())):
        _end(home, [name for name in left if app in (None, name)])
        return
    with backend(Home.find(), server) as onegai:
        with Progress(f"stopping {app or 'everything'}", plain=False):
            stopped = onegai.stop(app or "*", force=force)
        for status in stopped:
            click.echo(f"{status.app} is {status.state}")
        if not stopped:
            click.echo("nothing runs")


@click.command()
@click.option("--watch", is_flag=True, help="look again every second, until Ctrl-C")
@server_option
def ps(watch: bool, server: str | None) -> None:
    """List the services: states, calls, memory."""
    if server is None and (left := _left(Home.find())):
        names = " and ".join(sorted(left))
        raise Failure(
            f"no server runs for this folder, but these live on: {names}",
            f"the next server goes on with them; {COMMAND} stop --all ends them",
            status=NO_SERVER,
        )
    with backend(Home.find(), server) as onegai:
        if watch:
            _watch(onegai)
        else:
            click.echo(report(onegai.status(), time.time()))


@click.command()
@click.argument("app")
@server_option
def plan(app: str, server: str | None) -> None:
    """Say what a start would do now; nothing is changed."""
    with backend(Home.find(), server) as onegai:
        click.echo(onegai.plan(app).text)


@click.command()
@click.argument("app")
@click.option("-f", "--follow", is_flag=True, help="go on with new lines, until Ctrl-C")
@click.option(
    "-n", "--tail", type=click.IntRange(0, 100_000), default=200, help="how many of the last lines"
)
@server_option
def logs(app: str, follow: bool, tail: int, server: str | None) -> None:
    """Show the log of an app's service. The one of this folder is read even without a server."""
    home = Home.find()
    if server is None and "url" not in (home.running_server() or {}):
        _from_disk(home, app, tail, follow=follow)
        return
    with backend(home, server) as onegai:
        if not follow:
            click.echo(onegai.logs(app, tail), nl=False)
            return
        for line in onegai.log_follow(app, tail):
            click.echo(line)
        raise Failure("the server has ended", status=NO_SERVER)


def _from_disk(home: Home, app: str, tail: int, *, follow: bool) -> None:
    """Without a log, raises NoService or what is wrong with the app's entry."""
    from onegai.config.catalog import bad_name, load_catalog
    from onegai.process.logfile import LogFile

    if bad_name(app) or not home.app_log(app).is_file():
        if not load_catalog(home, {}).spec(app).has_service:
            raise NoService(app=app)
        raise Failure(f"{app} has no log yet", "its first start makes one")
    log = LogFile(home.app_log(app))

    async def shown() -> None:
        if not follow:
            click.echo("".join(f"{line}\n" for line in log.tail(tail)), nl=False)
            return
        async for line in log.follow(tail):
            click.echo(line)

    asyncio.run(shown())


def report(status: StatusReport, now: float) -> str:
    """What ``ps`` shows."""
    services = status.services
    lines = [table(_COLUMNS, [_row(item, now) for item in services]), "", *_memory(status.memory)]
    lines += [f"{item.app}: {why}" for item in services if (why := _why_down(item, now))]
    lines += [f"{item.app}: {problem}" for item in services for problem in item.problems]
    if status.functions_only:
        lines.append(f"functions only: {', '.join(status.functions_only)}")
    if count := len(status.problems):
        lines.append(f"problems: {count} ({COMMAND} doctor)")
    return "\n".join(lines)


def _why_down(service: ServiceStatus, now: float) -> str:
    """Why it does not serve; empty where there is nothing to say."""
    stop = service.last_stop
    if service.reason or stop is None or service.state == "ready":
        return service.reason
    return f"{stop.text}, {duration(max(0.0, now - stop.at))} ago"


def _row(service: ServiceStatus, now: float) -> tuple[str, ...]:
    """The VRAM that it counts for, since WSL2 gives no figure of each process."""
    idle = service.state in _UNREMARKABLE
    return (
        service.app,
        "unresponsive" if service.unresponsive else service.state,
        "" if idle else duration(max(0.0, now - service.since)),
        str(service.pid or ""),
        str(service.port or ""),
        str(service.leases or ""),
        str(max(service.waiting, service.queued) or ""),
        size(service.rss) if service.rss else "",
        size(max(service.vram, service.vram_learnt or 0)) if service.vram else "",
    )


def _memory(memory: MemoryStatus) -> list[str]:
    lines = [f"RAM: {size(memory.ram_free)} of {size(memory.ram_total)} free"]
    if memory.gpus is None:
        lines.append("GPU: the driver does not answer")
    for gpu in memory.gpus or ():
        free = f"{size(gpu.free)} of {size(gpu.total)} free"
        others = f", {size(gpu.others)} used by other programs" if gpu.others else ""
        lines.append(f"GPU {gpu.index}: {free}{others} ({gpu.name})")
    if memory.fake:
        lines.append("THE GPU IS A FAKE: ONEGAI_FAKE_GPU is set")
    return lines


def _left(home: Home) -> list[str]:
    """The apps of which anything runs on though no OneGAI does."""
    if home.running_server() is not None:
        return []
    from onegai.supervisor import left

    return list(left.find(home))


def _end(home: Home, apps: list[str]) -> None:
    from onegai.supervisor import left

    with home.lock():
        for app in apps:
            with Progress(f"stopping {app}", plain=False):
                asyncio.run(left.end(home, app))
            click.echo(f"{app} is stopped")
    if not apps:
        click.echo("nothing runs")


def _start(onegai: Client, app: str, *, restart: bool) -> None:
    with Progress(f"{'restarting' if restart else 'starting'} {app}") as progress:
        status = onegai.start(app, restart=restart)
    where = f" at {status.url}" if status.url else ""
    click.echo(f"{app} is {status.state}{where} ({progress.elapsed})")


def _watch(onegai: Client) -> None:
    """Draw over the last picture; where nothing can be drawn, one below the other."""
    live = is_live(sys.stdout)
    try:
        if live:
            draw(HIDE_CURSOR + HOME + ERASE_BELOW, sys.stdout)
        while True:
            text = report(onegai.status(), time.time())
            if live:
                # Each line ends with an erasure to its right.
                lines = clean(text).replace("\n", "\x1b[K\n")
                draw(f"{HOME}{lines}\x1b[K\n{ERASE_BELOW}", sys.stdout)
            else:
                click.echo(text)
            time.sleep(WATCH_SECONDS)
    finally:
        if live:
            draw(SHOW_CURSOR, sys.stdout)
