"""What the commands about the disk show; no server is needed for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from onegai.cli import apps
from onegai.cli import main as cli
from onegai.schema import AppInfo, State


class Listed:
    """A backend that knows how large its apps are."""

    def __init__(self, **sizes: tuple[int | None, int | None]) -> None:
        self._sizes = sizes

    def apps(self) -> dict[str, AppInfo]:
        return {
            app: AppInfo(
                app=app,
                active=True,
                installed=True,
                installable=True,
                state=State.STOPPED,
                size=mib,
                shared=shared,
            )
            for app, (mib, shared) in self._sizes.items()
        }


def du(monkeypatch: pytest.MonkeyPatch, listed: Listed) -> list[list[str]]:
    @contextmanager
    def worker(*_: object) -> Iterator[Listed]:
        yield listed

    monkeypatch.setattr(apps, "worker", worker)
    shown = CliRunner().invoke(cli.commands, ["du"])
    assert shown.exit_code == 0, shown.output
    return [line.split("  ") for line in shown.stdout.splitlines()]


def test_du_shows_what_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = du(monkeypatch, Listed(small=(5, 0), big=(2048, 1536), absent=(0, 0), new=(None, None)))
    assert [[cell.strip() for cell in row if cell] for row in rows] == [
        ["APP", "DISK", "SHARED"],
        ["big", "2.0 GB", "1.5 GB"],
        ["small", "5 MB", "0 MB"],
        ["all", "2.0 GB", "1.5 GB"],
    ]


def test_du_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert du(monkeypatch, Listed())[-1] == ["all", "0 MB", "0 MB"]
