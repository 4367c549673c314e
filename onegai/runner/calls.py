"""Whose turn it is: calls one after another in order of arrival, and an end of all calls."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator

from . import coroutines
from .answers import RequestError
from .runfile import Function, RunFile

LIFECYCLE = ("load", "unload")


class ClientLeftError(Exception):
    """The client hung up before its turn came."""


class Calls:
    """Calls of one run file's functions.

    Model libraries are rarely thread-safe, so there is one turn at a time unless the run file says
    CONCURRENT. A call after ``unload`` loads again first.
    """

    def __init__(self, run_file: RunFile) -> None:
        """Nothing is loaded yet."""
        self._functions = run_file.functions
        self._free = 1_000_000 if run_file.concurrent else 1
        self._open = 0
        self._stopping = False
        self._waiting: Deque[_Waiter] = deque()
        self._guard = threading.Lock()
        self._idle = threading.Condition(self._guard)
        self._loaded = False
        self._loading = threading.Lock()

    def load(self) -> None:
        """Run load({}) if there is one and it has not been run since the last unload."""
        with self._loading:
            if not self._loaded:
                self._lifecycle("load", {})

    def call(self, function: Function, args: Dict[str, Any]) -> Any:
        """Run a function. Only inside a turn; a generator it returns has not run yet."""
        if function.name in LIFECYCLE:
            with self._loading:
                return self._lifecycle(function.name, args)
        if not self._loaded:
            self.load()
        return coroutines.settle(function(args))

    def _lifecycle(self, name: str, args: Dict[str, Any]) -> Any:
        function = self._functions.get(name)
        result = coroutines.settle(function(args)) if function else None
        self._loaded = name == "load"
        return result

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Hold off the end while a request is read and answered. RequestError 503 after stop."""
        with self._guard:
            if self._stopping:
                raise _stopping()
            self._open += 1
        try:
            yield
        finally:
            with self._guard:
                self._open -= 1
                self._idle.notify_all()

    @contextlib.contextmanager
    def turn(self, left: Callable[[], bool]) -> Iterator[None]:
        """Wait for a turn and hold it. left tells, while waiting, whether the client has hung up.

        Raises ClientLeftError then, and RequestError 503 when the runner is stopping.
        """
        self._take(left)
        try:
            yield
        finally:
            self._give()

    def _take(self, left: Callable[[], bool]) -> None:
        with self._guard:
            if self._stopping:
                raise _stopping()
            if self._free:
                self._free -= 1
                return
            waiter = _Waiter()
            self._waiting.append(waiter)
        while not waiter.called.wait(0.1):
            if left():
                with self._guard:
                    if waiter in self._waiting:
                        self._waiting.remove(waiter)
                        raise ClientLeftError
        if not waiter.has_turn:
            raise _stopping()

    def _give(self) -> None:
        with self._guard:
            if self._waiting:  # the turn is handed over, so that nobody who comes now overtakes
                self._waiting.popleft().call(has_turn=True)
            else:
                self._free += 1

    def stop(self, seconds: float) -> bool:
        """Begin no more calls, let running ones end, then unload. False if that took too long."""
        deadline = time.monotonic() + seconds
        with self._guard:
            self._stopping = True
            while self._waiting:
                self._waiting.popleft().call(has_turn=False)
            if not self._idle.wait_for(lambda: not self._open, seconds):
                return False
        if not self._loaded or "unload" not in self._functions:
            return True
        unloading = threading.Thread(target=self._lifecycle, args=("unload", {}), daemon=True)
        unloading.start()
        unloading.join(max(0.1, deadline - time.monotonic()))
        return not unloading.is_alive()


class _Waiter:
    """One call in the line. Written under the guard of Calls."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.has_turn = False

    def call(self, has_turn: bool) -> None:
        """End its wait, with a turn or because there will be none."""
        self.has_turn = has_turn
        self.called.set()


@contextlib.contextmanager
def failures(function: Function) -> Iterator[None]:
    """What a function raises, as a RequestError.

    ValueError says that the input was bad: 422. All else is a failure: 500, traceback in the log.
    """
    try:
        yield
    except RequestError:
        raise
    except ValueError as error:
        text = str(error) or "bad input"
        raise RequestError(422, text, function=function.name) from error
    except (GeneratorExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # what Rust panics with is no Exception
        log_failure(function)
        text = "%s: %s" % (type(error).__name__, error)
        raise RequestError(500, text, function=function.name) from error


def log_failure(function: Function) -> None:
    """Traceback of the exception at hand, with a line that says whose it is."""
    print("runner: %s failed" % function.name, file=sys.stderr)
    traceback.print_exc()
    sys.stderr.flush()


def _stopping() -> RequestError:
    return RequestError(503, "the runner is stopping")
