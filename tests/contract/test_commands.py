"""docs/commands.md names every command, argument, option and exit status, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from test_documents import names, rows

from onegai.cli import backend
from onegai.cli import main as cli


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs" / "commands.md").read_text()


def usage(name: str, command: click.Command) -> str:
    """A command with its arguments, as click writes them."""
    context = click.Context(command)
    arguments = [item for item in command.params if isinstance(item, click.Argument)]
    return " ".join([name, *(item.make_metavar(context) for item in arguments)])


def test_commands_with_their_arguments(text: str) -> None:
    documented = [names(row[0])[0] for row in rows(text, "command")]
    assert documented == [usage(*item) for item in cli.commands.commands.items()]


def test_options(text: str) -> None:
    documented = {
        (name, command)
        for options, commands, *_meaning in rows(text, "option")
        for name in names(options)
        for command in commands.split(", ")
    }
    found = {
        (name, command.name)
        for command in cli.commands.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    assert documented == found


def test_every_command_and_option_has_a_help(text: str) -> None:
    for command in cli.commands.commands.values():
        assert command.help
        assert len(command.get_short_help_str(limit=60).removesuffix("...")) < 60
        assert not command.get_short_help_str(limit=60).endswith("...")
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, option.name


def test_exit_statuses(text: str) -> None:
    documented = {int(names(row[0])[0]) for row in rows(text, "status")}
    ours = {backend.FAILED, backend.WRONG, backend.NO_SERVER, backend.REFUSED, cli.INTERRUPTED}
    assert documented == {0} | ours


def test_hints_name_commands_that_exist(root: Path) -> None:
    known = set(cli.commands.commands)
    for path in (root / "onegai").rglob("*.py"):
        for name in re.findall(r"(?:\{COMMAND\}|bash run\.sh) ([a-z]+)\b", path.read_text()):
            assert name in known, (path, name)
