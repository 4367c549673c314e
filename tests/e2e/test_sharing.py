"""Apps that share a GPU: real processes, whose VRAM is a number that they write into a file.

The probe of these tests reads those files, so it measures what the processes take, not what their
entries declare.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import HANDLE_FUNC, PASSWORD, Server, fake, strays, until, with_handles

from onegai.config.current import Current
from onegai.config.home import Home
from onegai.config.settings import Settings
from onegai.engine.engine import Engine
from onegai.errors import (
    Deadlock,
    KeptInTheWay,
    NoRoomInTime,
    NotEnoughMemory,
    OneGAIError,
    QueueFull,
    TooLarge,
)
from onegai.memory.probe import Gpu, Memory
from onegai.schema import ServiceStatus, State

CARD = 12 * 1024


class UseProbe:
    """One card, of which others have ``others`` MiB, and the processes what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.others = 0
        self.most = 0
        self.tells = False
        """Say which process has how much, as NVML does where it can."""
        self.of_ram = False
        """What the processes take is RAM, of which there is as much as on the card; no GPU."""
        self._died: dict[str, float] = {}

    def read(self, _declared: Mapping[int, int] = {}) -> Memory:
        files = [file for file in self.folder.iterdir() if not file.suffix]
        by_pid = {int(file.name): self._of(file) for file in files}
        used = self.others + sum(by_pid.values())
        self.most = max(self.most, used)
        if self.of_ram:
            return Memory((), CARD, CARD - used)
        card = Gpu(0, "card", CARD, CARD - used, by_pid if self.tells else None)
        return Memory((card,), 64_000, 32_000)

    def _of(self, file: Path) -> int:
        facts = json.loads(file.read_text())
        if not Path(f"/proc/{file.name}/exe").exists():
            died = self._died.setdefault(file.name, time.monotonic())
            if time.monotonic() - died >= facts["linger"]:
                return 0
        return int(facts["mib"])


