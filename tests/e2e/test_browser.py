"""The pages of / and /docs in a real browser: what a person sees there, and can do."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import Page
from harness import PASSWORD, ROOT, Server, fake, new_server, until

PIECES = """
import io, math, wave, array
from onegai.errors import BadArguments

def tone(args):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 24000, 0, "NONE", ""))
        wanted = range(round(24000 * args.get("seconds", 0.4)))
        out.writeframes(array.array("h", [int(9000 * math.sin(n / 9)) for n in wanted]).tobytes())
    return file.getvalue()

def picture(args):
    return bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63"
        "f8cfc0000003010100c9fe92ef0000000049454e44ae426082")

def archive(args): return b"PK\\3\\4 not shown", "application/zip"
def film(args): return b"\\x1aE\\xdf\\xa3 no film", "video/webm"
def page(args): return b"<script>document.title = 'taken'</script>", "application/x-own-thing"
def text(args): return "<img src=x onerror=\\"document.title = 'taken'\\">"
def wrong(args): raise BadArguments(reason="number is odd", do="send an even number")
"""


MARKUP = "<img src=x onerror=\"document.title = 'taken'\">"
SERVICES = {
    "pieces": {"type": "inline", "about": MARKUP},
    "voice": fake("ready", title="Voice"),
    "n" * 64: fake("ready", title="T" * 90, about="a" * 200),
    "slow": fake("ready"),
    "bad": fake("ready"),
    "broken": {"type": "web" * 50},
}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = browser.installed()
    if program is None:
        reason = "no Chromium: apt-get install chromium (test.sh does it for root)"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with browser.new_browser(program, tmp_path_factory.mktemp("chromium")) as address:
        yield address


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with new_server(tmp_path_factory.mktemp("home"), SERVICES) as server:
        server.write("func/pieces.py", PIECES)
        server.write("install/slow.sh", "seq 200; echo '<b>line</b> 1'; sleep 60")
        server.write("install/bad.sh", "echo no such wheel; exit 3")
        yield server.start()


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    async with browser.new_page(chromium) as page:
        yield page


def address(server: Server, path: str) -> str:
    """With the password in it, as people type it."""
    return server.url.replace("//", f"//onegai:{PASSWORD.replace(' ', '%20')}@") + path


async def answered(page: Page, function: str, body: str = "{}") -> str:
    """Call a function on /docs as a visitor does; gives the CSS path of its answer."""
    block = f'.opblock[id$=".{function}"]'

    async def click(part: str, *, unless: str) -> None:
        await page.until(f"!!document.querySelector('{block} {part}, {block} {unless}')")
        if not await page.run(f"!!document.querySelector('{block} {unless}')"):
            await page.run(f"document.querySelector('{block} {part}').click()")

    await click(".opblock-summary-control", unless=".opblock-body")
    await click(".try-out__btn", unless=".execute")
    await page.until(f"!!document.querySelector('{block} textarea')")
    await page.run(
        f"""(() => {{
            const area = document.querySelector('{block} textarea');
            const type = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value');
            type.set.call(area, {body!r});
            area.dispatchEvent(new Event('input', {{bubbles: true}}));
        }})()"""
    )
    await page.run(f"document.querySelector('{block} .execute').click()")
    answer = f"{block} .live-responses-table .response"
    await page.until(f"!!document.querySelector('{answer}')")
    return answer


def holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


class TestDocs:
    """Swagger UI with what it lacks: answers that are no text."""

    @pytest.fixture(autouse=True)
    async def opened(self, page: Page, served: Server) -> None:
        await page.go(address(served, "/docs"))

    async def test_sound_is_played_to_its_end(self, page: Page) -> None:
        answer = await answered(page, "tone", '{"seconds": 0.4}')
        player = f"document.querySelector('{answer} audio')"
        assert await page.until(f"{player}?.duration") == pytest.approx(0.4, abs=0.01)
        await page.run(f"{player}.play()")
        await page.until(f"{player}.ended")
        assert await page.run(f"{player}.currentTime") == pytest.approx(0.4, abs=0.01)
        assert page.complaints == []
        await answered(page, "tone", '{"seconds": 0.3}')
        await page.until(f"Math.abs({player}?.duration - 0.3) < 0.01")

    async def test_bytes_are_shown_where_they_can_be_and_saved(
        self, page: Page, served: Server, tmp_path: Path
    ) -> None:
        await page.download_to(tmp_path)
        for function, shown, name in (
            ("tone", "AUDIO", "pieces-tone.wav"),
            ("picture", "IMG", "pieces-picture.png"),
            ("film", "VIDEO", "pieces-film.webm"),
            ("archive", "", "pieces-archive.zip"),
            ("page", "", "pieces-page.bin"),
        ):
            answer = await answered(page, function)
            await page.until(f"!!document.querySelector('{answer} a[download]')")
            await page.run(f"document.querySelector('{answer} a[download]').click()")
            content = served.post(f"/api/pieces/{function}", {}).body
            await asyncio.to_thread(until, partial(holds, tmp_path / name, content))
            found = f"[...document.querySelectorAll('{answer} :is(audio, video, img)')]"
            assert await page.run(f"{found}.map(one => one.tagName).join()") == shown
            assert await page.run(f"{found}.every(one => one.src.startsWith('blob:'))")

    async def test_a_file_keeps_the_name_that_the_server_gives_it(self, page: Page) -> None:
        for disposition, name in (
            ('inline; filename="a b.wav"', "a b.wav"),
            ("attachment; filename*=utf-8''%E5%A3%B0.wav", "声.wav"),
            ("attachment; filename*=utf-8''%E5.wav", "x-y.wav"),
        ):
            headers = {"content-disposition": disposition}
            given = f"fileName('/file/x/y', {json.dumps(headers)}, 'audio/wav')"
            assert await page.run(given) == name

    async def test_text_and_errors_are_shown_as_they_are(self, page: Page) -> None:
        for function, status, seen in (
            ("text", "200", "<img src=x"),
            ("wrong", "422", "send an even number"),
        ):
            answer = await answered(page, function)
            told = await page.run(f"document.querySelector('{answer}').innerText")
            assert told.startswith(status)
            assert seen in told
        assert await page.run("document.title") == "OneGAI API"


class TestManual:
    """What the manual gives for a page to copy."""

    async def test_a_page_reads_the_events_of_a_call(self, page: Page, served: Server) -> None:
        manual = (ROOT / "docs" / "functions.md").read_text()
        (function,) = re.findall(r"^# func/story.py\n(.*?)^```$", manual, re.M | re.S)
        (script,) = re.findall(r"^```js\n(.*?)^```$", manual, re.M | re.S)
        served.edit("func/story.py", function)
        try:
            await page.go(address(served, "/"))
            await page.until("!document.querySelector('[aria-busy=true]')")
            told = await page.run(
                "(async () => { const told = []; "
                "const console = { log: (...all) => told.push(all) };"
                f"{script} return told; }})()"
            )
        finally:
            served.edit("func/story.py", None)
        outputs = [data["result"] for name, data in told if name == "output"]
        assert outputs == ["so ", "it ", "ends "]
        assert (told[0][0], told[-1][0]) == ("running", "done")
        assert page.complaints == []


class TestConsole:
    """The page at /."""

    @pytest.fixture(autouse=True)
    async def opened(self, page: Page, served: Server) -> None:
        await page.go(address(served, "/"))
        await page.until("document.querySelectorAll('#apps tr').length == 6")

    async def row(self, page: Page, app: str, script: str) -> Any:
        """The value of a script in which ``row`` is the app's."""
        rows = "[...document.querySelectorAll('#apps tr')]"
        return await page.until(f"(row => {script})({rows}[{sorted(SERVICES).index(app)}])")

    async def press(self, page: Page, app: str, label: str) -> None:
        """When it is there."""
        find = f"[...row.querySelectorAll('button')].find(one => one.innerText == '{label}')"
        await self.row(page, app, f"{find} && ({find}.click(), true)")

    @pytest.mark.parametrize("width", [390, 1280])
    async def test_all_of_it_is_on_the_screen(self, page: Page, width: int) -> None:
        await page.resize(width)
        assert await page.run("document.documentElement.scrollWidth") <= width
        edges = (
            "[...document.querySelectorAll('button, a')].map(one => one.getBoundingClientRect())"
        )
        shown = "one => one.width == 0 || one.left >= 0 && one.right <= innerWidth"
        assert await page.run(f"{edges}.every({shown})")
        assert await page.run(f"{edges}.filter(one => one.width > 0).length") > 10

    async def test_what_others_wrote_is_text(self, page: Page) -> None:
        assert MARKUP in await self.row(page, "pieces", "row.innerText")
        assert not await page.run("!!document.querySelector('#apps img')")
        assert await page.run("document.title") == "OneGAI"
        assert page.complaints == []

    async def test_app_that_has_only_functions(self, page: Page) -> None:
        told = await self.row(page, "pieces", "row.innerText")
        assert "nothing to start" in told
        assert "tone, picture" in told
        await self.row(page, "pieces", "row.querySelectorAll('button').length == 0")

    async def test_start_log_stop_and_why_it_stopped(self, page: Page, served: Server) -> None:
        await self.press(page, "voice", "start")
        await self.row(page, "voice", "row.innerText.includes('ready')")
        await self.press(page, "voice", "log")
        log = served.home / "data" / "logs" / "voice.log"
        for line in ("<b>first</b>", "second"):
            with log.open("a") as file:
                file.write(line + "\n")
            await page.until(f"document.querySelector('dialog pre').innerText.includes('{line}')")
        await page.run("document.querySelector('#close').click()")
        await self.press(page, "voice", "stop")
        await self.row(page, "voice", "row.innerText.match(/stopped by you, [0-9]+ s ago/)")

    async def test_a_service_that_does_not_answer_is_told(self, page: Page) -> None:
        status = "{state: 'ready', unresponsive: 1}"
        told = await page.run(f"stateOf({{active: true, type: 'webapi'}}, {status}).textContent")
        assert told == "unresponsive"

    async def test_install_is_followed_and_cancelled(self, page: Page, served: Server) -> None:
        await page.resize(390)
        await self.press(page, "slow", "install")
        await page.until("document.querySelector('dialog[open] pre')?.innerText.includes('<b>')")
        last = "document.querySelector('dialog pre').getBoundingClientRect().bottom"
        assert await page.run(f"{last} <= innerHeight"), "the newest line is seen"
        await page.run("document.querySelector('#close').click()")
        await self.row(page, "slow", "row.innerText.includes('install: running')")
        await self.row(page, "slow", "row.innerText.includes('<b>line</b> 1')")
        await self.press(page, "slow", "progress")
        await page.until("document.querySelector('dialog pre').innerText.includes('<b>line</b> 1')")
        await page.run("document.querySelector('#view-actions button').click()")
        await page.until("document.querySelector('dialog h2').innerText.endsWith('cancelled')")
        await page.run("document.querySelector('#close').click()")
        await self.row(page, "slow", "row.innerText.includes('install') && !row.dataset.job")
        assert served.get("/job").result[0]["state"] == "cancelled"

    async def test_failed_install_says_why(self, page: Page) -> None:
        await self.press(page, "bad", "install")
        await page.until("document.querySelector('dialog h2').innerText.endsWith('failed')")
        told = await page.run("document.querySelector('dialog pre').innerText")
        assert "no such wheel" in told
        assert "install-bad.log" in told
        await page.run("document.querySelector('#close').click()")
        await page.run("document.querySelector('#jobs').click()")
        await page.until(
            "document.querySelector('dialog table')?.innerText.includes('install bad')"
        )

    async def test_the_focus_stays_where_nothing_changed(self, page: Page) -> None:
        await self.row(page, "voice", "(row.querySelector('button').focus(), true)")
        await page.run("refresh()")
        assert await page.run("document.activeElement.innerText") == "start"
