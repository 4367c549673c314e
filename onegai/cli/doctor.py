"""Looks at the machine and at the folder's files, and says what to do about what is wrong.

It changes nothing and loads the func files as the server would. It needs no server, but one that
runs is asked for memory, GPUs, its ports and all that it alone knows.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from onegai.cli.add import LOCAL, listed, version
from onegai.cli.backend import COMMAND, Failure, backend, holder, shown
from onegai.cli.output import marked, size
from onegai.config.home import CHECKOUT, Home
from onegai.errors import ConfigError, OneGAIError

if TYPE_CHECKING:
    from onegai.config.catalog import Catalog
    from onegai.config.settings import Settings
    from onegai.functions.imports import FuncFile
    from onegai.schema import Problem, StatusReport

PYTHONS = ((3, 11), (3, 14))
LITTLE_DISK, ROOMY_DISK = 1 << 30, 10 << 30
GB = 1 << 30
ON_WINDOWS_DISK = "move the folder to your Linux home: models load many times faster there"


Mark = Literal["ok", "note", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``do`` says what to do about it."""

    mark: Mark
    what: str
    do: str = ""


@click.command(short_help="Look for what is wrong, and say what to do.")
@click.pass_context
def doctor(context: click.Context) -> None:
    """Look for what is wrong with the machine and with this folder's files.

    The exit status is 1 if something fails.
    """
    failed = False
    for finding in examine(Home.find()):
        failed = failed or finding.mark == "fail"
        marked(finding.mark, finding.what)
        if finding.do:
            click.echo(f"      {finding.do}")
    context.exit(1 if failed else 0)


def examine(home: Home) -> Iterator[Finding]:
    """Everything that is looked at, in order."""
    yield python(sys.version_info[:2])
    yield from packages(CHECKOUT)
    yield from programs(home)
    yield from disk(home)
    yield from wsl(home, platform.release())
    settings, problems, found = config(home)
    yield from found
    from onegai.config.catalog import load_catalog
    from onegai.functions.funcfiles import FuncFiles

    catalog = load_catalog(home, settings.apps if settings else {})
    files = FuncFiles(home)
    loaded = [files.load(app) for app in catalog.specs]
    status, found = server(home)
    yield from found
    yield from gpu(catalog, status)
    yield from entries(catalog)
    yield from func_files(loaded)
    if status is not None:
        broken = [file.problem for file in loaded if file.problem]
        yield from server_knows(status, [*problems, *catalog.problems, *broken])
    yield from installs(home, catalog)
    yield from ports(home, settings, catalog, status)


def python(version: tuple[int, int]) -> Finding:
    """The Python that runs this."""
    name = f"Python {platform.python_version()}"
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Finding("ok", name)
    low, high = (".".join(map(str, bound)) for bound in PYTHONS)
    return Finding("warn", f"{name} is not tried", f"use {low} to {high}: rm -rf venv, run.sh")


def packages(root: Path) -> Iterator[Finding]:
    """Those of the user's own, for func files."""
    found = {line: version(line) for line in listed(root)}
    for line in (line for line, there in found.items() if there is None):
        yield Finding("warn", f"{line} of {LOCAL} is not installed", f"{COMMAND} add '{line}'")
    if there := [f"{line} ({version})" for line, version in found.items() if version]:
        yield Finding("ok", f"packages for func files: {', '.join(there)}")


def programs(home: Home) -> Iterator[Finding]:
    """What installs are done with."""
    own = home.root / "data" / "tools" / "bin" / "uv"
    uv = os.environ.get("ONEGAI_UV") or shutil.which("uv") or (str(own) if own.is_file() else None)
    if uv and shutil.which(uv):
        yield Finding("ok", f"uv is {uv}")
    elif uv:
        yield Finding("fail", f"uv is {uv}, which does not run", "unset ONEGAI_UV, or correct it")
    else:
        yield Finding("warn", "uv is not there yet", "the next install fetches it")
    for program in ("bash", "git"):
        if shutil.which(program) is None:
            yield Finding("fail", f"{program} is missing", f"sudo apt install {program}")


