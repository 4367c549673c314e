"""``subprocess`` for Python programs that import OneGAI, without the time that importing takes.

Hundreds of tests start a server or a command, which takes a process 0.3 to 1.3 s of CPU until it
has imported everything; a fork of one that has, takes some milliseconds. ``Popen`` and ``run`` are
as those of ``subprocess``. They fork ``python -m onegai …`` and ``python -c …`` in the repository's
folder, and start everything else as ever.

What this does not test is the start itself: which modules are imported and in which order, the
interpreter's own options and variables, a hash seed of its own per process. Also, the memory of a
fork is partly that of others. Who tests that uses ``subprocess``; with ONEGAI_TESTS_EXEC=1 all do.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOM = 2048
"""How many bytes a fork's environment may have more than its fork server's."""
OPTIONS = frozenset({"bufsize", "cwd", "encoding", "env", "stderr", "stdin", "stdout", "text"})
AT_START = ("PYTHON", "COVERAGE", "LANG", "LC_", "LD_", "MALLOC_", "GLIBC_", "TZ")
"""Variables that an interpreter, or its C library, reads once."""
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


class Popen(subprocess.Popen):
    """Is the fork server's child, not this process's; all else is the same."""

    _status: int | None = None
    """A pipe with the exit status; None: it is a process of subprocess's own."""

    def __init__(self, args: Sequence[Any], **options: Any) -> None:
        self._fork = _can_be_forked(args, options)
        super().__init__(args, **options)

    def _execute_child(self, args: Any, *others: Any) -> None:
        if not self._fork:
            super()._execute_child(args, *others)
            return
        _executable, _preexec, _close, _pass, folder, variables, _info, _flags, _shell, *pipes = (
            others
        )
        pipes = pipes[:6]
        streams = (pipes[0], pipes[3], pipes[5])
        environment = dict(os.environ if variables is None else variables)
        self._status, told = os.pipe()
        try:
            _server().fork(
                {
                    "arguments": [os.fspath(word) for word in args],
                    "environment": environment,
                    "cwd": os.fspath(folder or Path.cwd()),
                    "umask": _umask(),
                    "limits": [(number, resource.getrlimit(number)) for number in LIMITS],
                },
                (told, *(n if given == -1 else given for n, given in enumerate(streams))),
            )
        finally:
            os.close(told)
        self._child_created = True
        self.pid = self._told()
        self._close_pipe_fds(*pipes)

    def _told(self) -> int:
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._status, 1)
            assert piece, "the fork server has ended"
            line += piece
        return int(line)

    def _internal_poll(self, *arguments: Any, **others: Any) -> int | None:
        if not self._fork:
            return super()._internal_poll(*arguments, **others)
        return self._ended(0)

    def _wait(self, timeout: float | None) -> int:
        if not self._fork:
            return super()._wait(timeout)
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _ended(self, timeout: float | None) -> int | None:
        with self._waitpid_lock:
            if self.returncode is None and self._status is not None:
                poll = select.poll()
                poll.register(self._status, select.POLLIN)
                if poll.poll(None if timeout is None else max(timeout, 0) * 1000):
                    self.returncode = self._told()
                    os.close(self._status)
                    self._status = None
            return self.returncode


def run(
    args: Sequence[Any],
    *,
    input: Any = None,  # noqa: A002 - subprocess's name
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """As ``subprocess.run``."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = subprocess.PIPE
    with Popen(args, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    ended = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        ended.check_returncode()
    return ended


def end() -> None:
    """End the fork server of this test process, if it has one."""
    if _server.cache_info().currsize:
        _server().close()
        _server.cache_clear()


class _ForkServer:
    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.at_start = _at_start(os.environ)
        self.room = _size(os.environ) + ROOM
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, Path(__file__).with_name("forkserver.py")),
                    *(str(theirs.fileno()), "." * 64),
                ],
                env={**os.environ, "PYTHONPATH": "", "ONEGAI_TESTS_ROOM": "." * ROOM},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def fork(self, job: dict[str, Any], descriptors: Sequence[int]) -> None:
        socket.send_fds(self._control, [json.dumps(job).encode()], descriptors)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


@functools.cache
def _server() -> _ForkServer:
    return _ForkServer()


def _can_be_forked(args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if os.environ.get("ONEGAI_TESTS_EXEC") or not options.keys() <= OPTIONS:
        return False
    if isinstance(args, str) or len(args) < 3 or args[0] != sys.executable:
        return False
    if args[1] != "-c" and (args[1], args[2]) != ("-m", "onegai"):
        return False
    environment = os.environ if options.get("env") is None else options["env"]
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    folders = [Path(folder) for folder in (options.get("cwd") or Path.cwd(), *path) if folder]
    if next((one for one in folders if (one / "onegai").exists()), None) != ROOT:
        return False  # it would not be this OneGAI
    server = _server()
    return _size(environment) <= server.room and _at_start(environment) == server.at_start


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in environment.items()
        if key.startswith(AT_START) and key != "PYTHONPATH"
    }


def _size(environment: Mapping[str, str]) -> int:
    """In /proc, in bytes."""
    return sum(len(os.fsencode(f"{key}={value}")) + 1 for key, value in environment.items())


def _umask() -> int:
    """Without setting it, as umask(2) must."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
