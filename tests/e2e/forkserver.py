"""Forks processes that have already imported what ``python -m onegai`` imports; forked.py asks it.

Run by path with the number of a socket and a filler. It starts no thread and no event loop, and
runs nothing of OneGAI. Of a message ``fork`` makes a process, which then is what a fresh Python
would be: its own environment, folder, standard streams, limits and ``__main__``, also in /proc.
"""

import ctypes
import gc
import importlib
import importlib.util
import io
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LAZILY = (
    # what uvicorn, anyio, asyncio and the rest import when they first need it
    *("uvicorn.lifespan.off", "uvicorn.protocols.http.httptools_impl", "anyio._backends._asyncio"),
    *("concurrent.futures.thread", "encodings.idna", "multiprocessing.synchronize", "pynvml"),
)


def import_all() -> None:
    """All modules of onegai but its runner, which is for the apps' own Pythons."""
    import onegai

    for module in pkgutil.walk_packages(onegai.__path__, "onegai."):
        if module.name != "onegai.__main__" and not module.name.startswith("onegai.runner"):
            importlib.import_module(module.name)
    for name in LAZILY:
        importlib.import_module(name)


def serve(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each message, until nobody sends any more; comes back in the children only."""
    told: dict[int, tuple[int, int]] = {}  # by a process's pidfd: its pid, the pipe for its status
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _event in poll.poll():
            if ready != control.fileno():
                pid, status = told.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(status)
                continue
            message, descriptors, _flags, _address = socket.recv_fds(control, 1 << 20, 4)
            if not message:
                sys.exit()
            pid = os.fork()
            if not pid:
                control.detach()
                return json.loads(message), descriptors[1:]
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            pidfd = os.pidfd_open(pid)
            told[pidfd] = pid, descriptors[0]
            poll.register(pidfd, select.POLLIN)
            tell(descriptors[0], pid)


def tell(pipe: int, number: int) -> None:
    with suppress(BrokenPipeError):  # who asked is gone
        os.write(pipe, f"{number}\n".encode())


def become(job: dict[str, Any], streams: list[int]) -> types.CodeType:
    """Have this process be as a fresh one; gives what is to run as ``__main__``."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.chdir(job["cwd"])
    os.umask(job["umask"])
    for number, limits in job["limits"]:
        if resource.getrlimit(number) != tuple(limits):
            resource.setrlimit(number, limits)
    os.environ.clear()
    os.environ.update(job["environment"])
    show(job["arguments"], job["environment"])
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, stream(name))
        setattr(sys, f"__{name}__", getattr(sys, name))
    sys.orig_argv = job["arguments"]
    importlib.invalidate_caches()
    return main_of(job["arguments"])


def stream(name: str) -> io.TextIOWrapper:
    """As the interpreter makes it of the same locale; the old one has what the locale says."""
    old = getattr(sys, name)
    raw = io.FileIO(old.fileno(), "r" if name == "stdin" else "w", closefd=False)
    raw.name = f"<{name}>"
    buffer = raw
    if not isinstance(old.buffer, io.FileIO):  # as with PYTHONUNBUFFERED
        buffer = io.BufferedReader(raw) if name == "stdin" else io.BufferedWriter(raw)
    made = io.TextIOWrapper(
        *(buffer, old.encoding, old.errors, "\n"),
        line_buffering=not old.write_through and (name == "stderr" or raw.isatty()),
        write_through=old.write_through,
    )
    made.mode = "r" if name == "stdin" else "w"
    return made


def show(arguments: list[str], environment: dict[str, str]) -> None:
    """Have /proc say what it says of a process with these arguments and this environment.

    It reads them where the kernel has put them when this program began (proc(5)); nothing points
    there any more. What is longer than that is cut off.
    """
    numbers = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:49]
    begin, end, environment_begin, environment_end = map(int, numbers)
    words = b"".join(os.fsencode(word) + b"\0" for word in arguments)
    write(begin, end - begin, words.ljust(end - begin, b"\0"))
    size = environment_end - environment_begin
    variables = (os.fsencode(f"{key}={value}") + b"\0" for key, value in environment.items())
    # The rest is one variable: it is read often, and thousands of empty ones take long.
    write(environment_begin, size, (b"".join(variables) + b"_=").ljust(size, b"."))


def write(address: int, size: int, content: bytes) -> None:
    ctypes.memmove(address, content[: size - 1] + b"\0", size)


def main_of(arguments: list[str]) -> types.CodeType:
    """Make ``__main__`` and sys.argv of ``python -m onegai …`` or ``python -c code …``."""
    _python, option, what, *words = arguments
    module = types.ModuleType("__main__")
    if option == "-m":
        spec = importlib.util.find_spec(f"{what}.__main__")
        module.__spec__, module.__file__, module.__package__ = spec, spec.origin, what
        sys.argv[:], sys.path[0] = [spec.origin, *words], str(Path.cwd())
        code = spec.loader.get_code(spec.name)
    else:
        sys.argv[:], sys.path[0] = [option, *words], ""
        code = compile(what, "<string>", "exec")
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.modules["__main__"] = module
    return code


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    import_all()
    gc.freeze()
    handler = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for those who ask
    code = become(*serve(socket.socket(fileno=int(sys.argv[1]))))
    signal.signal(signal.SIGINT, handler)
    exec(code, vars(sys.modules["__main__"]))