def disk(home: Home) -> Iterator[Finding]:
    """Room, and the right to use it."""
    free = shutil.disk_usage(home.root).free
    what = f"{free / GB:.1f} GB of disk are free"
    if free < LITTLE_DISK:
        yield Finding("fail", what, f"free some: {COMMAND} du shows what the apps take")
    elif free < ROOMY_DISK:
        yield Finding("warn", what, "an app with its model takes 1 to 20 GB")
    else:
        yield Finding("ok", what)
    for folder in (home.root, home.apps, home.logs):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            do = f"make it yours: sudo chown -R \"$(id -un)\" '{folder}'"
            yield Finding("fail", f"{folder} cannot be written", do)


def wsl(home: Home, release: str) -> Iterator[Finding]:
    """WSL2 says so in its kernel's release."""
    if "microsoft" not in release.lower():
        return
    yield Finding("ok", "this is WSL2")
    if home.root.parts[1:2] == ("mnt",):
        yield Finding("fail", f"{home.root} is on a Windows disk", ON_WINDOWS_DISK)
    if not Path("/usr/lib/wsl/lib/nvidia-smi").exists():
        do = "if there is a GPU: install NVIDIA's driver in Windows, never inside WSL"
        yield Finding("warn", "Windows passes no NVIDIA driver on", do)


def config(home: Home) -> tuple[Settings | None, list[Problem], list[Finding]]:
    """config.json as the server would read it, and its unknown keys."""
    if not home.config.exists():
        return None, [], [Finding("ok", "config.json is made at the first start")]
    from onegai.config.settings import load_settings

    try:
        settings, problems, _made = load_settings(home, {})
    except OneGAIError as error:
        return None, [], [Finding("fail", error.message, error.advice)]
    found = [Finding("warn", problem.in_words(), "correct it") for problem in problems]
    mode = stat.S_IMODE(home.config.stat().st_mode)
    if mode & 0o077:
        found.append(Finding("warn", "others may read config.json", f"chmod 600 '{home.config}'"))
    if settings.open_to_network:
        what = f"{settings.host} is open to the network, and plain HTTP sends the password readably"
        found.append(Finding("warn", what, f"{COMMAND} config host 127.0.0.1 closes it"))
    return settings, problems, found or [Finding("ok", "config.json")]


def gpu(catalog: Catalog, status: StatusReport | None) -> Iterator[Finding]:
    """GPUs, their driver, and who needs them; as a server that runs sees them."""
    from onegai.memory.probe import machine_probe

    try:
        memory = status.memory if status else machine_probe().read({})
    except OneGAIError as error:
        yield Finding("fail", error.message, error.advice)
        return
    says = ", says the server" if status else ""
    ram = f"{size(memory.ram_free)} of {size(memory.ram_total)} RAM are free{says}"
    yield Finding("ok", ram)
    needing = ", ".join(spec.app for spec in catalog.specs.values() if spec.vram and not spec.url)
    if memory.gpus is None:
        do = "see what nvidia-smi says; after a driver update restart the machine (or WSL)"
        yield Finding("fail", f"the NVIDIA driver does not answer{says}", do)
    elif not memory.gpus:
        do = f"these need VRAM and cannot start: {needing}" if needing else ""
        what = f"no NVIDIA GPU{says}: apps run on the CPU"
        yield Finding("warn" if needing else "ok", what, do)
    if memory.fake:
        do = f"unset ONEGAI_FAKE_GPU{' and restart the server' if status else ''} for the real one"
        yield Finding("warn", f"the GPU is pretended{says}", do)
    elif memory.gpus:
        yield Finding("ok", f"NVIDIA driver {_driver()}")
    for card in memory.gpus or ():
        free = f"{size(card.free)} of {size(card.total)} free"
        what = f"GPU {card.index}: {card.name}, {free}{says}"
        yield Finding("ok", what)
        most = max((spec for spec in catalog.specs.values()), key=lambda s: s.vram, default=None)
        if most is not None and most.vram_mib > card.total and len(memory.gpus or ()) == 1:
            what = f"{most.app} declares {most.vram:g} GB of VRAM, more than the card has"
            yield Finding("warn", what, f"{COMMAND} config apps.{most.app}.vram GB corrects it")


def entries(catalog: Catalog) -> Iterator[Finding]:
    """services.json and services.local.json."""
    for problem in catalog.problems:
        broken = not problem.app or problem.app in catalog.broken
        mark: Mark = "note" if problem.remark else "fail" if broken else "warn"
        do = "the app is switched off" if problem.remark else "the other apps go on"
        yield Finding(mark, problem.in_words(), f"correct it there; {do}")
    if not catalog.problems:
        yield Finding("ok", f"{len(catalog.specs)} entries of services.json")


