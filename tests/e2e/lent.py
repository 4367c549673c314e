"""One running server for many tests: lent to one after the other, each with entries of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import Any

from harness import PASSWORD, Server, end_strays, strays, until

CONFIG = {"username": "onegai", "password": PASSWORD}


@dataclass
class Lent(Server):
    """A server whose entries come and go while it runs. Its GPU is a fake one of 12 GB."""

    services: dict[str, Any] = field(default_factory=dict)
    _logged: int = 0
    """How long its log was when it was lent."""

    def lend(self, services: dict[str, Any]) -> None:
        """What it is to have once the test has said ``start``."""
        if self.process is None or self.process.poll() is not None:
            self._empty()
            self.environment["ONEGAI_FAKE_GPU"] = "12"
            super().start()
        self._logged = len(super().log())
        self.services = services

    def start(self, *arguments: str) -> Lent:
        """Come back when it has the entries. All other files are there before."""
        assert not arguments, "it runs already"
        self.write("services.json", self.services)
        until(lambda: self.services.keys() <= self._names(), what="the entries")
        for path in (self.home / "func").glob("*.py"):
            self.get(f"/api/{path.stem}")  # what the file is now, counts
        return self

    def stop(self, *_arguments: Any, **_named: Any) -> int:
        raise AssertionError("the next test wants it, too")

    def log(self, name: str = "onegai") -> str:
        return super().log(name)[self._logged if name == "onegai" else 0 :]

    def clear(self) -> None:
        """Nothing is left of what the test has added; a server that is not well is ended."""
        assert self.process is not None
        try:
            assert self.process.poll() is None, self.output.read_text()
            self.write("config.json", CONFIG)
            until(lambda: self.get("/app/list").status == 200, what="its own password")
            for job in self.get("/job").result:
                self.request("DELETE", f"/job/{job['id']}")
            assert self.post("/service/stop", {"app": "*", "force": True}).status == 200
            self._empty()
            for log in (self.home / "data" / "logs").iterdir():
                if log.name != "onegai.log":
                    log.unlink()
            until(lambda: not self._names(), what="the end of the entries")
            left = [
                stray for stray in strays(self.home) if int(stray.split()[0]) != self.process.pid
            ]
            assert left == []
        except BaseException:
            self.process.kill()
            self.process.wait()
            self.process = None
            end_strays(self.home)
            raise

    def _empty(self) -> None:
        """Its home has no files but those of data/ and its own configuration."""
        for path in self.home.iterdir():
            if path.name == "data":
                continue
            if path.suffix == ".json":  # one that goes missing would stay in effect
                self.write(path.name, {} if path.name != "config.json" else CONFIG)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _names(self) -> set[str]:
        return {app["app"] for app in json.loads(self.get("/app/list").body)["result"]}
