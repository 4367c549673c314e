"""Gradio's own forms of values: to there, and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from onegai.files.file import File
from onegai.functions.gradio.document import Input, Output, Server
from onegai.functions.gradio.files import Receiving, Sending
from onegai.handles.http import Response

NEW = Server("6.31.0", "/gradio_api", "sse_v3")
OLD = Server("3.38.0", "", "ws")
META = {"_type": "gradio.FileData"}


class App:
    """What an app answers to uploads and requests for files; it notes them."""

    app = "a"

    def __init__(self, status: int = 200, answer: Any = ("/tmp/up/a.txt",)) -> None:
        self.status = status
        self.answer = answer
        self.asked: list[str] = []

    async def post(self, path: str, files: Mapping[str, Any], **_: Any) -> Response:
        self.asked.append(f"{path} {files['files'][0]}")
        return Response("a", self.status, {}, json.dumps(self.answer).encode())

    async def get(self, path: str, **_: Any) -> Response:
        self.asked.append(path)
        return Response("a", self.status, {}, b"content")


async def sent(one: Input, value: Any, server: Server = NEW, app: App | None = None) -> Any:
    sending = Sending(app or App(), server)  # type: ignore[arg-type]
    [data] = await sending.data([one], {one.name: value})
    return data


async def received(component: str, value: Any, server: Server = NEW, app: App | None = None) -> Any:
    outputs = [Output(component, "x")]
    return await Receiving(app or App(), server, outputs).result([value])  # type: ignore[arg-type]


async def test_hidden_inputs_and_those_not_given_have_what_the_page_has() -> None:
    inputs = [
        Input("state", hidden=True),
        Input("textbox", "text"),
        Input("button", hidden=True, initial="Go"),
        Input("slider", "times", optional=True, initial=2),
    ]
    sending = Sending(App(), NEW)  # type: ignore[arg-type]
    assert await sending.data(inputs, {"text": "a"}) == [None, "a", "Go", 2]


async def test_a_file_is_uploaded() -> None:
    app = App()
    data = await sent(Input("file", "x"), File(b"abc", "ä b.txt"), app=app)
    assert app.asked == ["/gradio_api/upload ä b.txt"]
    assert (data["path"], data["orig_name"]) == ("/tmp/up/a.txt", "ä b.txt")
    assert (data["size"], data["mime_type"], data["meta"]) == (3, "text/plain", META)
    inside = await sent(Input("json", "x"), {"a": [File(b"abc")]})
    assert inside["a"][0]["path"] == "/tmp/up/a.txt"


async def test_forms_of_files_that_a_component_wants() -> None:
    file = File(b"abc", "a.txt")
    video = await sent(Input("video", "x", shape="video"), file)
    assert (video["video"]["path"], video["subtitles"]) == ("/tmp/up/a.txt", None)
    [picture] = await sent(Input("gallery", "x"), [file])
    assert (picture["image"]["path"], picture["caption"]) == ("/tmp/up/a.txt", None)
    drawing = await sent(Input("imageeditor", "x"), file)
    assert drawing["background"]["path"] == drawing["composite"]["path"] == "/tmp/up/a.txt"
    assert await sent(Input("image", "x"), None) is None


async def test_files_of_gradio_3() -> None:
    file = File(b"abc", "a.txt")
    data = await sent(Input("audio", "x"), file, OLD)
    assert (data["name"], data["data"], data["is_file"]) == ("/tmp/up/a.txt", None, True)
    url = f"data:text/plain;base64,{base64.b64encode(b'abc').decode()}"
    assert await sent(Input("image", "x"), file, OLD) == url
    before_uploads = App(404)
    data = await sent(Input("audio", "x"), file, OLD, before_uploads)
    assert (data["name"], data["data"], data["is_file"]) == ("a.txt", url, False)
    both = await sent(Input("image", "x"), {"image": file, "mask": file}, OLD)
    assert both == {"image": url, "mask": url}


@pytest.mark.parametrize(
    ("given", "headers", "expected"),
    [
        ([[1, 2]], ["a", "b"], ["a", "b"]),
        ([[1, 2, 3]], ["a", "b"], ["1", "2", "3"]),
        ([], ["a", "b"], ["a", "b"]),
        ({"data": [[1, 2]]}, ["a", "b"], ["a", "b"]),
        ({"data": [[1, 2]], "headers": ["x", "y"]}, ["a", "b"], ["x", "y"]),
    ],
)
async def test_a_table_has_headers(given: Any, headers: list[str], expected: list[str]) -> None:
    table = await sent(Input("dataframe", "x", headers=headers), given)
    assert table["headers"] == expected
    assert table["data"] == (given if isinstance(given, list) else given["data"])


async def test_a_file_of_the_result_is_fetched_once() -> None:
    app = App()
    told = {"path": "/tmp/a b/é#?.txt", "orig_name": "é.txt", "url": "http://x/y", "meta": META}
    outputs = [Output("file"), Output("state", hidden=True), Output("json")]
    receiving = Receiving(app, NEW, outputs)  # type: ignore[arg-type]
    file, other = await receiving.result([told, "of the session", {"in": [told]}])
    assert (file.name, file.read()) == ("é.txt", b"content")
    assert other["in"][0] is file
    assert app.asked == ["/gradio_api/file=/tmp/a%20b/%C3%A9%23%3F.txt"]


async def test_what_is_no_file_is_as_it_is() -> None:
    for value in ({"path": "/x"}, {"name": "a", "is_file": False}, {"path": "", "meta": META}):
        assert await received("json", value) == value
    assert await received("textbox", "data:image/png;base64,AAAA") == "data:image/png;base64,AAAA"
    assert await received("textbox", {"__type__": "update", "value": "a"}) == "a"
    assert await received("textbox", {"__type__": "update", "visible": False}) is None
    assert await Receiving(App(), NEW, []).result([]) is None  # type: ignore[arg-type]


async def test_results_of_gradio_3() -> None:
    told = {"name": "/tmp/a.wav", "data": None, "is_file": True, "orig_name": None}
    assert (await received("audio", told, OLD)).name == "a.wav"
    assert (await received("video", [told, None], OLD)).read() == b"content"
    inline = {"name": "a.txt", "data": "data:text/plain;base64,YWJj", "is_file": False}
    assert (await received("file", inline, OLD)).read() == b"abc"
    assert (await received("image", "data:text/plain;base64,YWJj", OLD)).read() == b"abc"
    captioned, alone = await received("gallery", [[told, "c"], told], OLD)
    assert (captioned["caption"], alone["caption"]) == ("c", None)
    assert captioned["image"] is alone["image"]
    plot = {"type": "matplotlib", "plot": "data:text/plain;base64,YWJj"}
    assert (await received("plot", plot)).read() == b"abc"


async def test_a_video_with_subtitles_stays_with_them() -> None:
    told = {"path": "/tmp/a.mp4", "meta": META}
    assert isinstance(await received("video", {"video": told, "subtitles": None}), File)
    both = await received("video", {"video": told, "subtitles": told})
    assert set(both) == {"video", "subtitles"}