class Stage:
    """A home with apps on one card, and an engine in this process."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root / "home")
        self.use = root / "use"
        self.use.mkdir()
        self.home.root.mkdir()
        self.probe = UseProbe(self.use)
        self.apps: dict[str, Any] = {}
        self.engine: Engine
        self.max_seen = 0

    def app(self, name: str, gb: float, *options: str, **keys: Any) -> None:
        """An app that takes what it declares, unless the options say otherwise."""
        takes = () if "--mib" in options else ("--mib", str(round(gb * 1024)))
        entry = fake("vram", "--use", str(self.use), *takes, *options, **{"vram": gb, **keys})
        self.apps[name] = entry
        self.func(name, HANDLE_FUNC.format(app=name))

    def func(self, name: str, code: str) -> None:
        path = self.home.func_file(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)

    async def call(self, app: str, function: str = "main", **arguments: Any) -> Any:
        return (await self.engine.call(app, function, arguments)).value

    async def status(self, app: str) -> ServiceStatus:
        report = await self.engine.status()
        return next(one for one in report.services if one.app == app)

    async def states(self) -> dict[str, State]:
        return {one.app: one.state for one in (await self.engine.status()).services}

    async def until(self, app: str, wish: Callable[[ServiceStatus], Any]) -> ServiceStatus:
        async with asyncio.timeout(60):
            while not wish(status := await self.status(app)):
                await asyncio.sleep(0.005)
        return status

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The engine runs inside."""
        self.home.services.write_text(json.dumps(self.apps))
        async with Engine(Current(self.home, Settings(password="x")), probe=self.probe) as engine:
            self.engine = engine
            yield
        assert strays(self.home.root) == []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The same; all the time somebody watches that the card is not overfull."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                self.probe.read()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            async with self.running():
                yield
        finally:
            over.set()
            watcher.join()
        assert self.probe.most <= CARD, "over-committed"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_the_idle_one_steps_aside_and_comes_back(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    async with stage.open():
        await stage.call("chat")
        await stage.call("image")
        assert await stage.states() == {"chat": State.STOPPED, "image": State.READY}
        await stage.call("chat")
        assert await stage.states() == {"chat": State.READY, "image": State.STOPPED}


async def test_what_fits_side_by_side_stays(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("voice", 5)
    stage.app("cpu", 0)
    async with stage.open():
        for app in ("chat", "voice", "cpu"):
            await stage.call(app)
        assert set((await stage.states()).values()) == {State.READY}


async def test_two_that_cannot_coexist_called_by_eight(stage: Stage) -> None:
    stage.app("a", 8)
    stage.app("b", 8)
    async with stage.open():

        async def client(number: int) -> None:
            for turn in range(100 // 8 + 1):
                app = "ab"[(number + turn) % 2]
                assert (await stage.call(app, number=number))["body"]

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(client(number))


async def test_what_waits_in_the_queue_keeps_its_service_from_making_way_each_time(
    stage: Stage,
) -> None:
    for app in "ab":
        stage.app(app, 8, concurrency=1)
    async with stage.open(), asyncio.timeout(60):
        async with asyncio.TaskGroup() as group:
            for app in "abababab":
                group.create_task(stage.call(app))
        started = [file for file in stage.use.iterdir() if not file.suffix]
        assert len(started) == 2


async def test_of_three_the_least_recently_used_goes(stage: Stage) -> None:
    for app in "abc":
        stage.app(app, 4)
    stage.app("d", 4)
    async with stage.open():
        for app in "abca":
            await stage.call(app)
        await stage.call("d")
        assert [app for app, state in (await stage.states()).items() if state is State.READY] == [
            "a",
            "c",
            "d",
        ]


SLEEPS = """
from onegai.sdk import service

me = service("chat")


def main(args: dict) -> dict:
    return me.post("/sleep", params={"s": args["s"]}).json()
"""


async def test_calls_in_flight_are_waited_for_and_newer_ones_wait_behind(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    stage.func("chat", SLEEPS)
    async with stage.open():
        order: list[str] = []

        async def call(app: str, **arguments: Any) -> None:
            await stage.call(app, **arguments)
            order.append(f"{app}{arguments.get('s', '')}")

        first = asyncio.create_task(call("chat", s=0.8))
        await stage.until("chat", lambda status: status.leases == 1)
        image = asyncio.create_task(call("image"))
        await stage.until(
            "image", lambda status: status.state is State.QUEUED and status.place == 1
        )
        plan = await stage.engine.plan("image")
        assert (plan.action, plan.wait_for) == ("wait", ["chat"])
        await stage.until("chat", lambda status: status.making_way)
        later = asyncio.create_task(call("chat", s=0.01))
        await stage.until("chat", lambda status: status.waiting == 1)
        await asyncio.gather(first, image, later)
        assert order == ["chat0.8", "image", "chat0.01"]


async def test_a_kept_service_is_never_evicted(stage: Stage) -> None:
    stage.app("voice", 2, keep=1)
    stage.app("chat", 7)
    stage.app("image", 8)
    stage.app("huge", 11)
    async with stage.open():
        await stage.call("voice")
        pid = (await stage.status("voice")).pid
        for app in ("chat", "image", "chat", "image"):
            await stage.call(app)
        with pytest.raises(KeptInTheWay) as refused:
            await stage.call("huge")
        assert "voice" in refused.value.message
        assert (await stage.status("voice")).pid == pid
        # Refused before anybody made way for it.
        assert (await stage.status("image")).state is State.READY


async def test_too_large_and_taken_by_others(stage: Stage) -> None:
    stage.app("huge", 13)
    stage.app("image", 8)
    async with stage.open():
        with pytest.raises(TooLarge):
            await stage.call("huge")
        stage.probe.others = 6 * 1024
        with pytest.raises(NotEnoughMemory) as refused:
            await stage.call("image")
        assert refused.value.extra == {"need": 8192, "free": 6144, "total": CARD}
        stage.probe.others = 0
        await stage.call("image")


async def test_what_loads_at_its_first_call_has_its_ram_kept_free(stage: Stage) -> None:
    stage.probe.of_ram = True
    for app in ("chat", "image"):
        stage.app(app, 0, "--mib", "0", "--grow", "8192", ram=8)
    async with stage.open():
        for app in ("chat", "image"):
            await stage.engine.start(app)
        assert await stage.states() == {"chat": State.STOPPED, "image": State.READY}
        for app in ("chat", "image"):
            await stage.call(app)


async def test_a_client_that_leaves_stops_waiting(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    stage.func("chat", SLEEPS)
    async with stage.open():
        busy = asyncio.create_task(stage.call("chat", s=1))
        await stage.until("chat", lambda status: status.leases == 1)
        waiting = asyncio.create_task(stage.call("image"))
        await stage.until("image", lambda status: status.state is State.QUEUED)
        waiting.cancel()
        await stage.until("image", lambda status: status.state is State.STOPPED)
        # Nothing had to make way for it, and the calls of chat go on.
        await stage.call("chat", s=0.01)
        await busy
        assert (await stage.status("chat")).state is State.READY


async def test_a_start_that_nobody_waits_for_is_abandoned(stage: Stage) -> None:
    stage.apps["slow"] = fake("slow", "--delay", "30")
    stage.func("slow", HANDLE_FUNC.format(app="slow"))
    async with stage.open():
        calls = [asyncio.create_task(stage.call("slow")) for _ in range(2)]
        await stage.until("slow", lambda status: status.pid is not None and status.waiting == 2)
        calls[0].cancel()
        left = await stage.until("slow", lambda status: status.waiting == 1)
        assert left.state is State.STARTING
        calls[1].cancel()
        await stage.until("slow", lambda status: status.state is State.STOPPED)


RELEASE = {"post": "/free", "json": {"all": True}}


async def test_a_release_that_frees_enough(stage: Stage) -> None:
    stage.app("image", 8, release=RELEASE)
    stage.app("chat", 7)
    async with stage.open():
        await stage.call("image")
        pid = (await stage.status("image")).pid
        plan = await stage.engine.plan("chat")
        assert (plan.action, plan.release, plan.stop) == ("evict", ["image"], [])
        await stage.call("chat")
        assert (await stage.status("image")).state is State.PARKED
        await stage.call("image")
        assert (await stage.status("image")).pid == pid
        assert await stage.states() == {"image": State.READY, "chat": State.STOPPED}


@pytest.mark.parametrize(
    "how",
    [("--keeps", "6000"), ("--keeps", "8192"), ("--free-status", "500", "--keeps", "8192")],
    ids=["keeps some", "frees nothing", "refuses"],
)
async def test_a_release_that_does_not_free(
    stage: Stage, how: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onegai.memory.readings.RETURN_SECONDS", 0.3)
    stage.app("image", 8, *how, release=RELEASE)
    stage.app("chat", 7)
    async with stage.open():
        await stage.call("image")
        await stage.call("chat")
        assert await stage.states() == {"image": State.STOPPED, "chat": State.READY}


async def test_a_release_that_is_not_enough_is_a_stop(stage: Stage) -> None:
    stage.app("image", 4, release=RELEASE)
    stage.app("voice", 4)
    stage.app("chat", 10)
    async with stage.open():
        await stage.call("image")
        await stage.call("voice")
        await stage.call("chat")
        assert await stage.states() == {
            "image": State.STOPPED,
            "voice": State.STOPPED,
            "chat": State.READY,
        }


async def test_memory_that_comes_back_late(stage: Stage) -> None:
    stage.app("chat", 7, "--linger", "1.5")
    stage.app("image", 8)
    async with stage.open():
        await stage.call("chat")
        began = time.monotonic()
        await stage.call("image")
        assert time.monotonic() - began >= 1.4


@pytest.mark.parametrize("keep", [0, 1])
async def test_no_other_makes_way_for_memory_that_comes_back_late(stage: Stage, keep: int) -> None:
    stage.app("chat", 5, "--linger", "1.5")
    stage.app("voice", 5, keep=keep)
    stage.app("image", 6)
    async with stage.open():
        await stage.call("chat")
        await stage.call("voice")
        await stage.call("image")
        assert (await stage.states())["voice"] is State.READY


async def test_stopped_is_when_the_driver_has_its_memory_back(stage: Stage) -> None:
    stage.app("chat", 7, "--linger", "1")
    stage.app("voice", 2)
    stage.probe.tells = True
    async with stage.open():
        await stage.call("chat")
        await stage.call("voice")
        stage.probe.others = 500
        report = await stage.engine.status()
        assert {one.app: one.vram_used for one in report.services} == {"chat": 7168, "voice": 2048}
        assert report.memory.gpus is not None
        assert report.memory.gpus[0].others == 500
        began = time.monotonic()
        await stage.engine.stop("chat")
        assert time.monotonic() - began >= 0.9
        assert stage.probe.read().gpus[0].free == CARD - 2048 - 500


async def test_a_lazy_loader_counts_before_it_grows(stage: Stage) -> None:
    stage.app("lazy", 8, "--mib", "0", "--grow", "8192")
    stage.app("chat", 7)
    async with stage.open():
        await stage.engine.start("lazy")
        await stage.call("chat")
        assert await stage.states() == {"lazy": State.STOPPED, "chat": State.READY}
        await stage.call("lazy")
        await stage.call("chat")


CALLS_OTHER = """
from onegai.sdk import async_service, service

me, me_async = service("chat"), async_service("chat")
image, image_async = service("image"), async_service("image")


def between(args: dict) -> list:
    return [handle.post("/echo").status_code for handle in (me, image, me)]


def inside(args: dict) -> int:
    with me.lease():
        return image.post("/echo").status_code


def by_url(args: dict) -> int:
    assert me.url
    return image.post("/echo").status_code


async def inside_async(args: dict) -> int:
    async with me_async.lease():
        return (await image_async.post("/echo")).status_code
"""


async def test_a_function_that_asks_another_app_in_between(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    stage.func("chat", CALLS_OTHER)
    async with stage.open(), asyncio.timeout(60):
        assert await stage.call("chat", "between") == [200, 200, 200]
        for function in ("inside", "inside_async", "by_url"):
            with pytest.raises(Deadlock) as refused:
                await stage.call("chat", function)
            assert "chat" in refused.value.message
            assert "image" in refused.value.message
        # Without the one that held it, image gets its room.
        await stage.call("image")


CROSSED = """
from onegai.sdk import service

mine, other = service("{mine}"), service("{other}")


def main(args: dict) -> int:
    with mine.lease() as url:
        mine.post("/sleep", params={{"s": 0.3}})
        return other.post("/echo").status_code
"""


async def test_two_calls_that_each_hold_what_the_other_needs(stage: Stage) -> None:
    for app in "ab":
        stage.app(app, 6)
    for app in "xy":
        stage.app(app, 6)
    stage.func("a", CROSSED.format(mine="a", other="x"))
    stage.func("b", CROSSED.format(mine="b", other="y"))
    async with stage.open(), asyncio.timeout(60):
        results = await asyncio.gather(stage.call("a"), stage.call("b"), return_exceptions=True)
        errors = [result for result in results if isinstance(result, OneGAIError)]
        assert [type(error) for error in errors] == [Deadlock]
        assert 200 in results


async def test_the_queue_is_full_and_in_order(stage: Stage) -> None:
    stage.app("chat", 0, concurrency=1, queue=3)
    stage.func(
        "chat",
        "from onegai.sdk import service\nme = service('chat')\nseen = []\n"
        "def main(args: dict) -> int:\n"
        "    me.post('/sleep', params={'s': 0.05})\n"
        "    seen.append(args['n'])\n"
        "    return len(seen)\n",
    )
    async with stage.open():
        await stage.call("chat", n=0)
        calls = []
        for number in range(1, 5):
            calls.append(asyncio.create_task(stage.call("chat", n=number)))
            await asyncio.sleep(0)
        status = await stage.until("chat", lambda status: status.queued == 3)
        assert status.calls == 1
        with pytest.raises(QueueFull) as full:
            await stage.call("chat", n=9)
        assert full.value.retry_after >= 1
        assert await asyncio.gather(*calls) == [2, 3, 4, 5]
        await stage.call("chat", n=10)


async def test_a_job_says_what_its_call_waits_for(stage: Stage) -> None:
    stage.app("chat", 0, concurrency=1)
    async with stage.open():
        jobs = [await stage.engine.submit("chat", "main", {"n": n}) for n in range(3)]
        logs = []
        for job in jobs:
            lines = [line async for line in stage.engine.follow(job)]
            assert lines[0] == "waiting for chat to be ready"
            logs.append(lines[1:])
        assert logs == [[], ["number 1 in line"], ["number 2 in line", "number 1 in line"]]


async def test_waiting_for_room_ends(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8, queue_timeout=0.3)
    stage.func("chat", SLEEPS)
    async with stage.open():
        busy = asyncio.create_task(stage.call("chat", s=1.5))
        await stage.until("chat", lambda status: status.leases == 1)
        with pytest.raises(NoRoomInTime) as refused:
            await stage.call("image")
        assert "chat" in refused.value.message
        await stage.call("chat", s=0.01)
        await busy


async def test_one_port_for_two_apps(stage: Stage) -> None:
    stage.app("forge", 0)
    stage.app("comfy", 0)
    stage.apps["comfy"]["port"] = stage.apps["forge"]["port"]
    async with stage.open():
        await stage.call("forge")
        await stage.call("comfy")
        assert await stage.states() == {"forge": State.STOPPED, "comfy": State.READY}


async def test_a_restart_after_a_crash_evicts_nobody(stage: Stage) -> None:
    stage.app("chat", 7)
    stage.app("image", 8)
    stage.func(
        "chat",
        "from onegai.sdk import service\nme = service('chat')\n"
        "def main(args: dict) -> str:\n    return me.get('/').text\n"
        "def die(args: dict) -> str:\n    return me.post('/die').text\n",
    )
    async with stage.open():
        await stage.engine.start("chat")
        with pytest.raises(OneGAIError):
            await stage.call("chat", "die")
        await stage.call("image")
        failed = await stage.until("chat", lambda status: "no room" in status.reason)
        assert failed.state is State.FAILED
        assert (await stage.status("image")).state is State.READY
        await stage.call("chat")


async def test_a_stop_while_a_long_stream_runs(stage: Stage) -> None:
    stage.apps["stream"] = fake("stream", "--seconds", "60")
    stage.func(
        "stream",
        "from onegai.sdk import service\nme = service('stream')\n"
        "def main(args: dict) -> int:\n"
        "    with me.stream('GET', '/bytes') as pieces:\n"
        "        return sum(len(piece) for piece in pieces)\n",
    )
    async with stage.open():
        call = asyncio.create_task(stage.call("stream"))
        await stage.until("stream", lambda status: status.leases == 1)
        began = time.monotonic()
        stopping = asyncio.create_task(stage.engine.stop("stream"))
        waits = await stage.until("stream", lambda status: status.state is State.STOPPING)
        assert waits.leases == 1
        assert not stopping.done()
        await stage.engine.stop("stream", force=True)
        await stopping
        with pytest.raises(OneGAIError):
            await call
        assert time.monotonic() - began < 40


async def test_autostart_and_plan(stage: Stage) -> None:
    stage.app("voice", 2, autostart=1, keep=1)
    stage.app("chat", 7)
    stage.app("huge", 13)
    async with stage.open():
        await stage.until("voice", lambda status: status.state is State.READY)
        assert (await stage.engine.plan("voice")).action == "none"
        plan = await stage.engine.plan("chat")
        assert (plan.action, plan.gpu, plan.need) == ("start", 0, 7 * 1024)
        assert (plan.free, plan.total) == (10 * 1024, CARD)
        refused = await stage.engine.plan("huge")
        assert (refused.action, refused.error) == ("refuse", "too_large")
        assert await stage.states() == {
            "voice": State.READY,
            "chat": State.STOPPED,
            "huge": State.STOPPED,
        }


def test_a_fake_gpu_counts_what_is_declared(make_server: Callable[..., Server]) -> None:
    server = make_server({"a": fake("ready", vram=8), "b": fake("ready", vram=8)})
    server.environment = {"ONEGAI_FAKE_GPU": "12"}
    server.start()
    server.post("/service/start", {"app": "a"})
    memory = server.get("/service/status").result["memory"]
    assert (memory["fake"], memory["gpus"][0]["free"]) == (True, 4 * 1024)
    plan = server.get("/service/plan?app=b").result
    assert (plan["action"], plan["stop"]) == ("evict", ["a"])
    assert "a would be stopped" in plan["text"]
    with server.client() as client:
        assert client.plan("b").stop == ["a"]
    server.post("/service/start", {"app": "b"})
    assert server.service("a")["state"] == "stopped"


def hung_up(server: Server, path: str) -> socket.socket:
    """A connection on which this call was sent; the caller hangs up."""
    token = base64.b64encode(f"onegai:{PASSWORD}".encode()).decode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 2\r\n"
    head += f"Authorization: Basic {token}\r\nContent-Type: application/json\r\n\r\n{{}}"
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(head.encode())
    return client


def test_a_client_that_hangs_up_while_it_starts(make_server: Callable[..., Server]) -> None:
    server = make_server({"slow": fake("slow", "--delay", "30")})
    with_handles(server, "slow")
    server.start()
    with hung_up(server, "/api/slow/main"):
        until(lambda: server.service("slow")["pid"])
    until(lambda: server.service("slow")["state"] == "stopped", what="the start to be abandoned")


STREAMS = """
from onegai.sdk import async_service, service

me, me_async = service("stream"), async_service("stream")


async def waits(args: dict) -> int:
    async with me_async.stream("GET", "/bytes") as pieces:
        return sum([len(piece) async for piece in pieces])


def blocks(args: dict) -> int:
    for _ in range(1000):
        me.get("/bytes", params={"pieces": 1, "interval": 0.05})
    return 0
"""


@pytest.mark.parametrize("function", ["waits", "blocks"])
def test_a_client_that_hangs_up_while_it_runs(
    make_server: Callable[..., Server], function: str
) -> None:
    """An async function is cancelled at once, a plain one at its next use of a handle."""
    server = make_server({"stream": fake("stream", "--seconds", "60")})
    server.write("func/stream.py", STREAMS)
    server.start()
    with hung_up(server, f"/api/stream/{function}"):
        until(lambda: server.service("stream")["calls"] == 1)
    until(lambda: server.service("stream")["calls"] == 0, what="the call to end")
    until(lambda: server.service("stream")["leases"] == 0)
    assert "Traceback" not in server.log()
