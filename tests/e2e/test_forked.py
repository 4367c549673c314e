"""A process that is forked is what one that was started anew is."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from typing import Any

import forked
import pytest
from harness import ROOT

PROBE = """
import gc, json, os, resource, signal, sys, tempfile, threading
from pathlib import Path

def stream(one):
    shape = one.mode, one.encoding, one.errors, one.newlines, one.line_buffering, one.write_through
    return one.name, one.fileno(), one.isatty(), one.closed, shape, type(one.buffer).__name__

def proc(name):
    words = Path("/proc/self", name).read_text().split("\\0")
    return [word for word in words if word[:2] not in ("", "_=")]

limits = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
print(json.dumps({
    "arguments": (sys.argv, sys.orig_argv, proc("cmdline")[:2]),
    "environment": dict(os.environ),
    "proc": sorted(proc("environ")),
    "getenv": sorted(os.popen("env").read().splitlines()),
    "folder": (os.getcwd(), sys.path),
    "files": sorted(os.listdir("/proc/self/fd"), key=int)[:3],
    "streams": [stream(one) for one in (sys.stdin, sys.stdout, sys.stderr)],
    "signals": [str(signal.getsignal(one)) for one in sorted(signal.valid_signals())],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "limits": [resource.getrlimit(one) for one in limits],
    "umask": os.umask(0),
    "groups": (os.getpgrp(), os.getsid(0)),
    "main": (__name__, __package__, __spec__, vars(sys.modules["__main__"]) is globals()),
    "threads": [one.name for one in threading.enumerate()],
    "collector": (gc.isenabled(), gc.get_threshold()),
    "read": sys.stdin.read(),
    "own": [tempfile.tempdir],
}))
"""


def seen(module: Any) -> dict[str, Any]:
    ended = module.run(
        [sys.executable, "-c", PROBE, "a word", ""],
        cwd=ROOT,
        env={**os.environ, "ONEGAI_HOME": "/ね こ", "HOME": "/elsewhere"},
        input="文\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr == ""
    return dict(json.loads(ended.stdout))


def test_it_finds_what_one_that_is_started_finds() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    mask = os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 10, before[1]))
    try:
        mine, fresh = seen(forked), seen(subprocess)
    finally:
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert mine == fresh
    assert mine["umask"] == 0o027


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('said')", 1),
        ("1 / 0", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import atexit, os; atexit.register(os._exit, 5)", 5),
    ],
)
def test_it_ends_as_one_that_is_started(code: str, status: int) -> None:
    def ended(module: Any) -> tuple[int, str]:
        words = [sys.executable, "-c", code]
        done = module.run(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stderr.rpartition("<string>")[2]

    assert ended(forked) == ended(subprocess)
    assert ended(forked)[0] == status


def test_its_end_is_waited_for_as_any() -> None:
    with forked.Popen(
        [sys.executable, "-c", "input()"], cwd=ROOT, stdin=subprocess.PIPE
    ) as process:
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == process.poll() == process.returncode == -signal.SIGKILL
