"""The command line: load, listen, wait for a signal, stop."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import List, Optional

from . import runfile
from .calls import Calls
from .server import Server

FAILED, UNUSABLE, PORT_TAKEN = 1, 2, 98
STOP = 2.0
"""Seconds from a signal to the end, whatever runs."""


def main(argv: Optional[List[str]] = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    options = _options(argv)
    try:
        server = Server(options.host, options.port, options.max_body, options.access_log)
    except OSError as error:
        return _no_port(options.host, options.port, error)
    began = time.monotonic()
    try:
        run_file = runfile.read(options.run_file)
        calls = Calls(run_file)
        calls.load()
    except runfile.UnusableError as error:
        return _say("cannot serve: %s" % error, UNUSABLE)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException as error:  # noqa: BLE001 - also a library that calls sys.exit
        traceback.print_exc()
        name = os.path.basename(options.run_file)
        return _say("%s did not load: %s: %s" % (name, type(error).__name__, error), FAILED)
    wake = _wake_by_signal()
    try:
        server.listen(run_file, calls)
    except OSError as error:
        return _no_port(options.host, options.port, error)
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    took = time.monotonic() - began
    print(
        "runner: serving %s on %s (loaded in %.1f s)" % (run_file.name, server.url, took),
        flush=True,
    )
    wake.recv(1)
    _stop(server, calls)
    return 0


def _options(argv: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="runner", description="Serve the functions of a run file over HTTP."
    )
    parser.add_argument("run_file", metavar="run_X.py")
    parser.add_argument(
        "--port", type=int, required=True, help="0: a free one, named on the first line"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--max-body", type=int, default=64 << 20, help="bytes (default: %(default)s)"
    )
    parser.add_argument("--access-log", action="store_true", help="a line per request on stderr")
    return parser.parse_args(argv)


def _wake_by_signal() -> socket.socket:
    """A socket that becomes readable at SIGTERM or SIGINT.

    A Python handler alone would wait until the main thread wakes, and the kernel may give the
    signal to a thread of the library; the wake-up descriptor is written at once, from any thread.
    """
    here, there = socket.socketpair()
    there.setblocking(False)
    signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    _wake_by_signal.kept = there  # type: ignore[attr-defined]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return here


def _stop(server: Server, calls: Calls) -> None:
    """End within STOP seconds: politely if the calls end, else with them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # a second signal does not wait
    server.stop_accepting()
    watchdog = threading.Timer(STOP, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()
    if not calls.stop(STOP * 0.75):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _no_port(host: str, port: int, error: OSError) -> int:
    if error.errno == errno.EADDRINUSE:
        return _say("port %d on %s is taken by another program" % (port, host), PORT_TAKEN)
    return _say("cannot listen on %s port %d: %s" % (host, port, error.strerror or error), FAILED)


def _say(text: str, status: int) -> int:
    print("runner: " + text, file=sys.stderr, flush=True)
    return status
