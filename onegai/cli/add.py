"""``onegai add``: Python packages for func files, in OneGAI's own venv.

requirements/local.txt lists them; setup/onegai.sh installs them, and again where it makes the venv
anew. What OneGAI itself needs stays as it is pinned.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import click

from onegai.cli.backend import COMMAND, WRONG, Failure
from onegai.config.home import CHECKOUT

LOCAL = "requirements/local.txt"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_REQUIREMENT = re.compile(_NAME.pattern + r"\s*(\[[\w,. -]*\])?\s*([<>=!~@;][^\r\n\0]*)?")
"""PEP 508, roughly: what may stand behind it is for uv to say."""


@click.command(short_help="Install Python packages for func files.")
@click.argument("packages", nargs=-1, required=True, metavar="PACKAGE...")
@click.option("--remove", is_flag=True, help="take them out again")
def add(packages: tuple[str, ...], remove: bool) -> None:
    """Install Python packages for func files to import.

    PACKAGE is NAME, NAME==1.2.3 or NAME @ URL. A package that changes one of OneGAI's own is
    refused. Func files that lacked it work at once.
    """
    names = [_name(package) for package in packages]
    data = CHECKOUT / "data"
    if not (CHECKOUT / "setup" / "onegai.sh").is_file():
        raise Failure("this OneGAI was not set up by run.sh", "install them by pip", status=WRONG)
    data.mkdir(exist_ok=True)
    with (data / ".local.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if remove:
            _take_out(names)
        else:
            _put_in(names, packages)


def listed(root: Path) -> list[str]:
    """The lines of requirements/local.txt that name a package."""
    return [line.strip() for line in _lines(root) if _named(line)]


def version(requirement: str) -> str | None:
    """The installed version of what a requirement names; None: it is not installed."""
    try:
        return metadata.version(_named(requirement))
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _put_in(names: Sequence[str], packages: Sequence[str]) -> None:
    _adopt([*_others(names), *packages], [])
    click.echo(f"{', '.join(names)}: installed, and listed in {LOCAL}")


def _take_out(names: Sequence[str]) -> None:
    there = {_named(line) for line in listed(CHECKOUT)}
    if missing := [name for name in names if name not in there]:
        raise Failure(
            f"{LOCAL} does not list {', '.join(missing)}",
            f"it lists: {', '.join(sorted(there)) or 'nothing'}",
            status=WRONG,
        )
    _adopt(_others(names), [name for name in names if name not in _own()])
    click.echo(f"{', '.join(names)}: taken out")


def _lines(root: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return (root / LOCAL).read_text(encoding="utf-8").splitlines()
    return []


def _others(names: Sequence[str]) -> list[str]:
    """The lines that do not name any of these packages, comments and options of the user's too."""
    return [line for line in _lines(CHECKOUT) if _named(line) not in names]


def _adopt(lines: Iterable[str], gone: Sequence[str]) -> None:
    """Make these the packages. Raises Failure; all is as it was then."""
    wanted = CHECKOUT / f"{LOCAL}.new"
    wanted.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    try:
        script = CHECKOUT / "setup" / "onegai.sh"
        done = subprocess.run(["bash", script, "--local", wanted, *gone], check=False)
    finally:
        wanted.unlink(missing_ok=True)
    if done.returncode:
        raise Failure(f"nothing was changed; {LOCAL} is as it was", "see the lines above")


def _own() -> set[str]:
    """The packages of the locks that are installed: OneGAI's own, and those of its tests."""
    stamp = (CHECKOUT / "venv" / ".onegai-stamp").read_text(encoding="utf-8")
    locks = (CHECKOUT / "requirements" / f"{line.split()[0]}.lock" for line in stamp.splitlines())
    text = "".join(lock.read_text(encoding="utf-8") for lock in locks if lock.is_file())
    return {_named(found) for found in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def _name(requirement: str) -> str:
    """The name in what a user asks for. Raises Failure."""
    if not _REQUIREMENT.fullmatch(requirement):
        raise Failure(
            f"{requirement!r} is no name of a package",
            f"{COMMAND} add NAME, NAME==1.2.3 or 'NAME @ URL'",
            status=WRONG,
        )
    return _named(requirement)


def _named(line: str) -> str:
    """As package indexes compare names (PEP 503); empty: it names none."""
    found = _NAME.match(line.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""