def func_files(files: Collection[FuncFile]) -> Iterator[Finding]:
    """As they load here."""
    problems = [file.problem for file in files if file.problem]
    for problem in problems:
        yield Finding("fail", problem.in_words(), "correct the file; the other apps go on")
    if not problems:
        count = sum(1 for file in files if file.functions)
        yield Finding("ok", f"{count} func files")


def installs(home: Home, catalog: Catalog) -> Iterator[Finding]:
    """What did not end well, and what is unusual."""
    from onegai.apps.installed import InstallState, install_state, remarks

    for spec in catalog.specs.values():
        if install_state(home, spec) is InstallState.BROKEN:
            do = f"{COMMAND} install {spec.app} starts clean"
            yield Finding("warn", f"the last install of {spec.app} did not finish", do)
        for remark in remarks(home, spec):
            yield Finding("note", remark.in_words(), "nothing to do if it is meant so")


def server(home: Home) -> tuple[StatusReport | None, list[Finding]]:
    """What the server of this folder says of itself, if one answers."""
    running = home.running_server()
    if running is None:
        return None, [Finding("ok", f"no OneGAI runs for this folder (start it with {COMMAND})")]
    if "url" not in running:
        return None, [Finding("ok", holder(running))]
    try:
        with backend(home) as onegai:
            status = onegai.status()
    except ConfigError:  # shown above
        return None, [Finding("ok", holder(running))]
    except (Failure, OneGAIError) as error:
        failure = shown(error)
        assert failure is not None
        return None, [Finding("fail", f"{holder(running)}: {failure.message}", failure.hint)]
    return status, [Finding("ok", holder(running))]


def server_knows(status: StatusReport, seen: Iterable[Problem]) -> Iterator[Finding]:
    """What the files themselves do not show: api files, and what the server has read before."""
    known = {(item.file, item.line, item.app, item.key) for item in seen}
    for item in status.problems:
        if (item.file, item.line, item.app, item.key) in known or item.remark:
            continue
        what = f"{item.in_words()}, says the server"
        if item.file.startswith("api/"):
            yield Finding("fail", what, "correct it, restart the server")
        elif item.file == "config.json" and item.key:
            yield Finding("warn", what, "Ctrl-C in its terminal ends it")
        else:
            yield Finding("warn", what, "correct it there; the other apps go on")


def ports(
    home: Home, settings: Settings | None, catalog: Catalog, status: StatusReport | None
) -> Iterator[Finding]:
    """Strangers on the ports of the server and of its apps."""
    if settings is not None and home.running_server() is None:
        who = stranger(settings.host, settings.port)
        if who:
            do = f"stop that program, or choose another: {COMMAND} config port 58081"
            yield Finding("fail", f"port {settings.port} of OneGAI is taken by {who}", do)
    ours = _own_ports(home)
    if status is not None:
        ours |= {item.port for item in status.services if item.port and item.pid}
    specs = [spec for spec in catalog.specs.values() if spec.port and not spec.url]
    for spec in specs:
        port = spec.port or 0
        if port not in ours and (who := stranger("127.0.0.1", port)):
            do = f"stop that program, or choose another: {COMMAND} config apps.{spec.app}.port PORT"
            yield Finding("warn", f"port {port} of {spec.app} is taken by {who}", do)


def stranger(host: str, port: int) -> str | None:
    """Who keeps others from listening there, in words; None: nobody, or not for long."""
    from onegai.process.sockets import CLOSED_WAIT, port_holder, wait_worth

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return error.strerror
            # A start waits for what the kernel frees by itself.
            return port_holder(port) if wait_worth(port) < CLOSED_WAIT else None
    return None


def _own_ports(home: Home) -> set[int]:
    """The ports of services of this home: their processes carry its tag."""
    from onegai.process.sockets import listeners

    return {listener.port for listener in listeners(_tagged(home))}


def _tagged(home: Home) -> Iterable[int]:
    tag = f"ONEGAI_HOME={home.root}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if tag in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
            except OSError:
                continue


def _driver() -> str:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return "(version unknown)"
