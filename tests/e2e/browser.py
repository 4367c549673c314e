"""Debian's Chromium without a window, told what to do over the Chrome DevTools Protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from harness import until

NAMES = ("chromium", "chromium-browser", "google-chrome")


def installed() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def new_browser(program: str, profile: Path) -> Iterator[str]:
    """A browser of its own; gives the URL of its WebSocket."""
    options = ["--headless", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # it refuses to start without this as root
    process = subprocess.Popen(
        [program, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def address() -> list[str]:
        assert process.poll() is None, f"{program} ended with {process.returncode}"
        try:
            lines = (profile / "DevToolsActivePort").read_text().splitlines()
        except OSError:
            return []
        return lines if len(lines) == 2 else []

    try:
        port, path = until(address, 60, "the browser")
        yield f"ws://127.0.0.1:{port}{path}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


class Page:
    """A tab with cookies, passwords and cache of its own."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.session: str | None = None
        self.complaints: list[str] = []
        """What the browser's console would show as errors."""

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                self.complaints.append(
                    told["params"]["exceptionDetails"]["exception"]["description"]
                )
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.complaints.append(told["params"]["entry"]["text"])
            elif told["method"] == "Page.javascriptDialogOpening":
                accept = {"accept": True}
                asyncio.get_running_loop().create_task(
                    self.send("Page.handleJavaScriptDialog", **accept)
                )

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        told = {"id": number, "method": method, "params": params}
        await self._socket.send_json(told | ({"sessionId": self.session} if self.session else {}))
        answer = await asyncio.wait_for(self._answers[number], 30)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    async def go(self, url: str) -> None:
        answer = await self.send("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited. It counts as done by the visitor."""
        answer = await self.send(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str, timeout: float = 20.0) -> Any:
        """Poll until the expression is true; gives its value."""
        deadline = time.monotonic() + timeout
        while not (found := await self.run(script)):
            assert time.monotonic() < deadline, f"waited {timeout} s for {script}"
            await asyncio.sleep(0.02)
        return found

    async def resize(self, width: int, height: int = 844) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", **metrics)

    async def screenshot(self) -> bytes:
        answer = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    async def download_to(self, folder: Path) -> None:
        await self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))


@asynccontextmanager
async def new_page(browser: str) -> AsyncIterator[Page]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(browser, max_msg_size=0) as socket,
    ):
        page = Page(socket)
        listening = asyncio.create_task(page.listen())
        context = (await page.send("Target.createBrowserContext"))["browserContextId"]
        made = {"url": "about:blank", "browserContextId": context}
        target = (await page.send("Target.createTarget", **made))["targetId"]
        attached = await page.send("Target.attachToTarget", targetId=target, flatten=True)
        page.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await page.send(f"{domain}.enable")
        try:
            yield page
        finally:
            page.session = None
            await page.send("Target.disposeBrowserContext", browserContextId=context)
            listening.cancel()
