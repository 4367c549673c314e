"""``onegai new``: the files of an app of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onegai.cli.backend import COMMAND, have_heeded
from onegai.config.home import Home

if TYPE_CHECKING:
    from onegai.cli.new.recipes import Recipe

KINDS = ("gradio", "webapi", "command", "library", "functions")


@click.command(short_help="Make the files of an app of your own.")
@click.argument("app")
@click.option("--type", "kind", type=click.Choice(KINDS), help="what it is")
@click.option("--func", "func", is_flag=True, help="write func/APP.py from what it tells")
@click.option("--from", "folder", metavar="FOLDER", help="a folder that has the app's files")
@click.option("--git", metavar="URL", help="the repository it is installed from")
@click.option("--package", metavar="NAME", help="the Python package it is installed from")
@click.option("--exec", "start", metavar="COMMAND", help="how it is started, or what is run")
@click.option("--url", help="where it runs, if that is elsewhere")
def new(
    app: str,
    kind: str | None,
    func: bool,
    folder: str | None,
    git: str | None,
    package: str | None,
    start: str | None,
    url: str | None,
) -> None:
    """Make the files of an app of your own, and say what to do next.

    \b
    gradio    a Gradio app, for example a Hugging Face Space: --git or --url
    webapi    a server: --git or --package with --exec, or --url
    library   a Python package without a server: --package
    command   a program that runs once per call: --exec, and --package where it comes from one
    functions no program: Python functions, for example a chain of other apps

    gradio and webapi need no Python: the app tells what it can do, and "onegai functions APP" lists
    it. --func writes that as Python, for you to change.

    --from takes an app as it is from a folder: examples/hibari_page, or one that somebody gave you.
    """
    if func or folder:
        if any((kind, git, package, start, url)) or (func and folder):
            name = "--func" if func else "--from"
            raise click.UsageError(f"{name} goes with no other option")
        _copy(app, Path(folder)) if folder else _write_func(app)
        return
    if kind is None:
        raise click.UsageError("Missing option '--type'.")
    from onegai.cli.new.files import make_app
    from onegai.cli.new.wanted import Wanted

    home = Home.find()
    wanted = Wanted(app, kind, git or "", package or "", start or "", url or "")
    recipe = make_app(home, wanted)
    have_heeded(home)
    _say(app, recipe)


def _copy(app: str, folder: Path) -> None:
    from onegai.cli.new.files import copy_app

    home = Home.find()
    recipe = copy_app(home, app, folder)
    have_heeded(home)
    _say(app, recipe, edit=False)


def _write_func(app: str) -> None:
    """Raises Failure, and what is wrong with the app."""
    from onegai.cli.backend import WRONG, Failure, worker
    from onegai.cli.new.files import place
    from onegai.cli.new.recipes import Recipe
    from onegai.cli.new.written import func_file

    home = Home.find()
    path = home.func_file(app)
    if path.exists():
        raise Failure(f"func/{app}.py is there already", "move it away first", status=WRONG)
    with worker(home, None) as onegai:
        found = onegai.functions_of(app)
        if not found:
            onegai.start(app)
            found = onegai.functions_of(app)
        if not found:
            hint = f"{COMMAND} doctor says more"
            raise Failure(f"{app} tells of no function", hint, status=WRONG)
    with home.editing():
        place(home, app, Recipe({}, {f"func/{app}.py": func_file(app, found)}))
    have_heeded(home)
    count = sum(not info.derived for info in found)
    click.echo(f"made func/{app}.py, with {count} function{'' if count == 1 else 's'}")


def _say(app: str, recipe: Recipe, *, edit: bool = True) -> None:
    """``edit``: its files are there to be written further."""
    edit_next = ": edit this next" if edit else ""
    port = f", on port {recipe.entry['port']}" if "port" in recipe.entry else ""
    about = {
        "install": f"installs it into apps/{app}",
        "run": f"the server around it{edit_next}",
        "func": "what people can call" + ("" if f"run/run_{app}.py" in recipe.files else edit_next),
        "api": "more routes",
        "tests": "whether it works",
    }
    lines = {"services.local.json": f"how it runs{port}"} if recipe.entry else {}
    lines |= {name: about[name.partition("/")[0]] for name in recipe.files}
    width = max(map(len, lines))
    click.echo(f"made {app}:")
    for name, text in sorted(lines.items()):
        click.echo(f"  {name:<{width}}  {text}")
    click.echo("next:")
    if f"install/{app}.sh" in recipe.files:
        click.echo(f"  {COMMAND} install {app}")
    if f"tests/test_{app}.sh" in recipe.files:
        click.echo(f"  bash tests/test_{app}.sh")
    if any(name.startswith("func/") for name in recipe.files):
        pipe = "base64 -w0 FILE | " if "input@-" in recipe.call else ""
        click.echo(f"  {pipe}{COMMAND} call {app} {recipe.call}".rstrip())
    else:
        click.echo(f"  {COMMAND} functions {app} --start")
    if recipe.note:
        click.echo(f"note: {recipe.note}")
