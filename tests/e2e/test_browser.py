"""The pages of / and /docs in a real browser: what a person sees there, and can do."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import browser
import pytest
from browser import Page
from harness import PASSWORD, Server, new_server, until

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
    with new_server(tmp_path_factory.mktemp("home"), {"pieces": {"type": "inline"}}) as server:
        server.write("func/pieces.py", PIECES)
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
