"""An entry: its keys, their defaults, and what of it can be run."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from onegai.config.entry import AppSpec

WEB = {"type": "webapi", "port": 5001, "exec": "run --port {port}"}


def entry(**keys: Any) -> AppSpec:
    return AppSpec.model_validate({"app": "a", **WEB, **keys})


def test_defaults() -> None:
    spec = entry()
    assert (spec.app, spec.active, spec.has_service) == ("a", True, True)
    assert (spec.start_timeout, spec.stop_timeout, spec.call_timeout) == (600, 10, 3600)
    assert (spec.ready.http, spec.queue, spec.restart) == ("/", 64, "on-failure")
    assert (spec.vram_mib, spec.ram_mib) == (0, 0)


def test_gigabytes_become_mebibytes() -> None:
    spec = entry(vram=1.5, ram=2)
    assert (spec.vram_mib, spec.ram_mib) == (1536, 2048)


@pytest.mark.parametrize(
    "command",
    [
        "cd x && run",
        "cd x&&run",
        "run; rm x",
        "run | tee log",
        "run > log",
        "run 2>&1",
        "run &",
        "run 'unclosed",
        "",
        "   ",
    ],
)
def test_exec_is_not_for_a_shell(command: str) -> None:
    with pytest.raises(ValidationError) as caught:
        entry(exec=command)
    [error] = caught.value.errors()
    assert error["loc"] == ("exec",)
    if "&&" in command:
        assert "'&&'" in error["msg"]
        assert "run/run_a.sh" in error["msg"]


@pytest.mark.parametrize(
    "command",
    [
        "venv/bin/python {root}/run/a.py --port {port}",
        'python -c "import a; a.run(1 > 0 and 2)"',
        "run --name 'A & B'",
        "run # no comment",
    ],
)
def test_exec_may_quote(command: str) -> None:
    assert entry(exec=command).exec == command


@pytest.mark.parametrize(
    ("keys", "has_service"),
    [
        ({"type": "command"}, False),
        ({"type": "inline"}, False),
        ({"type": "gradio", "url": "https://x.hf.space"}, True),
    ],
)
def test_what_needs_no_port(keys: dict[str, Any], has_service: bool) -> None:
    assert AppSpec.model_validate({"app": "a", **keys}).has_service is has_service


def test_every_key_of_the_contract_is_known() -> None:
    keys = (
        "active type port exec cwd env vram ram url credentials ready start_timeout stop_timeout "
        "call_timeout idle_timeout keep autostart concurrency queue queue_timeout restart release "
        "wake public_port owner_check openapi functions args repl disk data title about homepage "
        "license tags"
    ).split()
    assert set(AppSpec.model_fields) == {"app", *keys}
