"""Where commands find a server, and what its errors become."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from onegai.cli import backend
from onegai.cli.backend import Failure
from onegai.client.client import Client
from onegai.config import jsonfile
from onegai.config.home import Home
from onegai.errors import NotInstalled, Relayed


@pytest.mark.parametrize("server", ["box:58080", "http://me:secret@box", "ftp://box", "http://b/x"])
def test_address_of_another_server(server: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        backend.backend(Home(tmp_path), server)
    assert caught.value.status == 2
    assert "secret" not in caught.value.message


def test_password_of_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEGAI_PASSWORD", raising=False)
    with pytest.raises(Failure, match="password") as caught:
        backend.backend(Home(tmp_path), "http://box:1")
    assert caught.value.status == 2
    monkeypatch.setenv("ONEGAI_PASSWORD", "x")
    with backend.backend(Home(tmp_path), "http://box:1/") as onegai:
        assert isinstance(onegai, Client)


def test_no_server(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(Failure, match=r"start it with bash run\.sh") as caught:
        backend.backend(home)
    assert caught.value.status == 3
    with home.lock():
        jsonfile.write(home.server_file, {"pid": 7, "command": "cli.py"})
        with pytest.raises(Failure, match=r"used by cli\.py \(pid 7\)") as caught:
            backend.backend(home)
    assert caught.value.status == 3


@pytest.mark.parametrize(
    ("http", "code", "status"),
    [
        (401, "unauthorized", 4),
        (422, "bad_arguments", 2),
        (404, "unknown_app", 2),
        (409, "inactive", 2),
        (409, "not_installed", 1),
        (503, "not_enough_memory", 1),
        (503, "shutting_down", 3),
        (502, "exited_early", 1),
        (502, "server_unreachable", 3),
        (502, "no_onegai", 3),
    ],
)
def test_exit_statuses(http: int, code: str, status: int) -> None:
    failure = backend.shown(Relayed.of(http, "a sentence", {"code": code, "hint": "a hint"}))
    assert failure is not None
    assert (failure.status, failure.message, failure.hint) == (status, "a sentence", "a hint")


def test_hint_in_words_of_the_command_line() -> None:
    detail = NotInstalled(app="a").detail
    assert "POST /app/install" in detail["hint"]
    shown = [backend.shown(error) for error in (NotInstalled(app="a"), _relayed(detail))]
    assert [failure and failure.hint for failure in shown] == ["bash run.sh install a"] * 2


@pytest.mark.parametrize(
    ("answer", "lines"),
    [("no such\nvoice", ["| no such", "| voice"]), ({"x": 1}, ["| {", '|   "x": 1', "| }"])],
)
def test_answer_of_the_app_is_shown(answer: Any, lines: list[str]) -> None:
    failure = backend.shown(_relayed({"code": "error_answer", "answer": answer}))
    assert failure is not None
    assert failure.lines == lines


def _relayed(detail: Mapping[str, Any]) -> Relayed:
    return Relayed.of(502, "a sentence", detail)
