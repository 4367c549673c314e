"""Files of calls in Gradio's own forms: sent there with the arguments, fetched of the result."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from onegai.errors import OneGAIError
from onegai.files.file import File, from_argument
from onegai.files.pieces import to_base64
from onegai.functions.gradio.document import Input, Output, Server
from onegai.handles.context import current
from onegai.handles.handle import AsyncHandle

_META = {"_type": "gradio.FileData"}
_MISSING = (404, 405)
_SAFE = "/:~!$'()*,;=@"
_PICTURES = frozenset({"imageeditor", "imagemask", "sketchpad", "paint"})


class Sending:
    """Arguments as the app takes them. Files are uploaded, where the app can have them so."""

    def __init__(self, app: AsyncHandle, server: Server) -> None:
        self._app = app
        self._server = server

    async def data(self, inputs: Sequence[Input], arguments: Mapping[str, Any]) -> list[Any]:
        """The value of each input, in the app's order; hidden ones are filled in."""
        return [
            await self._value(one, arguments[one.name])
            if not one.hidden and one.name in arguments
            else one.initial
            for one in inputs
        ]

    async def _value(self, one: Input, value: Any) -> Any:
        if value is None:
            return None
        if one.component == "dataframe":
            return _table(one, value)
        if one.component in _PICTURES and isinstance(value, File):
            value = {"background": value, "layers": [], "composite": value}
        if one.component == "image" and self._server.generation < 4:
            return await self._inline(value)
        value = await self._with_files(value)
        if one.shape == "video":
            return {"video": value, "subtitles": None}
        if one.component == "gallery" and isinstance(value, list):
            if self._server.generation < 4:
                return [[item, None] for item in value]
            return [{"image": item, "caption": None} for item in value]
        return value

    async def _inline(self, value: Any) -> Any:
        """Pictures of 3.x are data: URLs."""
        if isinstance(value, Mapping):
            return {key: await self._inline(item) for key, item in value.items()}
        return await asyncio.to_thread(_data_url, value) if isinstance(value, File) else value

    async def _with_files(self, value: Any) -> Any:
        if isinstance(value, File):
            return await self._sent(value)
        if isinstance(value, Mapping):
            return {key: await self._with_files(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [await self._with_files(item) for item in value]
        return value

    async def _sent(self, file: File) -> dict[str, Any]:
        """What stands for the file. Gradio before 3.18 has no uploads."""
        content = await asyncio.to_thread(file.read)
        part = {"files": (file.name, content, file.media_type)}
        answer = await self._app.post(f"{self._server.prefix}/upload", files=part, check=False)
        old = self._server.generation < 4
        if old and answer.status_code in _MISSING:
            url = await asyncio.to_thread(_data_url, file)
            return {"name": file.name, "data": url, "is_file": False, "orig_name": file.name}
        paths = answer.checked().json()
        if not isinstance(paths, list) or not paths or not isinstance(paths[0], str):
            raise answer.error("it does not say where the uploaded file is")
        if old:
            return {"name": paths[0], "data": None, "is_file": True, "orig_name": file.name}
        size, kind = len(content), file.media_type
        about = {"orig_name": file.name, "size": size, "mime_type": kind}
        return {"path": paths[0], **about, "meta": _META}


class Receiving:
    """Results as OneGAI gives them: files of the app are Files, fetched while it is leased."""

    def __init__(self, app: AsyncHandle, server: Server, outputs: Sequence[Output]) -> None:
        self._app = app
        self._server = server
        self._outputs = outputs
        self._fetched: dict[str, File] = {}
        """By where they lie: a stream tells of the same one again and again."""

    async def result(self, data: Sequence[Any]) -> Any:
        """Of the outputs that are shown: the one, or a list of them; None where there is none."""
        shown = [await self._value(one.component, value) for one, value in self._shown(data)]
        if len(shown) == 1:
            return shown[0]
        return shown or None

    @property
    def labels(self) -> list[str]:
        """Of the outputs that are shown."""
        return [one.label for one in self._outputs if not one.hidden]

    def _shown(self, data: Sequence[Any]) -> Iterator[tuple[Output, Any]]:
        for output, value in zip(self._outputs, data, strict=False):
            if not output.hidden:
                yield output, value

    async def _value(self, component: str, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("__type__") in ("update", "generic_update"):
            value = value.get("value")
        if component == "gallery" and isinstance(value, list):
            value = [_captioned(one) for one in value]
        if component == "video":
            value = _without_subtitles(value)
        if component == "image" and isinstance(value, str) and value.startswith("data:"):
            return from_argument(value)
        return await self._with_files(value)

    async def _with_files(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if (place := _place(value)) is not None:
                return await self._file(value, place)
            if _is_inline(value):
                return await asyncio.to_thread(_inlined, value)
            return {key: await self._with_files(item) for key, item in value.items()}
        if isinstance(value, list):
            return [await self._with_files(item) for item in value]
        return value

    async def _file(self, told: Mapping[str, Any], place: str) -> File | str:
        if place.startswith(("http://", "https://")):
            return await self._elsewhere(place)
        if (file := self._fetched.get(place)) is None:
            path = f"{self._server.prefix}/file={quote(place, safe=_SAFE)}"
            answer = await self._app.get(path, check=False)
            if not answer.ok:
                raise answer.error(f"it does not give the file of its own result, {place}")
            name = str(told.get("orig_name") or "") or place.rpartition("/")[2]
            file = File(answer.content, name, str(told.get("mime_type") or ""))
            self._fetched[place] = file
        return file

    async def _elsewhere(self, url: str) -> File | str:
        """By the rules for arguments, as the app may name any URL; else that URL."""
        file = File.pending(url)
        try:
            await current(self._app.app).fetch_files({"file": file})
        except OneGAIError:
            return url
        return file


def _data_url(file: File) -> str:
    """Its bytes as text (RFC 2397)."""
    return f"data:{file.media_type};base64,{to_base64(file.read()).decode()}"


def _place(value: Mapping[str, Any]) -> str | None:
    """Where a file of the app's lies, if this stands for one; 3.x and later say it differently."""
    path = value.get("path")
    if isinstance(path, str) and path and ("meta" in value or "orig_name" in value):
        return path
    name = value.get("name")
    if isinstance(name, str) and name and value.get("is_file") is True:
        return name
    return None


def _is_inline(value: Mapping[str, Any]) -> bool:
    """Are its bytes in it? So are those of 3.x, and the picture of a plot."""
    for key in ("data", "plot"):
        text = value.get(key)
        if isinstance(text, str) and text.startswith("data:") and ";base64," in text[:200]:
            return "name" in value or value.get("type") == "matplotlib"
    return False


def _inlined(value: Mapping[str, Any]) -> File:
    file = from_argument(value["plot"] if "plot" in value else value["data"])
    name = value.get("orig_name") or value.get("name")
    return File(file.read(), str(name), file.media_type) if name else file


def _captioned(item: Any) -> Any:
    """A picture of a gallery as later versions give it; 3.x has a pair, or it alone."""
    if isinstance(item, list) and len(item) == 2:
        return {"image": item[0], "caption": item[1]}
    if isinstance(item, Mapping) and _place(item) is not None:
        return {"image": item, "caption": None}
    return item


def _without_subtitles(value: Any) -> Any:
    """A video alone, where Gradio gives it with subtitles beside it, and there are none."""
    if isinstance(value, Mapping) and "video" in value and value.get("subtitles") is None:
        return value["video"]
    if isinstance(value, list) and len(value) == 2 and value[1] is None:
        return value[0]
    return value


def _table(one: Input, value: Any) -> Any:
    """Rows get the headers of the page; a table has both already."""
    if not isinstance(value, list):
        headers = value.get("headers") or _headers(one, value.get("data", []))
        return {"headers": headers, "data": value.get("data", []), "metadata": None}
    return {"headers": _headers(one, value), "data": value, "metadata": None}


def _headers(one: Input, rows: Sequence[Any]) -> list[Any]:
    widest = max((len(row) for row in rows if isinstance(row, list)), default=0)
    if len(one.headers) == widest or not widest:
        return one.headers
    return [str(number) for number in range(1, widest + 1)]
